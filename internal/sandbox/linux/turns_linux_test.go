package linux

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// A sandbox that computes gets long slices, one that waits keeps short ones, and the server has the shortest.
func TestTurns(t *testing.T) {
	d := openDriver(t, t.TempDir())
	setSlice(0, shortSlice) // on whatever thread
	if slice(t, 0) == 0 {
		t.Skip("this kernel has no slices of one's own: they came with Linux 6.12")
	}
	if len(d.groups.Dirs()) == 0 {
		t.Skip("no cgroups")
	}
	compute := show(t, "compute", sandboxtest.Hold)
	compute.Command = []string{"/bin/sh", "-c", "while :; do :; done"}
	sb, err := d.Start(t.Context(), compute)
	if err != nil {
		t.Fatal(err)
	}
	defer sb.Output().Close()
	defer sb.Kill()
	startReady(t, d, show(t, "wait", sandboxtest.Hold))
	slices := func(id string) map[time.Duration]bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		found := map[time.Duration]bool{}
		for _, thread := range d.living[id].group.Threads() {
			found[slice(t, thread)] = true
		}
		return found
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: slices of the one that computes %v, of the one that waits %v", what, slices("compute"), slices("wait"))
			}
		}
	}
	until("long slices for who computes", func() bool { return slices("compute")[longSlice] })
	until("short ones for who waits, once it has started", func() bool { got := slices("wait"); return got[shortSlice] && !got[longSlice] })
	if got := slice(t, os.Getpid()); got != serverSlice && got != shortSlice {
		t.Errorf("the server's slice is %v", got)
	}
}

func slice(t *testing.T, thread int) time.Duration {
	t.Helper()
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		return 0 // it has ended
	}
	return time.Duration(attr.Runtime)
}
