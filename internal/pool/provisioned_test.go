package pool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

func mustBoot(t *testing.T, p *Pool, v *hansom.Version, n int) {
	t.Helper()
	p.Provision(v, n)
	for range n {
		if err := p.Boot(v); err != nil {
			t.Fatal(err)
		}
	}
}

func wantProvisioned(t *testing.T, p *Pool, v *hansom.Version, ready, lasting, calls int) {
	t.Helper()
	synctest.Wait()
	if r, l, c := p.Provisioned(v); r != ready || l != lasting || c != calls {
		t.Errorf("%d ready, %d lasting, %d calls; want %d, %d, %d", r, l, c, ready, lasting, calls)
	}
}

// A provisioned instance is there before the first call, which pays for no start, and stays when others have expired.
func TestProvisionedInstancesTakeCallsFirstAndStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &stub{
			boot: func(context.Context, *stubSandbox) error { time.Sleep(time.Second); return nil },
			invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
				<-release
				return sandbox.Response{}, nil
			},
		}
		r := newRecorder()
		p, v := newPool(t, d, r, nil), version("f")
		mustBoot(t, p, v, 2)
		wantProvisioned(t, p, v, 2, 2, 0)
		for _, s := range d.alive() {
			if !slices.Contains(s.Env, "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency") {
				t.Errorf("environment %q", s.Env)
			}
		}
		var calls sync.WaitGroup
		for i := range 3 {
			calls.Go(func() { mustRun(t, p, v, id(i), "1") })
		}
		time.Sleep(2 * time.Second)
		wantProvisioned(t, p, v, 2, 2, 2)
		if s := p.Stats(); s.Provisioned != 2 || s.Busy != 3 || d.starts() != 3 {
			t.Errorf("%+v, %d started", s, d.starts())
		}
		close(release)
		calls.Wait()
		var provisioned, spilled int
		for _, c := range r.recorded() {
			if c.Provisioned {
				provisioned++
				if c.Cold || c.Init != 0 {
					t.Errorf("a call of a provisioned instance: %+v", c)
				}
			}
			if c.Spillover {
				spilled++
			}
			report := r.lines(c.ID)[2]
			if strings.Contains(report, "Init Duration") == c.Provisioned {
				t.Errorf("provisioned is %t: %s", c.Provisioned, report)
			}
		}
		if provisioned != 2 || spilled != 1 {
			t.Errorf("%d calls in provisioned instances, %d beside them", provisioned, spilled)
		}
		time.Sleep(20 * time.Minute)
		wantProvisioned(t, p, v, 2, 2, 0)
		if s := p.Stats(); s.Idle != 2 || s.Frozen != 2 {
			t.Errorf("after 20 minutes: %+v", s)
		}
		mustRun(t, p, v, id(9), "1") // thaws one

		p.Provision(v, 1)
		wantProvisioned(t, p, v, 1, 1, 0)
		p.Provision(v, 0)
		wantProvisioned(t, p, v, 0, 0, 0)
		time.Sleep(time.Second)
		if s := p.Stats(); s.Reserved != 0 || p.groups.Get(key{v.Project, v.Function, v.Revision}) != nil {
			t.Errorf("after the end: %+v, or the group is still there", s)
		}
	})
}

// The end of an instance is announced, so that another takes its place.
func TestProvisionedInstancesThatEndAreAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		mustBoot(t, p, v, 1)
		d.alive()[0].stop(sandbox.Exit{Code: 1})
		<-p.ProvisionedEnded()
		wantProvisioned(t, p, v, 0, 0, 0)
		mustBoot(t, p, v, 1)
		p.Retire(v.Project, v.Function, v.Revision)
		<-p.ProvisionedEnded()
		wantProvisioned(t, p, v, 0, 0, 0)
	})
}

// Before credentials end, an instance counts as one to replace, and it takes calls until the new one is there.
func TestProvisionedInstancesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		mustBoot(t, p, v, 1)
		old := d.alive()[0]
		for lasting := 1; lasting > 0; _, lasting, _ = p.Provisioned(v) {
			time.Sleep(time.Minute)
		}
		wantProvisioned(t, p, v, 1, 0, 0)
		mustRun(t, p, v, id(1), "1")
		if old.calls != 1 {
			t.Error("the old instance does not take calls")
		}
		if err := p.Boot(v); err != nil {
			t.Fatal(err)
		}
		wantProvisioned(t, p, v, 1, 1, 0)
		if all := d.alive(); len(all) != 1 || all[0] == old {
			t.Errorf("%d instances, or the old one", len(all))
		}
	})
}

// A function that needs a provisioned instance gets the memory of idle ones; provisioned ones are not evicted.
func TestProvisionedInstancesAndMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 256 * mb })
		idle, v := version("idle"), version("f")
		mustRun(t, p, idle, id(1), "1")
		mustBoot(t, p, v, 1)
		p.Provision(v, 2)
		isKind(t, p.Boot(v), hansom.Throttled)
		synctest.Wait()
		if err := p.Boot(v); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Run(ctx, idle, call(id(2), "1"), nil); hansom.KindOf(err) != hansom.Timeout {
			t.Errorf("a call with no memory left: %v", err)
		}
		wantProvisioned(t, p, v, 2, 2, 0)
		large := version("large")
		large.Memory = 512
		isKind(t, p.Boot(large), hansom.Unavailable)
	})
}

// An init has 130 s, and the code of what went wrong is Lambda's.
func TestProvisionedInstancesThatFail(t *testing.T) {
	for _, c := range []struct {
		name, code string
		boot       func(ctx context.Context) error
	}{
		{"slow", "", func(context.Context) error { time.Sleep(120 * time.Second); return nil }},
		{"too slow", codeTimeout, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{"error", codeInit, func(context.Context) error {
			return &sandbox.InitError{Payload: []byte(`{"errorType":"Runtime.ImportModuleError"}`)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, &stub{boot: func(ctx context.Context, _ *stubSandbox) error { return c.boot(ctx) }}, newRecorder(), nil)
				p.Provision(version("f"), 1)
				err := p.Boot(version("f"))
				if c.code == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var e *hansom.Error
				if !errors.As(err, &e) || e.Code != c.code || e.Message == "" {
					t.Errorf("%#v", err)
				}
				if s := p.Stats(); s.Reserved != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
