package linux

import (
	"io"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// TestTurnstile: a start waits while the interpreter of another one boots, until that speaks or ends, whoever reads what it says.
func TestTurnstile(t *testing.T) {
	d := openDriver(t, t.TempDir())
	d.turns.places = semaphore.NewWeighted(1)
	interpreter := func(id string) sandbox.Spec {
		spec := show(t, id, sandboxtest.Echo)
		spec.Frames, spec.Boot = true, &sandbox.Boot{Env: spec.Env}
		return spec
	}
	free := func() bool { return d.turns.places.TryAcquire(1) }
	speaking, ending := startReady(t, d, interpreter("speaks")), make(chan sandbox.Sandbox)
	if free() {
		t.Fatal("another start has a turn though an interpreter boots")
	}
	go func() {
		sb, err := d.Start(t.Context(), interpreter("ends"))
		if err != nil {
			t.Error(err)
		}
		ending <- sb
	}()
	if _, err := speaking.Conn().Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(speaking.Conn(), make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	sb := <-ending
	if sb == nil {
		return
	}
	defer sb.Output().Close()
	if free() {
		t.Fatal("another start has a turn though the next interpreter boots")
	}
	sb.Kill()
	startReady(t, d, show(t, "other", sandboxtest.Hold)) // has no interpreter to wait for
	if !free() {
		t.Error("the turn of a start that is over is not given on")
	}
}
