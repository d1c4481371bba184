package bus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
)

// keys are access keys that are there; each one's secret is "secret", and its project its name.
type keys map[string]bool

func (k keys) Login(_ context.Context, id, secret, _ string) (string, time.Time, error) {
	if !k[id] || secret != "secret" {
		return "", time.Time{}, hansom.Errorf(hansom.Unauthenticated, "log in", "no")
	}
	return id, time.Time{}, nil
}

func (k keys) HasKey(id string) bool { return k[id] }

const (
	one = "111111111111"
	two = "222222222222"
)

func serve(t *testing.T, cfg Config) *Bus {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	if cfg.Logins == nil {
		cfg.Logins = keys{one: true, two: true}
	}
	b, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func login(t *testing.T, b *Bus, user string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect("nats://"+b.Addr(), append(opts, nats.UserInfo(user, "secret"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

// The account of a project keeps its streams over a restart, beside those of others and of the platform, until the project is dropped.
func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	var full atomic.Bool
	cfg := Config{Dir: dir, Room: func() error {
		if full.Load() {
			return errors.New("full")
		}
		return nil
	}}
	b := serve(t, cfg)
	if _, err := b.Log(t.Context(), LogConfig{Name: "log", Subject: "log.>"}); err != nil {
		t.Fatal(err)
	}
	publish := func(js jetstream.JetStream) error {
		_, err := js.Publish(t.Context(), "log.x", []byte("x"), jetstream.WithRetryAttempts(0))
		return err
	}
	for _, project := range []string{one, two} { // named as the platform's
		_, js := login(t, b, project)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "log", Subjects: []string{"log.>"}}); err != nil {
			t.Fatal(err)
		}
		if err := publish(js); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	b = serve(t, cfg)
	l, err := b.Log(t.Context(), LogConfig{Name: "log", Subject: "log.>"})
	if err != nil {
		t.Fatal(err)
	}
	if list := scan(t, l, true); len(list) > 0 {
		t.Errorf("%q", list)
	}
	conn, js := login(t, b, one, nats.NoReconnect())
	if s, err := js.Stream(t.Context(), "log"); err != nil || s.CachedInfo().State.Msgs != 1 {
		t.Error(err)
	}

	full.Store(true)
	until(t, "clients are refused without room", func() bool { return publish(js) != nil })
	var api *jetstream.APIError
	if err := publish(js); !errors.As(err, &api) || api.ErrorCode != 10002 {
		t.Error(err)
	}
	full.Store(false)
	until(t, "clients are served again", func() bool { return publish(js) == nil })

	own, err := b.Connect(one)
	if err != nil {
		t.Fatal(err)
	}
	delete(b.cfg.Logins.(keys), one)
	b.Recheck()
	until(t, "a key that is gone has no connection", conn.IsClosed)
	if !own.IsConnected() {
		t.Error("the platform's connection ended with a key")
	}
	if _, err := os.Stat(b.accountDir(one)); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop(one); err != nil {
		t.Fatal(err)
	}
	if list := b.Projects(); len(list) != 1 || list[0] != two || !own.IsClosed() {
		t.Error(list)
	}
	_, js = login(t, b, two)
	if err := publish(js); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Listen: l.Addr().String()}, slog.New(slog.DiscardHandler)); hansom.KindOf(err) != hansom.Unavailable || !strings.Contains(err.Error(), "--nats") {
		t.Error(err)
	}
	b, err := Open(t.Context(), Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Connect(one); hansom.KindOf(err) != hansom.Unsupported {
		t.Error(err)
	}
}
