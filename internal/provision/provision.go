// Package provision keeps the provisioned concurrency of versions and aliases: what was asked for is in its store, and Run has the
// pool hold as many instances ready, replaces those that end, and renews those whose credentials are about to.
//
// Provisioned concurrency counts concurrent executions, as AWS does: an instance that takes several calls at once stands for as many.
package provision

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// domain names this package's tables, migrations and change notices.
const domain = "provision"

//go:embed migrations/*.sql
var embedded embed.FS

// MaxPerFunction is the most that a function may have: what the others of its project must be left with is apart.
const MaxPerFunction = hansom.MaxConcurrency - minUnreserved

// minUnreserved is what must stay for the functions without reserved or provisioned concurrency.
const minUnreserved = 100

// CodeNotFound is the Lambda API's code where there is no config.
const CodeNotFound = "ProvisionedConcurrencyConfigNotFoundException"

// Status of a config, as the Lambda API spells them.
const (
	InProgress = "IN_PROGRESS"
	Ready      = "READY"
	Failed     = "FAILED"
)

// Config of a Service.
type Config struct {
	Region string  // stands in ARNs
	Boots  int     // instances of one project that are started at a time
	Memory float64 // share of the memory for instances that provisioned ones may take, 0 to 1
}

// DefaultConfig starts as many instances at a time as there are processors, at least two, and leaves a quarter of the memory to
// calls without provisioned concurrency.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Boots: max(2, runtime.NumCPU()), Memory: 0.75}
}

// Functions knows what is there, from memory, as of the last commit, which within db.Write stays the last.
type Functions interface {
	// Route names what the calls of a qualifier go to: one version, or two, of which the second takes the share weight.
	// Errors: NotFound, in AWS's words.
	Route(project, name, qualifier string) (first, second *hansom.Version, weight float64, err error)
	// Resolve finds a function. Errors: NotFound, in AWS's words.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
	// Reserved is the reserved concurrency of all functions of a project together.
	Reserved(project string) int
}

// Pool holds instances.
type Pool interface {
	// Provision says how many provisioned instances v may have; those beyond end.
	Provision(v *hansom.Version, instances int)
	// Boot starts one more and waits until it is ready. Errors: Throttled while there is no memory, Unavailable when it never fits;
	// Invalid with Lambda's code for a status reason when the function fails; others are the host's.
	Boot(v *hansom.Version) error
	// Provisioned counts the provisioned instances of v that take calls, those that need no replacement soon, and the calls in them.
	Provisioned(v *hansom.Version) (ready, lasting, calls int)
	// ProvisionedEnded receives after instances have ended.
	ProvisionedEnded() <-chan struct{}
	// Memory is what all instances together may take, in bytes.
	Memory() int64
}

// Concurrency is the provisioned concurrency of a version or an alias.
type Concurrency struct {
	Project, Function string
	Qualifier         string // a version or an alias; "$LATEST" for what an app asks for
	ARN               string // of the function with the qualifier
	Modified          time.Time

	Requested int    // concurrent executions
	Allocated int    // of those: in instances that are ready or being started
	Available int    // of those: in instances that are ready
	Status    string // InProgress, Ready or Failed
	Reason    string // why it failed, beginning with a code such as FUNCTION_ERROR_INIT_FAILURE
}

// Service holds the provisioned concurrency of all projects. Its methods may be called from several goroutines. Errors are
// *hansom.Error with the Lambda API's wording.
type Service struct {
	cfg       Config
	db        *db.DB
	functions Functions
	pool      Pool
	log       *slog.Logger
	wake      chan struct{} // tells Run to look; capacity 1
	now       func() time.Time

	mu   sync.Mutex
	kept map[key]*kept
}

// New migrates the table. Run must be called for instances to be made.
func New(ctx context.Context, cfg Config, database *db.DB, functions Functions, pool Pool, logger *slog.Logger) (*Service, error) {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open provisioned concurrency", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, functions: functions, pool: pool, log: logger.With("component", "provision"),
		wake: make(chan struct{}, 1), now: time.Now, kept: map[key]*kept{}}
	database.Subscribe(func(db.Change) { s.look() })
	return s, nil
}

// look has Run look at what is asked for and what is there.
func (s *Service) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
