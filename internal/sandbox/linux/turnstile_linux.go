package linux

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// bootsPerCPU is how many starts are under way for each CPU: enough to compute while others wait for the kernel. More at once would
// all be late together, and cost more: they take the caches and the kernel's locks from each other.
const bootsPerCPU = 2

// bootPatience is how long the turn of an interpreter that says nothing lasts.
const bootPatience = time.Second

// startLimit is how long a start may take from its turn on.
const startLimit = 30 * time.Second

// turnstile lets starts through in the order in which they came.
type turnstile struct{ places *semaphore.Weighted }

func newTurnstile() turnstile {
	return turnstile{semaphore.NewWeighted(int64(max(2, bootsPerCPU*runtime.NumCPU())))}
}

// pass waits for a turn, which lasts until leave is called.
func (t turnstile) pass(ctx context.Context) (leave func(), err error) {
	if err := t.places.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { t.places.Release(1) }, nil
}

// leaveWhenBooted calls leave when the interpreter of a sandbox has booted, which is before it runs any code of the function: else a
// function that takes long to load would hold up others. What boots by itself is not waited for.
func (b *box) leaveWhenBooted(spec sandbox.Spec, leave func()) {
	if spec.Boot == nil || b.conn == nil {
		leave()
		return
	}
	// A socket of its own, which is told of what another reader takes: the link must not wait for this.
	f, err := b.conn.File()
	if err != nil {
		leave()
		return
	}
	f.SetReadDeadline(time.Now().Add(bootPatience))
	looking := make(chan struct{})
	go func() {
		defer leave()
		defer f.Close()
		awaitSpeech(f, looking)
	}()
	<-looking // before anybody else reads: what comes from here on is not missed
}

// awaitSpeech waits until there is or was something to read, an end included. It closes looking when it has begun.
func awaitSpeech(f *os.File, looking chan<- struct{}) {
	begun := false
	begin := func() {
		if !begun {
			begun = true
			close(looking)
		}
	}
	defer begin()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		woken := begun
		begin()
		return woken || err != syscall.EAGAIN
	})
}
