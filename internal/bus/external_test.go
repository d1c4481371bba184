package bus

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hansomcloud/hansom"
)

// natsServer runs a NATS server of its own on a port; stop ends it.
func natsServer(t *testing.T, dir string, port int, maxPayload int32) (url string, stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, MaxPayload: maxPayload, Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		t.Fatal("NATS does not start")
	}
	stop = sync.OnceFunc(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	t.Cleanup(stop)
	return fmt.Sprintf("nats://u:p@%s", s.Addr()), stop
}

// Logs on a NATS server beside this process do what those in it do. Those of another data directory on it are others.
func TestExternal(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "nats")
	url, stop := natsServer(t, store, server.RANDOM_PORT, MaxPayload)
	connect := func(name string) *Log {
		t.Helper()
		b, err := Open(t.Context(), Config{Dir: filepath.Join(dir, name), URL: url + "?replicas=1"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		l, err := b.Log(t.Context(), LogConfig{Name: "log", Subject: "log.>"})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one, other := connect("one"), connect("other")
	seqs := add(t, one, Record{Subject: "log.a", Meta: "m", Data: []byte("A")}, Record{Subject: "log.b.c", Data: []byte("B")}, Record{Subject: "log.d"})
	add(t, other, Record{Subject: "log.x"})
	if r, err := one.Read(t.Context(), seqs[0]); err != nil || r.Subject != "log.a" || r.Meta != "m" || string(r.Data) != "A" {
		t.Errorf("%+v %v", r, err)
	}
	if err := one.Delete(t.Context(), seqs[2]); err != nil {
		t.Error(err)
	}
	if err := one.Purge(t.Context(), "log.b.>"); err != nil {
		t.Error(err)
	}
	if _, err := one.Read(t.Context(), seqs[1]); hansom.KindOf(err) != hansom.NotFound {
		t.Error(err)
	}
	one.bus.Close()
	one = connect("one")
	if list := scan(t, one, true); !slices.Equal(list, []string{"log.a m A"}) {
		t.Errorf("%q", list)
	}
	if list := scan(t, other, true); !slices.Equal(list, []string{"log.x"}) {
		t.Errorf("%q", list)
	}

	heard := make(chan string, 10)
	for name, l := range map[string]*Log{"one": one, "other": other} {
		if err := l.bus.OnNotice(func() { heard <- name }); err != nil {
			t.Fatal(err)
		}
		if err := l.bus.conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	other.bus.Notify()
	other.bus.Notify()
	for range 2 {
		if name := <-heard; name != "one" {
			t.Errorf("%s heard of it", name)
		}
	}

	// It goes away and comes again.
	stop()
	until(t, "its end is seen", func() bool { return !one.bus.conn.IsConnected() })
	start := time.Now()
	if _, err := one.Append(Record{Subject: "log.lost"}).Wait(); hansom.KindOf(err) != hansom.Unavailable || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if err := one.Delete(t.Context(), seqs[0]); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
	_, text, _ := strings.Cut(url, "@")
	_, port, _ := net.SplitHostPort(text)
	n := 0
	fmt.Sscan(port, &n)
	natsServer(t, store, n, MaxPayload)
	until(t, "records are accepted again", func() bool {
		_, err := one.Append(Record{Subject: "log.again"}).Wait()
		return err == nil
	})
	if list := scan(t, one, true); !slices.Equal(list, []string{"log.a m A", "log.again"}) {
		t.Errorf("%q", list)
	}
}

func TestExternalErrors(t *testing.T) {
	url, _ := natsServer(t, t.TempDir(), server.RANDOM_PORT, 1<<20)
	for url, want := range map[string]string{
		url: "max_payload",
		strings.Replace(url, ":p@", ":secret@", 1): "Authorization",
		"nats://u:secret@127.0.0.1:1":              "--nats-url",
	} {
		_, err := Open(t.Context(), Config{Dir: t.TempDir(), URL: url}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for url, ok := range map[string]bool{
		"nats://h:4222": true, "tls://u:p@h:4222/?replicas=3": true,
		"http://h": false, "nats://": false, "nats://h/x": false, "nats://h?replicas=0": false, "nats://h?replicas=x": false, "nats://h?copies=3": false, "nats://u:%zz@h": false, "": false,
	} {
		if err := CheckURL(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
