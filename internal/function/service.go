package function

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/events"
)

// domain names this package's tables, migrations and change notices.
const domain = "function"

//go:embed migrations/*.sql
var embedded embed.FS

// Config of a Service.
type Config struct {
	Region      string // stands in every ARN
	Activations int    // functions that are activated at a time
}

// DefaultConfig activates four functions at a time.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Activations: 4}
}

// Runtimes says whether a runtime can run here.
type Runtimes interface {
	// CheckRuntime returns a warning to show when identifier runs on another version than asked for, "" when all is well.
	// Errors: Invalid (InvalidParameterValueException) when it cannot run; the message says what to install.
	CheckRuntime(identifier string) (warning string, err error)
	// RuntimeARN names the version of the runtime that identifier stands for here, "" when it cannot run.
	RuntimeARN(identifier string) string
}

// Layers finds versions of layers.
type Layers interface {
	// Resolve returns the version of a layer that an ARN names, for a function of project, as q has it.
	// Errors: Invalid when it is not there; Denied when it is another project's and not shared with this one.
	Resolve(ctx context.Context, q db.Querier, project, arn string) (hansom.Layer, error)
}

// Provisioned is what keeps instances of versions and aliases ready. It works on q and tx as they are.
type Provisioned interface {
	// Sums is the provisioned concurrency of a project's functions, by name.
	Sums(ctx context.Context, q db.Querier, project string) (map[string]int, error)
	// Remove ends that of a version or an alias that is being removed, of the whole function when qualifier is "".
	Remove(ctx context.Context, tx *db.Tx, project, function, qualifier string) error
}

// none is Provisioned where there is none.
type none struct{}

func (none) Sums(context.Context, db.Querier, string) (map[string]int, error) { return nil, nil }
func (none) Remove(context.Context, *db.Tx, string, string, string) error     { return nil }

// Service holds the functions of all projects. Its methods may be called from several goroutines.
//
// Every method that takes a project acts in that project only. A function is named by its bare name and a qualifier is "",
// "$LATEST", a version number or an alias. Errors are *hansom.Error with the Lambda API's wording.
type Service struct {
	cfg       Config
	db        *db.DB
	artifacts *artifact.Store
	layers    Layers
	runtimes  Runtimes
	prepared  Provisioned
	log       *slog.Logger
	events    *events.Service
	view      view
	wake      chan struct{} // tells Run that something is to be activated; capacity 1

	retire struct {
		sync.RWMutex
		list []func(project, function, revision string)
	}

	now   func() time.Time
	newID func() string
	draw  func() float64 // 0 to 1, for weighted aliases
}

// New migrates the tables and reads what invocations need into memory. Run must be called for functions to become Active.
func New(ctx context.Context, cfg Config, database *db.DB, artifacts *artifact.Store, layers Layers, runtimes Runtimes, logger *slog.Logger) (*Service, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "open functions", "%w", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, artifacts: artifacts, layers: layers, runtimes: runtimes, prepared: none{},
		log: logger.With("component", "function"), wake: make(chan struct{}, 1), now: time.Now, newID: hansom.NewID, draw: rand.Float64}
	s.events = events.New(database, cfg.Region, s, note, func() time.Time { return s.now() })
	_, err = database.Mirror(ctx, domain, s.reload, s.changed, s.log)
	return s, err
}

// SetProvisioned says what keeps instances ready, before the service is used.
func (s *Service) SetProvisioned(p Provisioned) { s.prepared = p }

// Events holds what is said of the events of functions.
func (s *Service) Events() *events.Service { return s.events }

// OnRetire registers f, which is called when a revision is no longer that of any version, so that its instances can be drained.
// It is called before the write that retired the revision returns; it must be quick.
func (s *Service) OnRetire(f func(project, function, revision string)) {
	s.retire.Lock()
	defer s.retire.Unlock()
	s.retire.list = append(s.retire.list, f)
}
