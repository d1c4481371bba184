package zygote

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zygotes are fakes of the programs: the n-th one answers with pids from n*1000+1 on, or with what answer holds.
type zygotes struct {
	t       testing.TB
	started atomic.Int32
	ended   atomic.Int32
	answer  atomic.Int32
	fail    atomic.Bool
	hold    chan struct{} // a start waits for it

	mu      sync.Mutex
	sockets []int // of those that were started
}

func (z *zygotes) start(*sandbox.Fork) (*Process, error) {
	n := z.started.Add(1)
	if z.hold != nil {
		<-z.hold
	}
	if z.fail.Load() {
		return nil, errors.New("no such program")
	}
	conn, theirs, err := Socketpair()
	if err != nil {
		return nil, err
	}
	fd := int(theirs.Fd())
	z.mu.Lock()
	z.sockets = append(z.sockets, fd)
	z.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer theirs.Close()
		unix.Write(fd, []byte("ready"))
		for pid := n*1000 + 1; ; pid++ {
			request, rights := make([]byte, 64), make([]byte, unix.CmsgSpace(4*MaxFiles))
			size, rn, _, _, err := unix.Recvmsg(fd, request, rights, 0)
			if err != nil || size == 0 {
				return
			}
			messages, _ := unix.ParseSocketControlMessage(rights[:rn])
			files, _ := unix.ParseUnixRights(&messages[0])
			for _, f := range files {
				unix.Close(f)
			}
			if size != RequestSize || len(files) != 2 || request[0] != Frames || string(request[1:4]) != "id\x00" {
				z.t.Errorf("request %q with %d files", request[:size], len(files))
			}
			answer := pid
			if a := z.answer.Load(); a != 0 {
				answer = a
			}
			unix.Write(fd, binary.LittleEndian.AppendUint32(nil, uint32(answer)))
		}
	}()
	return NewProcess(conn, func() {
		conn.Close()
		<-over
		z.ended.Add(1)
	})
}

// kill ends the last zygote that was started.
func (z *zygotes) kill() {
	z.mu.Lock()
	defer z.mu.Unlock()
	unix.Shutdown(z.sockets[len(z.sockets)-1], unix.SHUT_RDWR)
}

func (z *zygotes) keeper(cfg Config) *Keeper {
	k := NewKeeper(cfg, slog.New(slog.DiscardHandler), z.start)
	z.t.Cleanup(func() {
		k.Close()
		if z.started.Load() != z.ended.Load() && !z.fail.Load() {
			z.t.Errorf("%d were started, %d have ended", z.started.Load(), z.ended.Load())
		}
	})
	return k
}

func fork(t testing.TB, k *Keeper, f *sandbox.Fork) int {
	t.Helper()
	pid, err := k.Fork(t.Context(), f, Frames, "id", []int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not so: " + what)
		}
	}
}

var python = &sandbox.Fork{Command: []string{"/usr/bin/python3"}}

func TestFirstStartBoots(t *testing.T) {
	z := &zygotes{t: t, hold: make(chan struct{})}
	cfg := DefaultConfig()
	cfg.Patience = time.Minute
	k := z.keeper(cfg)
	if pid := fork(t, k, python); pid != 0 {
		t.Errorf("the first start was forked: %d", pid)
	}
	// Those that come while the zygote starts wait for it.
	var wg sync.WaitGroup
	var seen sync.Map
	for range 10 {
		wg.Go(func() {
			pid := fork(t, k, python)
			if _, twice := seen.LoadOrStore(pid, true); twice || pid <= 1000 || pid > 1010 {
				t.Errorf("pid %d", pid)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Fork(ctx, python, Frames, "id", []int{0, 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
	close(z.hold)
	wg.Wait()
	if n := z.started.Load(); n != 1 {
		t.Errorf("%d zygotes were started, want one", n)
	}
	other := &sandbox.Fork{Command: []string{"/opt/python3"}}
	k.Warm(t.Context(), other)
	if pid := fork(t, k, other); pid/1000 != 2 {
		t.Errorf("another program was forked as %d, want its own zygote", pid)
	}
}

func TestImpatient(t *testing.T) {
	z := &zygotes{t: t, hold: make(chan struct{})}
	cfg := DefaultConfig()
	cfg.Patience = time.Millisecond
	k := z.keeper(cfg)
	for range 2 {
		if pid := fork(t, k, python); pid != 0 {
			t.Errorf("forked as %d by a zygote that has not started", pid)
		}
	}
	close(z.hold)
}

func TestReplaced(t *testing.T) {
	z := &zygotes{t: t}
	k := z.keeper(Config{Forks: 5, Idle: time.Hour, Patience: time.Minute})
	k.Warm(t.Context(), python)
	of := map[int]int{}
	for range 50 {
		if pid := fork(t, k, python); pid != 0 { // 0 when the start of the next one did not run yet
			of[pid/1000]++
		}
	}
	if len(of) < 5 {
		t.Errorf("forks of each zygote: %v", of)
	}
	for n, forks := range of {
		if forks > 5 {
			t.Errorf("zygote %d has forked %d times, want at most 5", n, forks)
		}
	}
	await(t, "those that were replaced have ended", func() bool { return int(z.ended.Load()) >= len(of)-1 })
}

func TestIdle(t *testing.T) {
	z := &zygotes{t: t}
	k := z.keeper(Config{Forks: 500, Idle: 10 * time.Millisecond, Patience: time.Minute})
	k.Warm(t.Context(), python)
	await(t, "it has ended", func() bool { return z.ended.Load() == 1 })
	fork(t, k, python) // begins again
	await(t, "the next one was started", func() bool { return z.started.Load() == 2 })
}

func TestDead(t *testing.T) {
	z := &zygotes{t: t}
	k := z.keeper(DefaultConfig())
	k.Warm(t.Context(), python)
	z.kill()
	if pid, err := k.Fork(t.Context(), python, Frames, "id", []int{0, 1}); err == nil {
		t.Errorf("a dead zygote has forked %d", pid)
	}
	await(t, "it was buried", func() bool { return z.ended.Load() == 1 })
	k.Warm(t.Context(), python)
	if pid := fork(t, k, python); pid != 2001 {
		t.Errorf("forked as %d, want the second zygote's first", pid)
	}
	z.answer.Store(-int32(unix.EAGAIN))
	if pid := fork(t, k, python); pid != 0 {
		t.Errorf("a refusal became %d", pid)
	}
	z.answer.Store(0)
	if pid := fork(t, k, python); pid/1000 != 2 {
		t.Errorf("forked as %d: a zygote that refused once is still good", pid)
	}
}

func TestFailingProgram(t *testing.T) {
	z := &zygotes{t: t}
	z.fail.Store(true)
	k := z.keeper(DefaultConfig())
	k.Warm(t.Context(), python)
	for range 3 {
		if pid := fork(t, k, python); pid != 0 {
			t.Errorf("forked as %d", pid)
		}
	}
	if n := z.started.Load(); n != 1 {
		t.Errorf("%d zygotes were tried in a row", n)
	}
}

func TestChangedFile(t *testing.T) {
	z := &zygotes{t: t}
	k := z.keeper(DefaultConfig())
	file := filepath.Join(t.TempDir(), "bootstrap.py")
	f := &sandbox.Fork{Command: []string{"/usr/bin/python3"}, Files: []string{file}}
	for i := range 2 {
		if err := os.WriteFile(file, make([]byte, i), 0o644); err != nil {
			t.Fatal(err)
		}
		k.Warm(t.Context(), f)
		if pid := fork(t, k, f); pid != (i+1)*1000+1 {
			t.Errorf("forked as %d after change %d", pid, i)
		}
	}
}
