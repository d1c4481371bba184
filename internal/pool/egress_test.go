package pool

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// TestEgress: what a function may reach decides which listeners it finds and whether it is connected.
func TestEgress(t *testing.T) {
	for _, c := range []struct {
		version, other string // the version's egress, and the pool's
		ports          []int
		names, online  bool
	}{
		{"none", "internet", []int{RuntimePort}, false, false},
		{"platform", "internet", []int{RuntimePort, PlatformPort, EdgePort}, true, false},
		{"internet", "platform", []int{RuntimePort, PlatformPort, EdgePort}, true, true},
		{"", "none", []int{RuntimePort}, false, false},
		{"", "internet", []int{RuntimePort, PlatformPort, EdgePort}, true, true},
	} {
		t.Run(c.version+" "+c.other, func(t *testing.T) {
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
