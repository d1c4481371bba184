package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Open sends the same request at a fixed rate (requests per second) over conns keep-alive connections for d; see open.
// It runs in one thread over ppoll: Go's own timers are accurate to a millisecond only, more than what is measured.
// Every answer must have the status 200. pids is as in Closed.
func Open(addr string, request []byte, conns int, rate float64, d time.Duration, pids func() []int) (Sample, error) {
	p, err := dialPoller(addr, request, conns)
	if err != nil {
		return Sample{}, err
	}
	defer p.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Without this the kernel wakes the thread up to 50 us late.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	// A client on another machine would not wait for a processor here. Without the right to it, it does.
	if unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0) == nil {
		defer func() {
			_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		}()
	}
	before := CPUTime(pids())
	s, err := open(p, conns, rate, d)
	s.CPU = CPUTime(pids()) - before
	return s, err
}

// poller is lanes over plain sockets.
type poller struct {
	request []byte
	sockets []int
	bufs    [][]byte
	polled  []unix.PollFd // of a lane without a request -1 in place of the socket
	done    []int
}

func dialPoller(addr string, request []byte, conns int) (*poller, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	p := &poller{request: request}
	for range conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			p.close()
			return nil, err
		}
		p.sockets = append(p.sockets, fd)
		p.bufs = append(p.bufs, make([]byte, 0, 16<<10))
		p.polled = append(p.polled, unix.PollFd{Fd: -1, Events: unix.POLLIN})
		if err := errors.Join(
			unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *poller) close() {
	for _, fd := range p.sockets {
		_ = unix.Close(fd)
	}
}

func (p *poller) send(lane int) error {
	p.bufs[lane] = p.bufs[lane][:0]
	p.polled[lane].Fd = int32(p.sockets[lane])
	n, err := unix.Write(p.sockets[lane], p.request)
	if err == nil && n < len(p.request) {
		err = fmt.Errorf("%d of %d bytes written", n, len(p.request))
	}
	return err
}

func (p *poller) wait(until time.Time) ([]int, error) {
	timeout := unix.NsecToTimespec(int64(max(time.Until(until), 0)))
	n, err := unix.Ppoll(p.polled, &timeout, nil)
	if err != nil && err != unix.EINTR {
		return nil, err
	}
	p.done = p.done[:0]
	for lane := 0; lane < len(p.polled) && n > 0; lane++ {
		if p.polled[lane].Revents == 0 {
			continue
		}
		n--
		complete, err := p.read(lane)
		if err != nil {
			return nil, err
		}
		if complete {
			p.polled[lane].Fd = -1
			p.done = append(p.done, lane)
		}
	}
	if len(p.done) == 0 && time.Now().Before(until) {
		return p.wait(until)
	}
	return p.done, nil
}

// read reads what has come, and says whether the answer is complete.
func (p *poller) read(lane int) (bool, error) {
	buf := p.bufs[lane]
	if len(buf) == cap(buf) {
		buf = slices.Grow(buf, len(buf))
	}
	n, err := unix.Read(p.sockets[lane], buf[len(buf):cap(buf)])
	if err == nil && n == 0 {
		err = fmt.Errorf("connection closed by the server")
	}
	if err != nil {
		return false, err
	}
	p.bufs[lane] = buf[:len(buf)+n]
	size, err := answerSize(p.bufs[lane])
	return size > 0, err
}
