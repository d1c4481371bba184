package rig

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestSumMetric(t *testing.T) {
	text := "# HELP hansom_blanks x\n# TYPE hansom_blanks gauge\nhansom_blanks 3\nhansom_instances{state=\"idle\"} 2\nhansom_instances{state=\"busy\"} 1\nhansom_instances_other 9\ngo_bytes 1.5e+06\n"
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
		ok     bool
	}{
		{"hansom_blanks", nil, 3, true},
		{"hansom_instances", nil, 3, true},
		{"hansom_instances", []string{`"idle"`}, 2, true},
		{"hansom_instances", []string{`"gone"`}, 0, false},
		{"hansom", nil, 0, false},
		{"go_bytes", nil, 1.5e6, true},
	} {
		if got, ok := sumMetric(text, c.name, c.labels...); got != c.want || ok != c.ok {
			t.Errorf("%s %v: %g, %v; want %g, %v", c.name, c.labels, got, ok, c.want, c.ok)
		}
	}
}

// A program that ends before it listens is reported with what it said, at once.
func TestStartReportsAFailure(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start("broken", addr, filepath.Join(t.TempDir(), "log"), "sh", "-c", "echo no such setting; exit 1")
	if err == nil || !strings.Contains(err.Error(), "no such setting") {
		t.Errorf("got %v", err)
	}
}

func TestStartAndStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // stands for the program's own listener
	p, err := Start("sleeper", l.Addr().String(), filepath.Join(t.TempDir(), "log"), "sh", "-c", "sleep 1000 & wait")
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if p.cmd.ProcessState == nil {
		t.Error("the program was not waited for")
	}
}
