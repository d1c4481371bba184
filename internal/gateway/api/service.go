package api

import (
	"context"
	"crypto/rand"
	"embed"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// domain names this package's tables, migrations and change notices.
const domain = "gateway"

//go:embed migrations/*.sql
var embedded embed.FS

// Limits of API Gateway. APIs is more than AWS's 600.
const (
	MaxAPIs         = 10_000 // of a project, as what follows
	MaxDomains      = 120
	MaxRoutes       = 300 // of an API, as what follows
	MaxIntegrations = 300
	MaxAuthorizers  = 10
	MaxStages       = 10
	MaxMappings     = 200 // of a domain
	MaxTags         = 50
)

// Config of a Service.
type Config struct {
	Region string // stands in every ARN
	Domain string // the server's own: no custom domain is it or below it
	Now    func() time.Time
	NewID  func(size int) string // of small letters and digits
	// Check refuses an integration that the gateway cannot carry out, beyond what is checked here; nil refuses none.
	Check func(project string, i *Integration) error
	// Import and Export read and write OpenAPI documents. Without them there are none.
	Import func(doc []byte, o ImportOptions) (a *API, warnings []string, err error)
	Export func(a *API, s *Snapshot, o ExportOptions) ([]byte, error)
}

// DefaultConfig has random IDs.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Domain: "localhost", Now: time.Now,
		NewID: func(size int) string { return strings.ToLower(rand.Text())[:size] }}
}

// Follower is told what is live. Its methods are called one at a time and before the change that they tell of is answered; they must be quick.
type Follower interface {
	// SetAPIs tells of the APIs that changed, by ID. Nil is one that is gone.
	SetAPIs(changed map[string]*Live)
	// SetDomains tells of all domains.
	SetDomains(all []*Domain)
}

// Service keeps the HTTP APIs and the custom domains of all projects. Its methods may be called from several goroutines, and act in the project that
// they are given only. What it hands out belongs to the caller, but for what is Live and what a Follower gets: that is never changed.
// Errors are *hansom.Error with API Gateway's wording.
type Service struct {
	cfg      Config
	db       *db.DB
	logger   *slog.Logger
	onRemove func(ctx context.Context, tx *db.Tx, project, api, stage string) error
	refused  func(name string) bool // names that no domain can have; nil for none

	mirror    *db.Mirror
	followers []Follower // told while nothing else is read

	mu      sync.RWMutex
	live    map[string]*Live   // by ID
	domains map[string]*Domain // by name
}

// New migrates the tables and reads what is live.
func New(ctx context.Context, cfg Config, database *db.DB, logger *slog.Logger) (*Service, error) {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open APIs", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, logger: logger.With("component", "apis"),
		onRemove: func(context.Context, *db.Tx, string, string, string) error { return nil }}
	s.mirror, err = database.Mirror(ctx, domain, s.load, s.changed, s.logger)
	return s, err
}

// OnRemove has f called when a stage of an API is removed, with the API when stage is "", within that transaction. It is set before the Service is used.
func (s *Service) OnRemove(f func(ctx context.Context, tx *db.Tx, project, api, stage string) error) {
	s.onRemove = f
}

// Follow tells f of every API and every domain now, and of each change from then on, in order. It cannot be taken back.
func (s *Service) Follow(f Follower) {
	s.mirror.Do(func() {
		s.followers = append(s.followers, f)
		f.SetAPIs(maps.Clone(s.live)) // only what the mirror calls writes to it
		f.SetDomains(s.allDomains())
	})
}

func (s *Service) allDomains() []*Domain {
	return slices.SortedFunc(maps.Values(s.domains), func(a, b *Domain) int { return strings.Compare(a.Name, b.Name) })
}

// Live is an API as it answers; nil when there is none.
func (s *Service) Live(id string) *Live {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.live[id]
}

// Kinds of notices, which stand before the ID of what changed.
const (
	ofAPI     = "api/"
	ofDomain  = "domain/"
	ofProject = "project/" // it was removed
)

// changed reads what a change names, and tells the followers.
func (s *Service) changed(ctx context.Context, c db.Change) error {
	apis, domains := map[string]*Live{}, false
	for _, n := range c.Keys {
		kind, id, _ := strings.Cut(n, "/")
		var err error
		switch kind + "/" {
		case ofAPI:
			var l *Live
			if l, err = s.readLive(ctx, id); err == nil {
				apis[id] = l
			}
		case ofDomain:
			domains = true
			err = s.reloadDomain(ctx, id)
		case ofProject:
			domains = true
			s.forget(id, apis)
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	for id, l := range apis {
		if l == nil {
			delete(s.live, id)
		} else {
			s.live[id] = l
		}
	}
	s.mu.Unlock()
	s.tell(apis, domains)
	return nil
}

// tell tells the followers of APIs that changed, nil for those that are gone, and of the domains when some did.
func (s *Service) tell(apis map[string]*Live, domains bool) {
	for _, f := range s.followers {
		if len(apis) > 0 {
			f.SetAPIs(maps.Clone(apis))
		}
		if domains {
			f.SetDomains(s.allDomains())
		}
	}
}

// forget removes a project from memory; its APIs are noted in gone.
func (s *Service) forget(project string, gone map[string]*Live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.live {
		if l.Project == project {
			gone[id] = nil
		}
	}
	maps.DeleteFunc(s.domains, func(_ string, d *Domain) bool { return d.Project == project })
}

// RemoveProject removes what a project has within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	tx.Changed(domain, ofProject+project)
	if _, err := tx.ExecContext(ctx, `DELETE FROM gateway_snapshots WHERE api IN (SELECT id FROM gateway_apis WHERE project = ?)`, project); err != nil {
		return failed("remove project", err)
	}
	for _, table := range []string{"gateway_apis", "gateway_domains"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE project = ?`, project); err != nil {
			return failed("remove project", err)
		}
	}
	return nil
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

// invalid is answered as BadRequestException.
func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "check API", format, args...)
}

func conflict(format string, args ...any) error {
	return hansom.Errorf(hansom.Conflict, "change API", format, args...)
}

func notFound(what string) error {
	return hansom.Errorf(hansom.NotFound, "find "+what, "Invalid %s identifier specified", what)
}

// full is answered as TooManyRequestsException.
func full(what, of string) error {
	return hansom.Errorf(hansom.Throttled, "change API", "Maximum number of %s for this %s has been reached.", what, of)
}
