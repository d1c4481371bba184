// Package endpoint keeps EventBridge's connections and API destinations, and sends events to them: HTTP endpoints elsewhere, with what
// they ask of those who call.
package endpoint

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/upstream"
)

// domain names this package's tables, migrations and change notices.
const domain = "endpoint"

//go:embed migrations/*.sql
var embedded embed.FS

// Config of a Service.
type Config struct {
	Region  string        // stands in every ARN
	Key     []byte        // 32 bytes, which the secrets of connections are sealed with
	Timeout time.Duration // of a request, with its answer
	Now     func() time.Time
	NewID   func() string
}

// DefaultConfig waits 5 s, as EventBridge does. It has no key.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Timeout: 5 * time.Second, Now: time.Now, NewID: hansom.NewID}
}

// Service holds the connections and API destinations of all projects. Its methods may be called from several goroutines. Errors are
// *hansom.Error with EventBridge's wording.
type Service struct {
	cfg       Config
	db        *db.DB
	logger    *slog.Logger
	aead      cipher.AEAD
	client    *http.Client
	transport *http.Transport
	wake      chan struct{} // a connection is to be authorized

	mu           sync.RWMutex
	connections  map[key]*Connection // what is in it is replaced as a whole
	destinations map[key]*Destination
	tokens       map[string]*token // by the id of a connection
	paces        map[string]*pace  // by the id of a destination
}

type key struct{ project, name string }

// New migrates the tables and reads them. Requests go out through dialer. Run must be called for connections with OAuth.
func New(ctx context.Context, cfg Config, database *db.DB, dialer *upstream.Dialer, logger *slog.Logger) (*Service, error) {
	if cfg.Timeout <= 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open endpoints", "timeout must be positive")
	}
	block, err := aes.NewCipher(cfg.Key)
	if err != nil {
		return nil, failed("open endpoints", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, failed("open endpoints", err)
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open endpoints", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, logger: logger.With("component", "endpoint"), aead: aead, transport: dialer.Transport(),
		wake: make(chan struct{}, 1), tokens: map[string]*token{}, paces: map[string]*pace{}}
	// A redirect is an answer like others: what a connection has is for its endpoint alone.
	s.client = &http.Client{Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, err = database.Mirror(ctx, domain, s.load, nil, s.logger)
	return s, err
}

// Run has the connections with OAuth authorized until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer s.transport.CloseIdleConnections()
	for ctx.Err() == nil {
		var work sync.WaitGroup
		for _, c := range s.list(func(c *Connection) bool { return c.State == Authorizing }) {
			work.Go(func() { s.authorize(ctx, c) })
		}
		work.Wait()
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return nil
}

// RemoveProject removes what a project has within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	tx.Changed(domain, project)
	for _, table := range []string{"endpoint_connections", "endpoint_destinations"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE project = ?`, project); err != nil {
			return failed("remove project", err)
		}
	}
	return nil
}

// list returns the connections that f is true of, by project and name.
func (s *Service) list(f func(*Connection) bool) (list []*Connection) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.connections {
		if f(c) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Connection) int {
		return cmp.Or(strings.Compare(a.Project, b.Project), strings.Compare(a.Name, b.Name))
	})
	return list
}

// resource takes the ARN of a resource of a kind, "<kind>/<name>/<id>", apart.
func resource(arn, kind string) (k key, id string, ok bool) {
	a, err := hansom.ParseARN(arn)
	if err != nil {
		return key{}, "", false
	}
	parts := strings.Split(a.Resource, "/")
	if a.Service != "events" || len(parts) != 3 || parts[0] != kind {
		return key{}, "", false
	}
	return key{a.Account, parts[1]}, parts[2], true
}

func (s *Service) arn(project, kind, name, id string) string {
	return "arn:aws:events:" + s.cfg.Region + ":" + project + ":" + kind + "/" + name + "/" + id
}

// connection finds a connection by its ARN, or nil.
func (s *Service) connection(arn string) *Connection {
	k, id, ok := resource(arn, "connection")
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.connections[k]; ok && c != nil && c.ID == id {
		return c
	}
	return nil
}

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "check endpoint", format, args...)
}
