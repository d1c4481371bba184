package linux

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

// requests are what the server asks of a running init, which answers in order.
type requests struct {
	mu      sync.Mutex
	asked   int           // sockets that are under way
	waiting []chan<- made // for a socket

	open   sync.Once
	opened chan error // holds the result of opening the gate
}

func (r *requests) result(err error) {
	select {
	case r.opened <- err:
	default: // it answers once
	}
}

// made is a socket, or why there is none.
type made struct {
	file *os.File
	err  error
}

// take is called for each answer of the init, which is asked for more over to. It owns files.
func (r *requests) take(kind byte, body []byte, files []int, to io.Writer) {
	var m made
	switch {
	case kind == plan.Opened:
		r.result(nil)
	case kind == plan.Failed || kind == plan.Refused:
		r.result(failure(kind, body))
	case kind == plan.Socket && len(files) == 1:
		m.file = os.NewFile(uintptr(files[0]), "socket")
		files = nil
	case kind == plan.Socket && len(body) == 4:
		m.err = os.NewSyscallError("socket", syscall.Errno(plan.Uint32(body)))
	}
	closeAll(files)
	if kind != plan.Socket {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked--
	if len(r.waiting) > 0 {
		r.waiting[0] <- m
		r.waiting = r.waiting[1:]
	} else if m.file != nil {
		m.file.Close() // whoever asked has given up
	}
	r.ask(to)
}

// maxAsked bounds what a frozen init has to answer.
const maxAsked = 64

// ask asks for as many sockets as are waited for. The caller holds r.mu.
func (r *requests) ask(to io.Writer) {
	for ; r.asked < min(len(r.waiting), maxAsked); r.asked++ {
		if _, err := to.Write([]byte{plan.MakeSocket}); err != nil {
			return // the tree is gone
		}
	}
}

// socket is an unconnected one of the sandbox's network namespace. It waits while the sandbox is frozen.
func (b *box) socket(ctx context.Context) (*os.File, error) {
	r := &b.requests
	got := make(chan made, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, got)
	r.ask(b.control)
	r.mu.Unlock()
	err := sandbox.ErrClosed
	select {
	case m := <-got:
		return m.file, m.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-b.done:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, got); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else if m := <-got; m.file != nil {
		m.file.Close()
	}
	return nil, err
}

// Dial implements sandbox.Dialer: the init makes a socket, which belongs to the sandbox's network wherever it is connected from.
func (b *box) Dial(ctx context.Context, port int) (net.Conn, error) {
	if port == 0 {
		port = b.serve
	}
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	conn, err := b.dial(ctx, address)
	if err == nil {
		return conn, nil
	}
	select {
	case <-b.done:
		if ctx.Err() == nil {
			err = sandbox.ErrClosed
		}
	default:
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: err}
}

func (b *box) dial(ctx context.Context, to *net.TCPAddr) (net.Conn, error) {
	f, err := b.socket(ctx)
	if err != nil {
		return nil, err
	}
	defer f.Close() // FileConn has a duplicate
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	address := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte{127, 0, 0, 1}}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) bool { // again when the socket is writable, which says how it went
		failed = unix.Connect(int(fd), address)
		return failed != unix.EINPROGRESS && failed != unix.EALREADY && failed != unix.EINTR
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case failed != nil && failed != unix.EISCONN:
		return nil, os.NewSyscallError("connect", failed)
	}
	return net.FileConn(f)
}

// Open implements sandbox.Gate. Errors: Invalid when the command cannot be executed, sandbox.ErrClosed when the tree is gone.
func (b *box) Open() error {
	if !b.gated {
		return nil
	}
	b.requests.open.Do(func() { b.control.Write([]byte{plan.Open}) })
	select {
	case err := <-b.requests.opened:
		b.requests.opened <- err
		return err
	case <-b.done:
		return sandbox.ErrClosed
	}
}

// End implements sandbox.Gate. A frozen sandbox takes the signal when it is thawed.
func (b *box) End(signal syscall.Signal) {
	request := byte(plan.Terminate)
	if signal == syscall.SIGKILL {
		request = plan.Kill
	}
	b.control.Write([]byte{request}) // an error says that the tree is gone
}

// failure is the error that an init reports.
func failure(kind byte, text []byte) error {
	if kind == plan.Refused {
		return refusal("cannot %s", text)
	}
	return hansom.Errorf(hansom.Internal, opStart, "%w", errors.New(string(text)))
}

func closeAll(files []int) {
	for _, f := range files {
		unix.Close(f)
	}
}
