package pool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// fiber counts what is asked of it.
type fiber struct{ detached int }

func (f *fiber) Detach() { f.detached++ }

// carrier is a link that carries fibers.
type carrier struct{ *stubSandbox }

func (carrier) CarriesFibers() bool { return true }

// A warm call stays on its fiber where its link allows that; whatever may take time gets a goroutine.
func TestFibers(t *testing.T) {
	carries := func(_ *Config, d *Deps) {
		d.Link = func(sb sandbox.Sandbox, _ *runtimes.Runtime, _ sandbox.LogFunc) (sandbox.Link, error) {
			return carrier{sb.(*stubSandbox)}, nil
		}
	}
	detaches := func(p *Pool, payload string) bool {
		t.Helper()
		f, inv := &fiber{}, call(id(1), payload)
		inv.Fiber = f
		if _, err := p.Run(context.Background(), version("f"), inv, nil); err != nil {
			t.Fatal(err)
		}
		return f.detached > 0
	}
	d := &stub{invoke: func(_ *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
		if string(req.Payload) == "fail" {
			return sandbox.Response{}, sandbox.ErrClosed
		}
		return sandbox.Response{Payload: req.Payload}, nil
	}}
	p := newPool(t, d, newRecorder(), carries)
	for _, c := range []struct {
		name, payload string
		want          bool
	}{
		{"cold", "1", true}, {"warm", "1", false}, {"a long answer", repeat('x', longAnswer+1), true}, {"warm again", "1", false}, {"failure", "fail", true},
	} {
		if got := detaches(p, c.payload); got != c.want {
			t.Errorf("%s: detached is %v", c.name, got)
		}
	}
	other := newPool(t, &stub{}, newRecorder(), nil)
	for range 2 {
		if !detaches(other, "1") {
			t.Error("a link that says nothing of fibers was called on one")
		}
	}
}

// A link is told to hold up a function that prints more than its share, and what reads the rest of that is off the loop.
func TestFibersOfThosePrintingTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		r := newRecorder()
		r.silent = true
		var print sandbox.LogFunc
		var wait time.Duration
		much := make([]byte, 32<<20)
		d := &stub{invoke: func(_ *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
			if string(req.Payload) == "print" {
				wait = print(req.ID, much)
			}
			return sandbox.Response{Payload: req.Payload}, nil
		}}
		p := newPool(t, d, r, func(_ *Config, d *Deps) {
			d.Link = func(sb sandbox.Sandbox, _ *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error) {
				print = log
				return carrier{sb.(*stubSandbox)}, nil
			}
		})
		run := func(payload string) (detached int) {
			f, inv := &fiber{}, call(id(1), payload)
			inv.Fiber = f
			if _, err := p.Run(context.Background(), version("f"), inv, nil); err != nil {
				t.Fatal(err)
			}
			return f.detached
		}
		run("cold")
		for n := 0; run("print") == 0; n++ {
			if n > 10 {
				t.Fatal("it prints on the loop, however much")
			}
		}
		if wait <= 0 {
			t.Error("nobody holds the function up")
		}
		if run("print") == 0 || run("quiet") == 0 {
			t.Error("a call of a function that is held up stayed on the loop")
		}
	})
}
