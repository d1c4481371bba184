// Package app keeps apps and their deployments: it plans what a manifest changes, applies it all or nothing, and tells the
// gateway the routes of each app. See "A deployment" in docs/architecture.md.
package app

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

//go:embed migrations
var migrations embed.FS

// domain of the store: its version table and its changes.
const domain = "app"

// Functions is what an app is made of. What it reads is of the last commit, which within db.Write stays the last.
type Functions interface {
	// Deploy makes the function v.Function as v says, or changes the one there is. changed is false when it is so already. Layers
	// with a digest are used though they were deleted.
	// Errors: Invalid (the code is not there, the runtime is not known), Conflict (it is not a function of v.App).
	Deploy(ctx context.Context, tx *db.Tx, v hansom.Version) (changed bool, err error)
	// Undeploy deletes a function with its versions, aliases and URLs; a missing one is no error.
	Undeploy(ctx context.Context, tx *db.Tx, project, name string) error
	// Owned returns $LATEST of the functions whose App is app, as q has them.
	Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Version, error)
	// Resolve returns a function of any origin; its Version.App is "" when it was made through the Lambda API. Errors: NotFound.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
	// Prepare unpacks code ahead of Deploy. Errors: Invalid when it was not uploaded or is no usable zip.
	Prepare(ctx context.Context, project, sha256 string) (size int64, err error)
}

// Provisioned keeps instances of $LATEST ready for a number of calls at once.
type Provisioned interface {
	// Keep asks for n of them; 0 ends it. Errors: Invalid for more than there is.
	Keep(ctx context.Context, tx *db.Tx, project, function string, n int) error
	// Kept is what is asked for, by function, as q has it.
	Kept(ctx context.Context, q db.Querier, project string) (map[string]int, error)
}

// Events are how the events are treated that functions are invoked with by callers who do not wait.
type Events interface {
	// Keep has those of $LATEST be treated as c says; nil is the default. What c names may be made later in the same transaction.
	Keep(ctx context.Context, tx *db.Tx, project, function string, c *hansom.AsyncConfig) error
	// Load reads what was set, by <project>/<function> and qualifier, as q has it: of all functions when function is "".
	Load(ctx context.Context, q db.Querier, project, function string) (map[string]map[string]hansom.AsyncConfig, error)
}

// Config of the service.
type Config struct {
	Region   string // stands in the functions' ARNs
	Platform string // base URL of the platform's APIs as functions reach them; the URLs of queues begin with it
	History  int    // deployments kept for each app
	Now      func() time.Time
}

// DefaultConfig keeps 100 deployments for each app.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Platform: "http://127.0.0.1:4566", History: 100, Now: time.Now}
}

// App is a manifest's resources as they are applied.
type App struct {
	Project    string
	Name       string
	Deployment int64 // number of the current deployment
	Created    time.Time
	Updated    time.Time // of the current deployment
	Manifest   *manifest.Resolved
}

// Deployment is one applied state of an app.
type Deployment struct {
	Number   int64 // counts up from 1
	Actor    string
	Created  time.Time
	Manifest *manifest.Resolved
	Layers   []hansom.Layer // that its functions had
	Restored int64          // the deployment that it went back to; 0 when it is no rollback
	Changes  []Change       // against the deployment before, without what stayed; nil when that is no longer kept
}

// Deps are what apps are made of.
type Deps struct {
	Functions   Functions
	Provisioned Provisioned
	Events      Events
	Queues      Queues
	Mappings    Triggers[hansom.Mapping]
	Rules       Triggers[hansom.Rule]
	Schedules   Triggers[hansom.Schedule]
	Sites       Sites
	Web         Web
	Announce    hansom.Announce // App Deployed, App Removed
}

// Service plans and applies apps. Its methods may be called from several goroutines.
type Service struct {
	Deps
	cfg    Config
	db     *db.DB
	logger *slog.Logger
	view   atomic.Pointer[view]
}

// New migrates the store and reads all routes into memory.
func New(ctx context.Context, cfg Config, d *db.DB, deps Deps, logger *slog.Logger) (*Service, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := d.Migrate(ctx, domain, sub); err != nil {
		return nil, err
	}
	s := &Service{Deps: deps, cfg: cfg, db: d, logger: logger.With("component", "app")}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	d.Subscribe(func(c db.Change) {
		if c.Domain == domain {
			s.refresh()
		}
	})
	return s, nil
}

// Plan says what Apply would change. Errors: Invalid, Conflict (a function or a queue of that name belongs to something else, or a queue
// would become FIFO, or no longer be).
func (s *Service) Plan(ctx context.Context, project string, r *manifest.Resolved) (Plan, error) {
	if err := r.Validate(); err != nil {
		return Plan{}, err
	}
	current, _, err := find(ctx, s.db.Read(), project, r.Name)
	if err != nil {
		return Plan{}, err
	}
	return s.plan(ctx, s.db.Read(), project, current.Manifest, r)
}

// Apply makes an app as r says, all or nothing, and keeps it as a deployment. What is so already is left alone: the same r
// twice changes nothing and makes no deployment. actor is the ARN of who asks. Errors as Plan's and Functions.Deploy's.
func (s *Service) Apply(ctx context.Context, project, actor string, r *manifest.Resolved) (Plan, error) {
	plan, err := s.Plan(ctx, project, r)
	if err == nil {
		err = s.prepare(ctx, project, plan, r)
	}
	if err != nil {
		return Plan{}, err
	}
	return s.apply(ctx, project, actor, &Deployment{Manifest: r})
}

// prepare readies the code and the site that a plan needs, before the transaction: it takes long.
func (s *Service) prepare(ctx context.Context, project string, plan Plan, r *manifest.Resolved) error {
	for _, c := range plan.Changes {
		if c.Kind == KindSite && c.Action != Unchanged && r.Site != nil {
			if err := s.Sites.Prepare(ctx, project, r.Site.SHA256); err != nil {
				return err
			}
		}
		if f, ok := r.Functions[c.key]; ok && c.Kind == KindFunction && c.Action != Unchanged {
			if _, err := s.Functions.Prepare(ctx, project, f.CodeSHA256); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply is the transaction of Apply and Rollback. of is the deployment that is restored; a new one has a manifest only.
func (s *Service) apply(ctx context.Context, project, actor string, of *Deployment) (Plan, error) {
	var plan Plan
	r := of.Manifest
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		current, exists, err := find(ctx, tx, project, r.Name)
		if err != nil {
			return err
		}
		if plan, err = s.plan(ctx, tx, project, current.Manifest, r); err != nil {
			return err
		}
		if exists && !plan.Changed() {
			plan.Deployment = current.Deployment
			return nil
		}
		for i := range plan.Changes {
			c := &plan.Changes[i]
			switch {
			case c.Action == Unchanged:
				continue
			case c.apply != nil:
				err = c.apply(ctx, tx)
			case c.Kind == KindQueue:
				err = s.applyQueue(ctx, tx, project, r, c)
			case c.Kind != KindFunction:
			case c.Action == Delete:
				err = s.Functions.Undeploy(ctx, tx, project, c.Name)
			default:
				v := s.version(project, r, c.key)
				for i, l := range v.Layers {
					if known := slices.IndexFunc(of.Layers, func(k hansom.Layer) bool { return k.ARN == l.ARN }); known >= 0 {
						v.Layers[i] = of.Layers[known]
					}
				}
				_, err = s.Functions.Deploy(ctx, tx, v)
				if e, ok := errors.AsType[*hansom.Error](err); ok && e.Kind == hansom.Invalid { // such as a layer that is not there
					err = hansom.Errorf(e.Kind, e.Op, "functions.%s: %w", c.key, err).WithCode(e.Code)
				}
				if err == nil {
					err = s.Provisioned.Keep(ctx, tx, project, c.Name, r.Functions[c.key].Provisioned)
				}
				if err == nil {
					err = s.Events.Keep(ctx, tx, project, c.Name, s.async(project, r, c.key))
				}
			}
			if err != nil {
				return err
			}
		}
		owned, err := s.Functions.Owned(ctx, tx, project, r.Name)
		if err != nil {
			return err
		}
		plan.Deployment = current.Deployment + 1
		return s.store(ctx, tx, project, &Deployment{Number: plan.Deployment, Actor: actor, Manifest: r, Layers: layersOf(owned), Restored: of.Number})
	})
	if err != nil {
		return Plan{}, err
	}
	if plan.Changed() {
		detail := map[string]any{"app": r.Name, "deployment": plan.Deployment, "actor": actor}
		if of.Number > 0 {
			detail["restored"] = of.Number
		}
		s.Announce.Tell(hansom.Announcement{Project: project, Type: "App Deployed", Detail: detail})
	}
	return plan, nil
}

// Delete removes an app: its functions, triggers, queues with their messages, routes and history. Errors: NotFound.
func (s *Service) Delete(ctx context.Context, project, name string) error {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		_, exists, err := find(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if !exists {
			return notFound(name)
		}
		have, err := s.resources(ctx, tx, project, name)
		if err != nil {
			return err
		}
		for _, c := range s.planTriggers(have.triggers, triggers{}) {
			if err := c.apply(ctx, tx); err != nil {
				return err
			}
		}
		for function := range have.functions {
			if err := s.Functions.Undeploy(ctx, tx, project, function); err != nil {
				return err
			}
		}
		for queue := range have.queues {
			if err := s.Queues.Undeploy(ctx, tx, project, queue); err != nil {
				return err
			}
		}
		return remove(ctx, tx, project, name)
	})
	if err == nil {
		s.Announce.Tell(hansom.Announcement{Project: project, Type: "App Removed", Detail: map[string]any{"app": name}})
	}
	return err
}

// List returns the apps of a project by name.
func (s *Service) List(ctx context.Context, project string) ([]App, error) {
	return list(ctx, s.db.Read(), project)
}

// Get returns an app. Errors: NotFound.
func (s *Service) Get(ctx context.Context, project, name string) (App, error) {
	a, ok, err := find(ctx, s.db.Read(), project, name)
	if err == nil && !ok {
		err = notFound(name)
	}
	return a, err
}

func notFound(name string) error {
	return hansom.Errorf(hansom.NotFound, "get app", "there is no app %q; `hansom ls` lists them", name)
}

// version is the function that the manifest's entry key asks for.
func (s *Service) version(project string, r *manifest.Resolved, key string) hansom.Version {
	f := r.Functions[key]
	v := hansom.Version{
		Project: project, Region: s.cfg.Region, Function: manifest.FunctionName(r.Name, key), Number: hansom.Latest,
		Runtime: f.Runtime, Handler: f.Handler, Role: "arn:aws:iam::" + project + ":role/" + r.Name,
		CodeSHA256: f.CodeSHA256, Memory: f.Memory, Timeout: time.Duration(f.Timeout) * time.Second,
		Concurrency: f.Concurrency, Ready: f.Ready, Egress: f.Egress, Environment: s.environment(project, r, f.Environment), Layers: s.layers(project, f.Layers), App: r.Name,
	}
	if f.Async != nil {
		v.DeadLetter = s.destination(project, r, f.Async.DeadLetter)
	}
	return v
}

// layers names versions of layers in full; a manifest may call those of its own project name:version.
func (s *Service) layers(project string, names []string) []hansom.Layer {
	var out []hansom.Layer
	for _, name := range names {
		if !strings.HasPrefix(name, "arn:") {
			name = hansom.LayerARN(s.cfg.Region, project, name, 0)
		}
		out = append(out, hansom.Layer{ARN: name})
	}
	return out
}

// layersOf are the layers of functions, each once.
func layersOf(functions []hansom.Version) []hansom.Layer {
	var out []hansom.Layer
	for i := range functions {
		for _, l := range functions[i].Layers {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}
