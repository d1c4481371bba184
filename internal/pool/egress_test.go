package pool

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// TestEgress: what a function may reach decides which listeners it finds and whether it is connected.
func TestEgress(t *testing.T) {
	for _, c := range []struct {
		version, project, other string // the version's egress, its project's, and the pool's
		ports                   []int
		names, online           bool
	}{
		{"none", "internet", "internet", []int{RuntimePort}, false, false},
		{"platform", "", "internet", []int{RuntimePort, PlatformPort, EdgePort}, true, false},
		{"internet", "none", "platform", []int{RuntimePort, PlatformPort, EdgePort}, true, true},
		{"", "none", "internet", []int{RuntimePort}, false, false},
		{"", "platform", "none", []int{RuntimePort, PlatformPort, EdgePort}, true, false},
		{"", "internet", "platform", []int{RuntimePort, PlatformPort, EdgePort}, true, true},
		{"", "", "none", []int{RuntimePort}, false, false},
		{"", "", "internet", []int{RuntimePort, PlatformPort, EdgePort}, true, true},
	} {
		t.Run(c.version+" "+c.project+" "+c.other, func(t *testing.T) {
			specs := make(chan sandbox.Spec, 1)
			serve := func(l net.Listener) {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.Close()
				}
			}
			p, _ := newFake(t, newRecorder(), func(spec sandbox.Spec) fake.Script {
				specs <- spec
				return fake.Script{Handler: func(context.Context, *fake.Call) ([]byte, error) { return []byte("1"), nil }}
			}, func(cfg *Config, d *Deps) {
				cfg.Egress = c.other
				d.Egress = func(project string) string {
					if project != hansom.DefaultProject {
						t.Errorf("asked for the project %q", project)
					}
					return c.project
				}
				d.Platform = func(l net.Listener, _ *hansom.Version) { serve(l) }
				d.Edge = serve
				d.Names = func(net.PacketConn, net.Listener, string) {}
			})
			v := version("f")
			v.Egress = c.version
			mustRun(t, p, v, id(1), "1")
			spec := <-specs
			var ports []int
			for _, l := range spec.Listen {
				ports = append(ports, l.Port)
			}
			if !slices.Equal(ports, c.ports) || spec.Names != c.names || spec.Internet != c.online {
				t.Errorf("ports %v, names %t, internet %t", ports, spec.Names, spec.Internet)
			}
		})
	}
}

// TestProjectEgressChanges: what starts after a change has the new egress, blanks included; what runs keeps its own.
func TestProjectEgressChanges(t *testing.T) {
	var egress atomic.Value
	egress.Store(hansom.EgressInternet)
	var room stockroom
	specs := make(chan sandbox.Spec, 3)
	p, _ := newFake(t, newRecorder(), func(spec sandbox.Spec) fake.Script {
		specs <- spec
		return fake.Script{Handler: func(context.Context, *fake.Call) ([]byte, error) { return []byte("1"), nil }}
	}, func(_ *Config, d *Deps) {
		d.Egress = func(string) string { return egress.Load().(string) }
		d.Names = func(net.PacketConn, net.Listener, string) {}
		d.Blanks = &room
	})
	v := version("f")
	p.Expect(v)
	mustRun(t, p, v, id(1), "1")
	egress.Store(hansom.EgressNone)
	mustRun(t, p, v, id(2), "1")
	p.Expect(v)
	renewed := version("f")
	renewed.Revision = "r2-f"
	mustRun(t, p, renewed, id(3), "1")
	if len(specs) != 2 {
		t.Fatalf("%d instances started, want one of each revision", len(specs))
	}
	for i, want := range []bool{true, false} {
		if spec := <-specs; spec.Internet != want || spec.Names != want {
			t.Errorf("instance %d: internet %t, names %t", i+1, spec.Internet, spec.Names)
		}
		if room.expected[i].Internet != want {
			t.Errorf("blank %d: internet %t", i+1, room.expected[i].Internet)
		}
	}
}
