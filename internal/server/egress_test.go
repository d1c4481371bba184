package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// Where functions cannot reach the internet, a project that asks for it for all of them gets platform, and the log says so.
func TestProjectEgress(t *testing.T) {
	projects, err := auth.New(t.Context(), auth.DefaultConfig(), dbtest.Open(t, dbtest.SQLite(t)), make([]byte, 32), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	made, err := projects.CreateProject(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		egress, want string
		offline      error
	}{
		{"", "", nil}, {"none", "none", nil}, {"platform", "platform", nil}, {"internet", "internet", nil},
		{"", "", errors.New("no veth")}, {"none", "none", errors.New("no veth")}, {"internet", "platform", errors.New("no veth")},
	} {
		p, err := projects.SetEgress(t.Context(), "acme", c.egress)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := &Server{auth: projects, offline: c.offline, logger: slog.New(slog.NewTextHandler(&log, nil))}
		s.checkEgress(p)
		if got := s.projectEgress(made.ID); got != c.want {
			t.Errorf("%q with %v: %q, want %q", c.egress, c.offline, got, c.want)
		}
		if told := strings.Contains(log.String(), "platform instead of internet") && strings.Contains(log.String(), "project=acme"); told != (c.want != c.egress) {
			t.Errorf("%q with %v: the log says %q", c.egress, c.offline, log.String())
		}
	}
	if got := (&Server{auth: projects}).projectEgress("123456789012"); got != "" {
		t.Errorf("a project that is gone has egress %q", got)
	}
	if other := (&Server{auth: projects}).projectEgress(hansom.DefaultProject); other != "" {
		t.Errorf("another project has egress %q", other)
	}
}
