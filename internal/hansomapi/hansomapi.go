// Package hansomapi is the management API, /_hansom/v1/...: projects, access keys, apps, artifacts, functions, logs, facts about the
// server, and CloudEvents for buses. The command line, the console and CI use it. docs/reference/management-api.md describes it.
package hansomapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/cloudevent"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Prefix of all paths of the API.
const Prefix = "/_hansom/v1/"

// SessionTTL is how long the credentials of POST /projects/{project}/sessions are valid.
const SessionTTL = time.Hour

// maxBody of a JSON request, in bytes.
const maxBody = 1 << 20

// Authenticator tells who signed a request. Errors: Unauthenticated, Invalid, TooLarge. The body may be replaced: it is read to
// its end before it is acted on.
type Authenticator interface {
	Authenticate(r *http.Request) (hansom.Principal, error)
}

// Projects are the tenants. Errors: NotFound, Invalid, Conflict.
type Projects interface {
	Projects() []auth.Project
	Project(idOrSlug string) (auth.Project, error)
	CreateProject(ctx context.Context, slug string) (auth.Project, error)
	SetEgress(ctx context.Context, idOrSlug, egress string) (auth.Project, error)
	DeleteProject(ctx context.Context, id string, check func(ctx context.Context, tx *db.Tx) error) error
	Issue(p hansom.Principal, ttl time.Duration) hansom.Credentials
}

// Keys are the access keys of a project. Errors: NotFound, Invalid.
type Keys interface {
	Keys(project string) ([]auth.AccessKey, error)
	CreateKey(ctx context.Context, project, name string) (auth.AccessKey, hansom.Credentials, error)
	DeleteKey(ctx context.Context, project, id string) error
}

// Apps is the deployment door; see package app for the errors.
type Apps interface {
	Plan(ctx context.Context, project string, r *manifest.Resolved) (app.Plan, error)
	Apply(ctx context.Context, project, actor string, r *manifest.Resolved) (app.Plan, error)
	Delete(ctx context.Context, project, name string) error
	List(ctx context.Context, project string) ([]app.App, error)
	Get(ctx context.Context, project, name string) (app.App, error)
}

// Deployments are what apps were and can be again; see package app for the errors.
type Deployments interface {
	History(ctx context.Context, project, name string) ([]app.Deployment, error)
	Rollback(ctx context.Context, project, actor, name string, to int64, dry bool) (app.Plan, error)
}

// Functions of a project; see package function for the errors.
type Functions interface {
	List(ctx context.Context, project string, allVersions bool, page function.Page) (list []function.Function, next string, err error)
	Get(ctx context.Context, project, name, qualifier string) (function.Function, error)
	// URLs of a project, or of one function of it.
	URLs(ctx context.Context, project, name string) ([]hansom.FunctionURL, error)
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
}

// Layers of a project; see package layer for the errors.
type Layers interface {
	List(ctx context.Context, project string, f layer.Filter, page layer.Page) (list []layer.Version, next string, err error)
}

// Artifacts are the packages of a project.
type Artifacts interface {
	// Stat says how many bytes a stored package has, and keeps it for whoever asked. Errors: NotFound, Invalid.
	Stat(ctx context.Context, project, sha256 string) (size int64, err error)
	// Upload stores and unpacks a package. Errors: those of r, and Invalid for one that cannot be used.
	Upload(ctx context.Context, project, sha256 string, r io.Reader) (size int64, err error)
}

// Mappings are what ends with its project, such as event source mappings.
type Mappings interface {
	RemoveProject(ctx context.Context, tx *db.Tx, project string) error
}

// Deps are what the API stands on.
type Deps struct {
	Auth        Authenticator
	Projects    Projects
	Keys        Keys
	Apps        Apps
	Deployments Deployments
	Functions   Functions
	Layers      Layers
	Artifacts   Artifacts
	Mappings    Mappings
	Logs        Logs
	Requests    Requests
	// Backup writes a backup of the whole server, with the functions' logs when logs is set.
	Backup func(ctx context.Context, w io.Writer, logs bool) error
	// Info tells about the server.
	Info func(ctx context.Context) (Info, error)
	// AppURL and FunctionURL are the public addresses of an app and of a function URL's id.
	AppURL      func(project, app string) string
	FunctionURL func(id string) string
	// PreviewURL is the public address of a deployment of an app's site.
	PreviewURL  func(project, app string, number int64) string
	Sites       Sites
	Provisioned Provisioned
	Queues      Queues
	Consumers   Consumers
	Buses       Buses
	Region      string // of what is on buses
	Schedules   Schedules
	Gateway     Gateway
	// Instances counts the instances of a function, and those of them that are busy.
	Instances func(project, function string) (all, busy int)
}

// Info is what GET /info answers.
type Info struct {
	Version  string    `json:"version"`
	Commit   string    `json:"commit"`
	Arch     string    `json:"arch"` // GOARCH of the machine that runs functions
	Region   string    `json:"region"`
	Domain   string    `json:"domain"`
	Edge     string    `json:"edge"` // bound addresses, host:port
	API      string    `json:"api"`
	Database string    `json:"database"` // "sqlite" or "postgres"
	Sync     string    `json:"sync"`     // "process" survives kill -9, "always" a power cut
	Driver   string    `json:"driver"`   // what isolates functions
	Egress   string    `json:"egress"`   // of functions when neither they nor their project say
	Memory   int64     `json:"memory"`   // bytes for all instances together
	Time     time.Time `json:"time"`
	Runtimes []Runtime `json:"runtimes"`
	Checks   []Check   `json:"checks"`
}

// Runtime is a family that functions can use here.
type Runtime struct {
	Identifier  string `json:"identifier"`  // e.g. "nodejs22.x"
	HostVersion string `json:"hostVersion"` // "" where the host has no part in it
	Warning     string `json:"warning,omitempty"`
}

// Check is one fact that doctor shows.
type Check struct {
	Name   string `json:"name"`          // "memory limits"
	Status string `json:"status"`        // "ok", "warning" or "error"
	Detail string `json:"detail"`        // what is so
	Fix    string `json:"fix,omitempty"` // what to do about it, unless the status is "ok"
}

// Handler of the API.
type Handler struct {
	Deps
	logger *slog.Logger
	mux    http.ServeMux
}

// call is one authenticated request. What it returns is sent as JSON with status 200; nil with 204.
type call func(r *http.Request, p hansom.Principal) (any, error)

// New returns the handler of Prefix.
func New(deps Deps, logger *slog.Logger) *Handler {
	h := &Handler{Deps: deps, logger: logger.With("component", "hansomapi")}
	for pattern, f := range map[string]call{
		"GET info":                         h.info,
		"GET projects":                     h.listProjects,
		"POST projects":                    h.createProject,
		"PATCH projects/{project}":         h.setProject,
		"DELETE projects/{project}":        h.deleteProject,
		"POST projects/{project}/sessions": h.createSession,
		"GET keys":                         h.listKeys,
		"POST keys":                        h.createKey,
		"DELETE keys/{id}":                 h.deleteKey,
		"GET apps":                         h.listApps,
		"GET apps/{app}":                   h.getApp,
		"PUT apps/{app}":                   h.putApp,
		"DELETE apps/{app}":                h.deleteApp,
		"POST apps/{app}/rollback":         h.rollback,
		"HEAD artifacts/{sha256}":          h.headArtifact,
		"PUT artifacts/{sha256}":           h.putArtifact,
		"PUT sites/{sha256}":               h.putSite,
		"POST sites/{sha256}/files":        h.putSiteFiles,
		"PUT sites/{sha256}/files/{file}":  h.putSiteFile,
		"GET functions":                    h.listFunctions,
		"GET functions/{function}":         h.getFunction,
		"GET queues":                       h.listQueues,
		"GET queues/{queue}":               h.getQueue,
		"GET queues/{queue}/messages":      h.peekQueue,
		"GET schedules":                    h.listSchedules,
		"GET schedules/{group}/{name}":     h.getSchedule,
		"GET routes":                       h.listRoutes,
		"POST routes/explain":              h.explainRoute,
	} {
		var method, path string
		if _, err := fmt.Sscan(pattern, &method, &path); err != nil {
			panic(err) // a pattern above is malformed
		}
		h.mux.HandleFunc(method+" "+Prefix+path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, f) })
	}
	h.mux.HandleFunc("GET "+Prefix+"logs", h.serveLogs)
	h.mux.HandleFunc("GET "+Prefix+"requests", h.serveRequests)
	h.mux.HandleFunc("GET "+Prefix+"buses/{bus}/events", h.serveEvents)
	h.mux.HandleFunc("GET "+Prefix+"backup", h.serveBackup)
	h.mux.HandleFunc("POST "+Prefix+"buses/{bus}/events", h.serveCloudEvents)
	h.mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, func(r *http.Request, _ hansom.Principal) (any, error) {
			return nil, hansom.Errorf(hansom.NotFound, "dispatch", "there is no %s %s in the management API", r.Method, r.URL.Path)
		})
	})
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, f call) {
	p, err := h.authenticate(r)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	out, err := f(r, p)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	if out == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := json.Marshal(out)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n')) // an error here means that the caller has gone
}

// authenticate admits those who may manage a project: its keys and sessions, and root. Functions may not.
func (h *Handler) authenticate(r *http.Request) (hansom.Principal, error) {
	p, err := h.Auth.Authenticate(r)
	if err == nil {
		err = manager(p)
	}
	return p, err
}

func manager(p hansom.Principal) error {
	switch p.Kind {
	case hansom.Root, hansom.AccessKey, hansom.RoleSession:
		return nil
	}
	return hansom.Errorf(hansom.Denied, "authenticate", "%s may not use the management API; sign with an access key of the project", p.ARN)
}

func rootOnly(p hansom.Principal) error {
	if p.Kind != hansom.Root {
		return hansom.Errorf(hansom.Denied, "authorize", "only root keys may do this; they are in the server's data directory")
	}
	return nil
}

// kinds maps an error's kind to its status and its code where the error has none.
var kinds = map[hansom.Kind]struct {
	status int
	code   string
}{
	hansom.Invalid:         {http.StatusBadRequest, "Invalid"},
	hansom.NotFound:        {http.StatusNotFound, "NotFound"},
	hansom.Conflict:        {http.StatusConflict, "Conflict"},
	hansom.Precondition:    {http.StatusPreconditionFailed, "PreconditionFailed"},
	hansom.Denied:          {http.StatusForbidden, "AccessDenied"},
	hansom.Unauthenticated: {http.StatusForbidden, "Unauthenticated"},
	hansom.TooLarge:        {http.StatusRequestEntityTooLarge, "TooLarge"},
	hansom.Throttled:       {http.StatusTooManyRequests, "Throttled"},
	hansom.Unsupported:     {http.StatusNotImplemented, "Unsupported"},
	hansom.Unavailable:     {http.StatusServiceUnavailable, "Unavailable"},
	hansom.Timeout:         {http.StatusGatewayTimeout, "Timeout"},
	hansom.Canceled:        {499, "Canceled"}, // nobody reads it; 499 is the usual mark in logs
}

func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, code, message := http.StatusInternalServerError, "Internal", ""
	if k, ok := kinds[hansom.KindOf(err)]; ok {
		status, code, message = k.status, k.code, err.Error()
		var e *hansom.Error
		if errors.As(err, &e) {
			if e.Code != "" {
				code = e.Code
			}
			if code == cloudevent.CodeMediaType {
				status = http.StatusUnsupportedMediaType
			}
			if e.Message != "" {
				message = e.Message
			}
		}
	} else {
		id := rand.Text()
		message = "something broke in the server; its log says what, under " + id
		h.logger.Error("request failed", "id", id, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	body, err := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	if err != nil {
		body = []byte(`{"error":{"code":"Internal","message":"the error cannot be shown"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// decode reads a JSON body to its end, strictly.
func decode(r *http.Request, out any) error {
	const op = "read request"
	data, err := body(r)
	if err != nil {
		return err
	}
	if err := strict(data, out); err != nil {
		return hansom.Errorf(hansom.Invalid, op, "the body is not what this request takes: %w", err)
	}
	return nil
}

func body(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(data) > maxBody:
		return nil, hansom.Errorf(hansom.TooLarge, "read request", "the body has more than %d bytes", maxBody)
	case err != nil && hansom.KindOf(err) == hansom.Internal: // a broken connection, not a wrong signature
		return nil, hansom.Errorf(hansom.Canceled, "read request", "the body broke off: %w", err)
	}
	return data, err
}
