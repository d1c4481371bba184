// Package usage keeps API keys and usage plans, as API Gateway has them: which keys may call which stages, how often and how much.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-usage-plans.html
package usage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// domain names this package's tables, migrations and change notices.
const domain = "usage"

//go:embed migrations/*.sql
var embedded embed.FS

// Limits of API Gateway.
const (
	MaxKeys       = 10_000 // of a project
	MaxPlans      = 300    // of a project
	MaxPlansOfKey = 10
)

// Sizes of IDs, as AWS has them.
const (
	sizeOfKey  = 10
	sizeOfPlan = 6
)

// Config of a Service.
type Config struct {
	Key      []byte // 32 bytes, which the values of API keys are sealed with
	Now      func() time.Time
	NewID    func(size int) string // of small letters and digits
	NewValue func() string         // of an API key
}

// DefaultConfig has random IDs and values. It has no key.
func DefaultConfig() Config {
	return Config{Now: time.Now,
		NewID:    func(size int) string { return strings.ToLower(rand.Text())[:size] },
		NewValue: func() string { return (rand.Text() + rand.Text())[:40] }}
}

// APIs tells of APIs; *api.Service does.
type APIs interface {
	// Live is an API as it answers; nil when there is none.
	Live(id string) *api.Live
	// HasStage tells whether an API of a project has a stage, as q has it.
	HasStage(ctx context.Context, q db.Querier, project, api, stage string) (bool, error)
}

// Service keeps the API keys and usage plans of all projects. Its methods may be called from several goroutines, and act in the project that they are
// given only. Errors are *hansom.Error with API Gateway's wording.
type Service struct {
	cfg    Config
	db     *db.DB
	apis   APIs
	logger *slog.Logger
	aead   cipher.AEAD
	digest []byte // key of digests

	mu     sync.RWMutex
	keys   map[string]*stored // by ID
	values map[value]*api.Key
	plans  map[string]*api.Plan   // by ID
	byKey  map[string][]*api.Plan // by the ID of a key
}

// value is that of an API key, as it is looked up.
type value struct{ project, digest string }

// stored is an API key with what it is looked up by.
type stored struct {
	*api.Key
	digest string
}

// New migrates the tables and reads them.
func New(ctx context.Context, cfg Config, database *db.DB, apis APIs, logger *slog.Logger) (*Service, error) {
	block, err := aes.NewCipher(cfg.Key)
	if err != nil {
		return nil, failed("open API keys", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, failed("open API keys", err)
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open API keys", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, apis: apis, logger: logger.With("component", "usage"), aead: aead, digest: mac(cfg.Key, "look-up of API keys")}
	_, err = database.Mirror(ctx, domain, s.load, s.changed, s.logger)
	return s, err
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Kinds of notices, which stand before the ID of what changed.
const (
	ofKey     = "key/"
	ofPlan    = "plan/"
	ofProject = "project/" // it was removed
)

// changed reads what a change names.
func (s *Service) changed(ctx context.Context, c db.Change) error {
	for _, n := range c.Keys {
		kind, id, _ := strings.Cut(n, "/")
		var err error
		switch kind + "/" {
		case ofKey:
			err = s.reloadKey(ctx, id)
		case ofPlan:
			err = s.reloadPlan(ctx, id)
		case ofProject:
			s.forget(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes a project from memory.
func (s *Service) forget(project string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range s.keys {
		if k.Project == project {
			s.setKey(id, nil)
		}
	}
	for id, p := range s.plans {
		if p.Project == project {
			s.setPlan(id, nil)
		}
	}
}

// setKey puts a key into the picture in memory, or takes it out. s.mu is held.
func (s *Service) setKey(id string, k *stored) {
	if old := s.keys[id]; old != nil {
		delete(s.values, value{old.Project, old.digest})
		delete(s.keys, id)
	}
	if k != nil {
		s.keys[id], s.values[value{k.Project, k.digest}] = k, k.Key
	}
}

// setPlan puts a plan into the picture in memory, or takes it out. s.mu is held.
func (s *Service) setPlan(id string, p *api.Plan) {
	if old := s.plans[id]; old != nil {
		for _, k := range old.Keys {
			rest := slices.DeleteFunc(slices.Clone(s.byKey[k]), func(p *api.Plan) bool { return p == old })
			if len(rest) == 0 {
				delete(s.byKey, k)
			} else {
				s.byKey[k] = rest
			}
		}
		delete(s.plans, id)
	}
	if p != nil {
		s.plans[id] = p
		for _, k := range p.Keys {
			s.byKey[k] = append(s.byKey[k], p)
		}
	}
}

// Key finds an API key by its value, for an API, and the usage plan that it has for a stage of that API; nil when it has none. It is from memory, and
// what it returns is never changed. ok is false when the project of the API has no such key. It is the caller who looks whether the key is enabled.
func (s *Service) Key(v, apiID, stage string) (k *api.Key, p *api.Plan, ok bool) {
	l := s.apis.Live(apiID)
	if l == nil {
		return nil, nil, false
	}
	digest := string(mac(s.digest, v))
	s.mu.RLock()
	defer s.mu.RUnlock()
	if k = s.values[value{l.Project, digest}]; k == nil {
		return nil, nil, false
	}
	for _, p := range s.byKey[k.ID] {
		if stageOf(p, apiID, stage) != nil {
			return k, p, true
		}
	}
	return k, nil, true
}

// RemoveProject removes what a project has within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	tx.Changed(domain, ofProject+project)
	for _, table := range []string{"usage_keys", "usage_plans", "usage_plan_keys"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE project = ?`, project); err != nil {
			return failed("remove project", err)
		}
	}
	return nil
}

// RemoveStage takes a stage of an API, or all of them when it is "", out of the usage plans of a project, within the caller's transaction.
func (s *Service) RemoveStage(ctx context.Context, tx *db.Tx, project, apiID, stage string) error {
	plans, err := db.Documents[api.Plan](ctx, tx, `SELECT document FROM usage_plans WHERE project = ?`, project)
	if err != nil {
		return err
	}
	for _, p := range plans {
		before := len(p.Stages)
		p.Stages = slices.DeleteFunc(p.Stages, func(st api.PlanStage) bool { return st.API == apiID && (stage == "" || st.Stage == stage) })
		if len(p.Stages) < before {
			if err := savePlan(ctx, tx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

// invalid is answered as BadRequestException.
func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "check usage plan", format, args...)
}

func conflict(format string, args ...any) error {
	return hansom.Errorf(hansom.Conflict, "change usage plan", format, args...)
}

func noKey() error {
	return hansom.Errorf(hansom.NotFound, "find API key", "Invalid API Key identifier specified")
}

// full is answered as TooManyRequestsException.
func full(what, of string) error {
	return hansom.Errorf(hansom.Throttled, "change usage plan", "Maximum number of %s for this %s has been reached.", what, of)
}

// now is the time, to the second: AWS shows no more.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Second) }
