package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = hansom.DefaultProject

func newService(t *testing.T, d *db.DB, log *bytes.Buffer) *Service {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg := DefaultConfig()
	cfg.Key = bytes.Repeat([]byte("k"), 32)
	s, err := New(t.Context(), cfg, d, upstream.New(upstream.DefaultConfig()), logger)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running is newService on SQLite with its Run.
func running(t *testing.T, log *bytes.Buffer) *Service {
	t.Helper()
	s := newService(t, dbtest.Open(t, dbtest.SQLite(t)), log)
	run(t, s)
	return s
}

func run(t *testing.T, s *Service) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// server is an endpoint that notes what it is asked: a request line, headers that are not the client's own, an empty line, the body.
type server struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request)

	mu   sync.Mutex
	seen [][]string
}

func newServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *server {
	s := &server{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		lines := []string{}
		for name, v := range r.Header {
			if name != "Accept-Encoding" && name != "Content-Length" {
				lines = append(lines, name+": "+strings.Join(v, ", "))
			}
		}
		slices.Sort(lines)
		lines = append(append([]string{r.Method + " " + r.RequestURI}, lines...), "", string(body))
		s.mu.Lock()
		s.seen = append(s.seen, lines)
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// taken are the requests so far, and forgets them.
func (s *server) taken() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.seen
	s.seen = nil
	return list
}

func authOf(t *testing.T, text string) *Auth {
	t.Helper()
	var a Auth
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return &a
}

func connect(t *testing.T, s *Service, name, kind, auth string) *Connection {
	t.Helper()
	c, err := s.CreateConnection(t.Context(), project, ConnectionInput{Name: name, Kind: kind, Auth: authOf(t, auth)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const keyAuth = `{"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "top secret"}}`

// destination makes an API destination with a connection of its own.
func destination(t *testing.T, s *Service, name, method, url, kind, auth string) *Destination {
	t.Helper()
	c := connect(t, s, name, kind, auth)
	d, err := s.CreateDestination(t.Context(), project, DestinationInput{Name: name, Connection: c.ARN, URL: url, Method: method})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func send(t *testing.T, s *Service, d *Destination) error {
	return s.Send(t.Context(), hansom.Delivery{Project: project, ARN: d.ARN, Payload: []byte(`{}`)})
}

func refusal(t *testing.T, what string, err error, kind hansom.Kind, message string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || err.Error() != message {
		t.Errorf("%s: got %v (%d)\nwant %s (%d)", what, err, hansom.KindOf(err), message, kind)
	}
}
