package runtimes

import (
	"os"
	"slices"
	"testing"
)

func TestZygote(t *testing.T) {
	each(t, Python, func(t *testing.T, r *Runtime) {
		z := r.Zygote(map[string]string{"STAGE": "test", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
		if z == nil {
			t.Fatal("there is none")
		}
		booted, err := r.Command("app.handler", 128, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(z.Command[:len(booted)], booted) {
			t.Errorf("it runs %q, a function %q", z.Command, booted)
		}
		if len(z.Files) != 3 {
			t.Errorf("it depends on %q: want interpreter, bootstrap and zygote", z.Files)
		}
		for _, file := range z.Files {
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "LC_ALL", "LANG", "GLIBC_TUNABLES", Wrapper} {
			if r.Zygote(map[string]string{name: "x"}) != nil {
				t.Errorf("a function that sets %s does not boot", name)
			}
		}
	})
	each(t, Node, func(t *testing.T, r *Runtime) {
		if r.Zygote(nil) != nil {
			t.Error("Node.js cannot be forked")
		}
		if r.Late(map[string]string{"NODE_OPTIONS": "x"}) || !r.Late(map[string]string{"PYTHONPATH": "x"}) {
			t.Error("NODE_OPTIONS is for Node.js and PYTHONPATH is not")
		}
	})
}
