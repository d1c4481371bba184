package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
)

// box is a sandbox.
type box struct {
	driver    *Driver
	id        string
	uid       uint32
	group     cgroup.Group
	pid       int      // of the init; 0 before it was cloned
	pidfd     *os.File // of the init
	control   *net.UnixConn
	conn      *net.UnixConn
	output    *os.File
	extOutput *os.File // of Spec.Extend
	listeners map[int]net.Listener
	names     net.PacketConn // of UDP; that of TCP is a listener
	address   *network.Attachment
	serve     int      // Spec.Serve's port
	extend    []string // Spec.Extend
	gated     bool     // the command waits for Open
	forked    bool     // the command was forked from a zygote
	requests  requests
	over      chan struct{} // the command has ended, and overExit is how
	overExit  sandbox.Exit

	done     chan struct{} // the tree is gone
	released chan struct{} // and so is all that it held on the host
	exit     sandbox.Exit

	running atomic.Bool // started and not frozen
	turn    turn        // for keepTurns alone
	meter   meter

	mu    sync.Mutex
	ended bool          // usage is final
	usage sandbox.Usage // so far, where there is no cgroup to ask
}

// freezable is a box in a cgroup that has a freezer.
type freezable struct{ *box }

var (
	_ sandbox.Sandbox = (*box)(nil)
	_ sandbox.Dialer  = (*box)(nil)
	_ sandbox.Gate    = (*box)(nil)
	_ sandbox.Capper  = (*box)(nil)
	_ sandbox.Freezer = freezable{}
	_ sandbox.Blank   = (*box)(nil)
)

func newBox(d *Driver, spec sandbox.Spec) *box {
	b := &box{driver: d, id: spec.ID, listeners: map[int]net.Listener{}, extend: spec.Extend, gated: len(spec.Extend) > 0,
		over: make(chan struct{}), done: make(chan struct{}), released: make(chan struct{}), requests: requests{opened: make(chan error, 1)}}
	if spec.Serve != nil {
		b.serve = spec.Serve.Port
	}
	b.meter.owner = spec.Owner
	return b
}

// able is the box with the abilities that it has.
func (b *box) able() sandbox.Blank {
	if cgroup.CanFreeze(b.group) {
		return freezable{b}
	}
	return b
}

// start clones the init and waits until it has started the command. What it made remains when it fails; see abandon.
func (b *box) start(ctx context.Context, spec sandbox.Spec) error {
	d := b.driver
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.uids == nil {
		b.uid = userUID
	} else if uid, ok := d.uids.get(); ok {
		b.uid = uid
	} else {
		return hansom.Errorf(hansom.Unavailable, opStart, "all %d user ids of this server are in use", uidRange)
	}
	var err error
	if b.group, err = d.groups.Make(spec.ID, cgroup.Limits{Memory: spec.Memory, Processes: processes(spec)}); err != nil {
		return err
	}
	if err := b.clone(ctx, spec); err != nil {
		return err
	}
	message, err := d.plan(spec, b)
	if err != nil {
		return err
	}
	// Whatever the init is at, a signal ends it; then the control socket reads EOF.
	stop := context.AfterFunc(ctx, b.interrupt)
	// What loads code only when it is told to can boot meanwhile. What is forked has the zygote's network until its init is ready.
	connected := make(chan error, 1)
	switch {
	case !spec.Internet || b.forked:
		connected <- nil
	case spec.Frames && len(spec.Extend) == 0:
		go func() { connected <- b.Connect() }()
	default:
		err = b.Connect()
		connected <- nil
	}
	if err == nil {
		_, err = b.control.Write(message)
	}
	if err == nil {
		err = b.ready(spec)
	}
	// Not before: an init has threads of its own.
	if at, _ := d.surplus.placeOf(&b.meter); at != anywhere {
		d.surplus.apply(at, b.group.Threads()...)
	}
	e := <-connected
	if err == nil && spec.Internet && b.forked {
		e = b.Connect()
	}
	if err == nil && !errors.Is(e, sandbox.ErrClosed) { // a tree that has ended already was started
		err = e
	}
	if !stop() {
		return ctx.Err()
	}
	return err
}

const noFile = ^uintptr(0) // a descriptor that stays closed

var initEnv = []string{"GOMAXPROCS=2", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}

// clone starts the init with its descriptors; see plan.Control.
func (b *box) clone(ctx context.Context, spec sandbox.Spec) error {
	d := b.driver
	control, theirs, err := sandbox.Socketpair()
	if err != nil {
		return err
	}
	b.control = control
	defer theirs.Close()
	stdout, err := b.pipe(&b.output)
	if err != nil {
		return err
	}
	defer unix.Close(stdout)
	files := []uintptr{d.null.Fd(), uintptr(stdout), uintptr(stdout), theirs.Fd(), noFile, noFile, noFile, noFile}
	if len(spec.Extend) > 0 {
		stdout, err := b.pipe(&b.extOutput)
		if err != nil {
			return err
		}
		defer unix.Close(stdout)
		files[plan.Output] = uintptr(stdout)
	}
	if spec.Frames {
		conn, frames, err := sandbox.Socketpair()
		if err != nil {
			return err
		}
		b.conn = conn
		defer frames.Close()
		syscall.SetNonblock(int(frames.Fd()), true)
		files[plan.Frames] = frames.Fd()
	}
	for i, f := range b.group.FreezerFiles() {
		files[plan.FreezerTasks+i] = f.Fd()
	}
	if b.forked, err = b.fork(ctx, spec, files); b.forked || err != nil {
		return err
	}
	pidfd := -1
	sys := &syscall.SysProcAttr{
		Setsid: true, // a terminal's interrupt is for the server
		PidFD:  &pidfd,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWUTS,
	}
	if d.uids == nil {
		sys.Cloneflags |= syscall.CLONE_NEWUSER
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: userUID, HostID: os.Geteuid(), Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: userUID, HostID: os.Getegid(), Size: 1}}
		sys.AmbientCaps = d.caps
	}
	reply := make(chan spawned, 1)
	attr := &syscall.ProcAttr{Dir: "/", Env: initEnv, Files: files, Sys: sys}
	select {
	case d.spawns <- spawn{b.group, []string{"hansom-init", b.id}, attr, reply}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s := <-reply
	if s.err != nil {
		return fmt.Errorf("cannot start the init of a sandbox: %w", s.err)
	}
	b.pid = s.pid
	if pidfd < 0 {
		return errors.New("this kernel has no pidfd: Linux 5.4 is the oldest that works")
	}
	b.keep(pidfd)
	return nil
}

func (b *box) keep(pidfd int) {
	unix.SetNonblock(pidfd, true) // for the runtime's poller
	b.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
}

// pipe sets output to the read end of a pipe and returns the other one.
func (b *box) pipe(output **os.File) (stdout int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("pipe2", err)
	}
	unix.SetNonblock(pipe[0], true)
	*output = os.NewFile(uintptr(pipe[0]), "output")
	if b.driver.uids != nil { // so that a program can open /dev/stdout
		unix.Fchown(pipe[1], int(b.uid), int(b.uid))
	}
	return pipe[1], nil
}

// ready waits for the init's answer, which brings the listeners.
func (b *box) ready(spec sandbox.Spec) error {
	kind, body, files, err := b.receive()
	defer func() { closeAll(files) }()
	switch {
	case err != nil:
		return fmt.Errorf("the init of the sandbox ended before it was ready: %w", err)
	case kind == plan.Failed || kind == plan.Refused:
		return failure(kind, body)
	}
	var ports []int
	for _, l := range spec.Listen {
		ports = append(ports, l.Port)
	}
	want := len(ports)
	if spec.Names {
		ports = append(ports, namesPort)
		want += 2
	}
	if kind != plan.Ready || len(files) != want {
		return fmt.Errorf("the init of the sandbox answered %q with %d listeners", kind, len(files))
	}
	for _, port := range ports {
		f := os.NewFile(uintptr(files[0]), "listener")
		files = files[1:]
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		b.listeners[port] = ln
	}
	if spec.Names {
		f := os.NewFile(uintptr(files[0]), "names")
		files = nil
		b.names, err = net.FilePacketConn(f)
		f.Close()
	}
	return err
}

// maxAnswer is the largest answer of an init: a command that cannot be started is named in one.
const maxAnswer = 256 << 10

// receive reads one answer of the init. A function cannot reach this socket, and would gain nothing: what is read is bounded.
func (b *box) receive() (kind byte, body []byte, files []int, err error) {
	head := make([]byte, 5)
	rights := make([]byte, unix.CmsgSpace(4*64))
	n, rn, _, _, err := b.control.ReadMsgUnix(head, rights)
	if err != nil {
		return 0, nil, nil, err
	}
	if messages, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil {
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			files = append(files, fds...)
		}
	}
	if n == 0 {
		return 0, nil, files, net.ErrClosed
	}
	if err := readFull(b.control, head[n:]); err != nil {
		return 0, nil, files, err
	}
	size := plan.Uint32(head[1:])
	if size > maxAnswer {
		return 0, nil, files, fmt.Errorf("the init of the sandbox answered with %d bytes", size)
	}
	body = make([]byte, size)
	return head[0], body, files, readFull(b.control, body)
}

func readFull(c net.Conn, b []byte) error {
	for len(b) > 0 {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// interrupt kills the init, and with it the tree, frozen or not. It does not wait.
func (b *box) interrupt() {
	if b.pidfd != nil {
		if raw, err := b.pidfd.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
		}
	} else if b.pid != 0 {
		unix.Kill(b.pid, unix.SIGKILL)
	}
	if b.group != nil {
		b.group.Freeze(false)
	}
}

// wait waits for the end of the init: the kernel lets it end only when all other processes of its pid namespace have.
func (b *box) wait() (status syscall.WaitStatus) {
	var used syscall.Rusage
	reap := func(options int) bool {
		for {
			pid, err := syscall.Wait4(b.pid, &status, options, &used)
			if err != syscall.EINTR {
				return pid != 0 || err != nil
			}
		}
	}
	var raw syscall.RawConn
	var err error = os.ErrInvalid
	if b.pidfd != nil {
		raw, err = b.pidfd.SyscallConn()
	}
	if err == nil { // no thread waits
		err = raw.Read(func(uintptr) bool { return reap(syscall.WNOHANG) })
	}
	if err != nil {
		reap(0)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.CPU = max(b.usage.CPU, used.Utime.Nano()+used.Stime.Nano())
	b.usage.MemoryPeak = max(b.usage.MemoryPeak, used.Maxrss<<10)
	return status
}

// watch lives as long as the tree.
func (b *box) watch() {
	b.running.Store(true)
	defer b.running.Store(false)
	var reported *syscall.WaitStatus
	over := false
	for reported == nil {
		kind, body, files, err := b.receive()
		if err != nil {
			closeAll(files)
			break
		}
		b.requests.take(kind, body, files, b.control)
		if kind == plan.Exited && len(body) == 8 {
			status := syscall.WaitStatus(plan.Uint32(body))
			i := int(plan.Uint32(body[4:]))
			if i == 0 && len(b.extend) > 0 && !over {
				over = true
				b.commandEnded(status)
				continue
			}
			reported = &status
			if i > 0 && i <= len(b.extend) {
				b.exit.Extension = b.extend[i-1]
			}
		}
	}
	b.interrupt()
	status := b.wait()
	if reported != nil {
		status = *reported
	}
	b.end(status, over)
}

// commandEnded settles the exit of a command that programs of Spec.Extend outlive.
func (b *box) commandEnded(status syscall.WaitStatus) {
	b.overExit = exitOf(status)
	b.mu.Lock()
	_, b.overExit.OOM = b.group.Read()
	b.mu.Unlock()
	close(b.over)
}

func exitOf(status syscall.WaitStatus) sandbox.Exit {
	exit := sandbox.Exit{Code: status.ExitStatus()} // -1 after a signal
	if status.Signaled() {
		exit.Signal = int(status.Signal())
	}
	return exit
}

// end settles the exit, unless the command's own is, and the usage, and releases what the box held.
func (b *box) end(status syscall.WaitStatus, over bool) {
	extension := b.exit.Extension
	b.exit = exitOf(status)
	b.exit.Extension = extension
	b.mu.Lock()
	used, oom := b.group.Read()
	b.usage.CPU = max(b.usage.CPU, used.CPU)
	if used.MemoryPeak != 0 {
		b.usage.MemoryPeak = used.MemoryPeak
	}
	b.ended = true
	b.mu.Unlock()
	b.driver.surplus.count(&b.meter, used.CPU, turnPeriod)
	b.exit.OOM = oom
	if over {
		b.exit = b.overExit
	} else {
		b.overExit = b.exit
		close(b.over)
	}
	close(b.done)
	b.release()
}

// abandon undoes a start that failed.
func (b *box) abandon() {
	if b.pid != 0 {
		b.interrupt()
		b.wait()
	}
	for _, f := range []*os.File{b.output, b.extOutput} {
		if f != nil {
			f.Close()
		}
	}
	if b.conn != nil {
		b.conn.Close()
	}
	close(b.done)
	b.release()
}

// release gives back what the box held on the host. Its output stays readable, and what is left in its fd 3.
func (b *box) release() {
	for _, ln := range b.listeners {
		ln.Close()
	}
	if b.names != nil {
		b.names.Close()
	}
	if b.control != nil {
		b.control.Close()
	}
	if b.pidfd != nil {
		b.pidfd.Close()
	}
	if b.group != nil {
		if err := b.group.Remove(); err != nil {
			b.driver.log.Error("cannot remove the cgroup of a sandbox; the next start of the server will try again", "sandbox", b.id, "error", err)
		}
	}
	if b.driver.uids != nil && b.uid != 0 {
		b.driver.uids.put(b.uid)
	}
	b.disconnect()
	b.driver.forget(b.id)
	close(b.released)
}

// Conn implements sandbox.Sandbox.
func (b *box) Conn() *net.UnixConn { return b.conn }

// Listener implements sandbox.Sandbox.
func (b *box) Listener(port int) net.Listener {
	if ln, ok := b.listeners[port]; ok {
		return ln
	}
	return nil
}

// Output implements sandbox.Sandbox. The caller closes it.
func (b *box) Output() *os.File { return b.output }

func (b *box) ExtensionOutput() *os.File { return b.extOutput }

// Done implements sandbox.Sandbox.
func (b *box) Done() <-chan struct{} { return b.done }

// Exit implements sandbox.Sandbox.
func (b *box) Exit() sandbox.Exit {
	select {
	case <-b.over:
		return b.overExit
	default:
		return sandbox.Exit{}
	}
}

// Ended implements sandbox.Gate.
func (b *box) Ended() <-chan struct{} { return b.over }

// Usage implements sandbox.Sandbox.
func (b *box) Usage() sandbox.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return b.usage
	}
	if used, _ := b.group.Read(); used != (sandbox.Usage{}) {
		return used
	}
	used := treeUsage(b.pid)
	b.usage.CPU = max(b.usage.CPU, used.CPU)
	b.usage.MemoryPeak = max(b.usage.MemoryPeak, used.MemoryPeak)
	return b.usage
}

// Pid of the sandbox's init on the host, for tests.
func (b *box) Pid() int { return b.pid }

// Kill implements sandbox.Sandbox. It closes Conn too, but not Output, which may have unread output.
func (b *box) Kill() {
	select {
	case <-b.done:
	default:
		b.interrupt()
	}
	<-b.released
	if b.conn != nil {
		b.conn.Close()
	}
}

// Freeze implements sandbox.Freezer. The processes stop a moment later.
func (f freezable) Freeze() error {
	f.running.Store(false)
	return f.group.Freeze(true)
}

// Thaw implements sandbox.Freezer.
func (f freezable) Thaw() error {
	f.running.Store(true)
	return f.group.Freeze(false)
}

// Cap implements sandbox.Capper with Config.CPUQuota. Without that what the tree takes more is counted from now on; see surplus.
func (b *box) Cap(memory int64) error {
	b.driver.surplus.begin(&b.meter, memory, b.group.CPU())
	if !b.driver.cfg.CPUQuota {
		return nil
	}
	return b.group.Cap(memory)
}
