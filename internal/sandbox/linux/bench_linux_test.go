package linux

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// BenchmarkStart is what the driver adds to a program's own start: until the command runs, and until the sandbox has gone.
func BenchmarkStart(b *testing.B) {
	d := openDriver(b, b.TempDir())
	spec := sandbox.Spec{Command: []string{"/bin/true"}, Dir: "/", Memory: 128 << 20, Tmp: 512 << 20, Frames: true,
		Listen: []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}, {Port: 4566, Env: []string{"URL"}, Format: "http://%s"}}}
	i := 0
	run := func(b *testing.B, whole bool) {
		for b.Loop() {
			spec.ID = fmt.Sprintf("b%d", i)
			i++
			sb, err := d.Start(context.Background(), spec)
			if err != nil {
				b.Fatal(err)
			}
			if !whole {
				b.StopTimer()
			}
			<-sb.Done()
			sb.Kill()
			sb.Output().Close()
			if !whole {
				b.StartTimer()
			}
		}
	}
	b.Run("UntilRunning", func(b *testing.B) { run(b, false) })
	for name, online := range map[string]bool{"Connected": true, "NotConnected": false} { // under unshare --net
		b.Run(name, func(b *testing.B) {
			spec.Names, spec.Internet = true, online
			run(b, false)
			spec.Names, spec.Internet = false, false
		})
	}
	b.Run("UntilGone", func(b *testing.B) { run(b, true) })
	b.Run("PlainProcess", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDial is a new connection to a server inside, up to its answer to one line.
func BenchmarkDial(b *testing.B) {
	d := openDriver(b, b.TempDir())
	spec := show(b, "dial", sandboxtest.Serve, "PORT")
	spec.Serve = &sandbox.Serve{Port: 8080, Env: "PORT"}
	sb := startReady(b, d, spec)
	if _, err := io.ReadFull(sb.Output(), make([]byte, len("ready\n"))); err != nil {
		b.Fatal(err)
	}
	for _, answered := range []bool{false, true} {
		b.Run(fmt.Sprintf("Answered=%t", answered), func(b *testing.B) {
			for b.Loop() {
				conn, err := sb.(sandbox.Dialer).Dial(b.Context(), 0)
				if err != nil {
					b.Fatal(err)
				}
				if answered {
					fmt.Fprintln(conn, "you")
					io.ReadAll(conn)
				}
				conn.Close()
			}
		})
	}
}
