package server

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

func TestDescribe(t *testing.T) {
	s := &Server{logger: slog.New(slog.DiscardHandler)}
	s.describe([]sandbox.Fact{
		{Name: "namespaces", Detail: "mount, pid"},
		{Name: "memory", Detail: "no limit of memory (no cgroup)", Missing: true},
		{Name: "cpu", Detail: "shared"},
		{Name: "freezer", Detail: "none", Missing: true},
	})
	user := "as root"
	if os.Geteuid() != 0 {
		user = "without root"
	}
	if want := "linux, " + user + ": namespaces, cpu; missing: memory, freezer (see hansom doctor)"; s.Isolation() != want {
		t.Errorf("%q, want %q", s.Isolation(), want)
	}
	var got []string
	for _, c := range s.checks {
		got = append(got, c.Status+" "+c.Name+" "+c.Detail)
		if (c.Fix == "") != (c.Status == "ok") {
			t.Errorf("%+v: what is missing comes with a remedy, and nothing else does", c)
		}
	}
	want := "ok isolation: namespaces mount, pid\nwarning isolation: memory no limit of memory (no cgroup)\nok isolation: cpu shared\nwarning isolation: freezer none"
	if all := strings.Join(got, "\n"); all != want {
		t.Errorf("got\n%s\nwant\n%s", all, want)
	}
}
