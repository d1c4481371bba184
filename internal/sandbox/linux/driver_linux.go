package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/zygote"
)

const (
	opOpen  = "open sandboxes"
	opStart = "start sandbox"
)

// userUID is the user id inside a user namespace, where there is only one.
const userUID = 1000

// minMemory is the least that a Spec may ask for: the kernel's own needs and the init's.
const minMemory = 16 << 20

// Driver makes sandboxes of namespaces.
type Driver struct {
	cfg     Config
	log     *slog.Logger
	lease   *lease
	groups  cgroup.Groups
	uids    *uids // nil in a user namespace
	root    *root
	filter  []byte
	caps    []uintptr // what an init in a user namespace starts with
	nproc   bool      // no cgroup limits processes, but RLIMIT_NPROC can: the sandbox's uid is its own
	init    *os.File  // the init program
	null    *os.File
	spawns  chan spawn
	idle    chan struct{} // closed when the spawning thread has ended
	turned  chan struct{} // closed when keepTurns has
	binder  *binder       // nil where nothing can be bound into a sandbox that runs
	turns   turnstile     // of starts
	surplus *surplus

	net     *network.Network
	offline error // why there is no net

	zygotes *zygote.Keeper // nil when every command is started
	host    *os.File       // the mount namespace of this process, for zygotes
	born    atomic.Int64   // zygotes so far

	mu     sync.Mutex
	closed bool
	starts sync.WaitGroup // Starts under way
	living map[string]*box
}

var _ sandbox.Driver = (*Driver)(nil)

// New opens the driver: it removes what dead servers left behind, takes an id and a range of user ids and tries a sandbox. An
// error of kind Unavailable says what this host or this user lacks.
func New(cfg Config, log *slog.Logger) (*Driver, error) {
	d := &Driver{cfg: cfg, log: log, living: map[string]*box{}, spawns: make(chan spawn), turns: newTurnstile(), surplus: newSurplus(), idle: make(chan struct{}), turned: make(chan struct{})}
	go d.spawner()
	go d.keepTurns()
	err := d.open()
	if err == nil {
		err = d.try()
	}
	if err != nil {
		d.Close()
		return nil, hansom.Errorf(hansom.Unavailable, opOpen, "cannot make sandboxes on this host: %w", err)
	}
	return d, nil
}

func (d *Driver) open() (err error) {
	if d.lease, err = acquire(d.cfg.RunDir, d.log); err != nil {
		return err
	}
	user := os.Geteuid() != 0
	if user {
		if d.caps, err = allCapabilities(); err != nil {
			return err
		}
	} else if d.uids, err = acquireUIDs(d.cfg.RunDir, d.lease.id); err != nil {
		return err
	}
	if d.groups, err = cgroup.Open(d.lease.id, d.lease.noteCgroup); err != nil {
		return err
	}
	d.nproc = !cgroup.LimitsProcesses(d.groups) && (!user || countsPerNamespace())
	if d.root, err = newRoot(user); err != nil {
		return err
	}
	d.openNetwork()
	d.filter = filterProgram()
	if d.init, err = memoryFile("hansom-init", initProgram); err != nil {
		return err
	}
	if d.null, err = openAbove(d.init.Fd(), os.DevNull); err != nil {
		return err
	}
	if user {
		return nil
	}
	d.binder = newBinder()
	if !d.cfg.Boot {
		if d.host, err = os.Open("/proc/thread-self/ns/mnt"); err == nil {
			d.zygotes = zygote.NewKeeper(zygote.DefaultConfig(), d.log, d.startZygote)
		}
	}
	return nil
}

// openAbove opens a file with a descriptor above another one, which is safe then from whoever is cloned with the file among its own:
// ForkExec moves descriptors that are in its way to right above the highest of those.
func openAbove(other uintptr, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, int(other)+1)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// memoryFile makes an executable file that nobody can change any more.
func memoryFile(name string, contents []byte) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 all of them were executable
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err == nil {
		// Whoever is cloned to run it puts its own descriptors at the low numbers first.
		low := fd
		fd, err = unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, 64)
		unix.Close(low)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(contents); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		f.Close()
		return nil, os.NewSyscallError("seal", err)
	}
	return f, nil
}

func allCapabilities() ([]uintptr, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return nil, err
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, err
	}
	caps := make([]uintptr, last+1)
	for i := range caps {
		caps[i] = uintptr(i)
	}
	return caps, nil
}

// try makes a sandbox without a command.
func (d *Driver) try() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b, err := d.start(ctx, sandbox.Spec{ID: "probe", Memory: 64 << 20, Tmp: 1 << 20})
	if err != nil {
		if d.uids == nil && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)) {
			return fmt.Errorf("%w: this user may not make user namespaces (see sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns); run as root, or allow it", err)
		}
		return err
	}
	b.Kill()
	return b.Output().Close()
}

// Name implements sandbox.Driver.
func (d *Driver) Name() string { return "linux" }

// countsPerNamespace reports whether RLIMIT_NPROC counts the processes of a user namespace apart, as it does since Linux 5.14.
// Before, the user's other processes would count too.
func countsPerNamespace() bool {
	var name unix.Utsname
	var major, minor int
	if unix.Uname(&name) != nil {
		return false
	}
	fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return major > 5 || major == 5 && minor >= 14
}

// spawn asks the spawning thread for the clone of an init.
type spawn struct {
	group cgroup.Group
	argv  []string
	attr  *syscall.ProcAttr
	reply chan<- spawned
}

type spawned struct {
	pid int
	err error
}

// initSlack is the slack of an init's timers in nanoseconds; see its main. The init takes it back.
const initSlack = 1_000_000

// spawner clones the inits on one thread, which lives as long as the driver: an init is told to die with the thread that cloned
// it (PR_SET_PDEATHSIG), and under cgroups version 1 that thread enters the sandbox's groups for a moment.
func (d *Driver) spawner() {
	defer close(d.idle)
	runtime.LockOSThread() // for good: the thread ends with its goroutine
	unix.Prctl(unix.PR_SET_TIMERSLACK, initSlack, 0, 0, 0)
	for s := range d.spawns {
		leave, err := s.group.Enter(s.attr.Sys)
		if err != nil {
			s.reply <- spawned{err: err}
			continue
		}
		pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", d.init.Fd()), s.argv, s.attr)
		s.reply <- spawned{pid, err}
		if err := leave(); err != nil {
			d.log.Error("a thread of the server is stuck in a sandbox's cgroup, which cannot be removed", "error", err)
		}
	}
}

// Start implements sandbox.Driver. Errors: Invalid (the spec), Unavailable (closed, or no user id left), Conflict (the id lives),
// ctx's own, and Internal.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := check(spec); err != nil {
		return nil, err
	}
	leave, err := d.turns.pass(ctx)
	if err != nil {
		return nil, err
	}
	b, err := d.launch(ctx, spec)
	if err != nil {
		leave()
		return nil, err
	}
	b.leaveWhenBooted(spec, leave)
	return b.able(), nil
}

// check refuses what no sandbox can be made of. Errors are of kind Invalid.
func check(spec sandbox.Spec) error {
	switch {
	case len(spec.Command) == 0 || !strings.HasPrefix(spec.Command[0], "/"):
		return refusal("the command %q is not an absolute path", spec.Command)
	case spec.ID == "" || len(spec.ID) > 20 || strings.Trim(spec.ID, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return refusal("sandbox id %q is not of 1 to 20 lower-case letters and digits", spec.ID)
	case spec.Memory < minMemory:
		return refusal("a sandbox needs at least %d MB of memory, not %d bytes", minMemory>>20, spec.Memory)
	}
	for _, path := range spec.Extend {
		if !strings.HasPrefix(path, "/") {
			return refusal("the program %q is not an absolute path", path)
		}
	}
	return nil
}

// launch is start with the errors of Start.
func (d *Driver) launch(ctx context.Context, spec sandbox.Spec) (*box, error) {
	if spec.Internet && d.net == nil {
		return nil, d.noInternet()
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	b, err := d.start(limited, spec)
	if err != nil {
		var e *hansom.Error
		switch {
		case ctx.Err() != nil || errors.As(err, &e):
			return nil, err
		case limited.Err() != nil:
			return nil, hansom.Errorf(hansom.Unavailable, opStart, "no sandbox could be made within %s: the host has more to do than it can", startLimit)
		}
		return nil, hansom.Errorf(hansom.Internal, opStart, "%w", err)
	}
	return b, nil
}

func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (*box, error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, hansom.Errorf(hansom.Unavailable, opStart, "the linux driver is closed")
	}
	if d.living[spec.ID] != nil {
		d.mu.Unlock()
		return nil, hansom.Errorf(hansom.Conflict, opStart, "there is a sandbox %s already", spec.ID)
	}
	b := newBox(d, spec)
	d.living[spec.ID] = b
	d.starts.Add(1)
	d.mu.Unlock()
	defer d.starts.Done()
	if err := b.start(ctx, spec); err != nil {
		b.abandon()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if b.forked && hansom.KindOf(err) != hansom.Invalid {
			d.log.Warn("a command could not be forked; it is started instead", "command", spec.Command, "error", err)
			spec.Fork = nil
			return d.start(ctx, spec)
		}
		return nil, err
	}
	go b.watch()
	return b, nil
}

// processes that a Spec allows.
func processes(spec sandbox.Spec) int {
	if spec.Processes == 0 {
		return 512
	}
	return spec.Processes
}

func (d *Driver) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.living, id)
}

// plan is what the init of a sandbox is told, encoded.
func (d *Driver) plan(spec sandbox.Spec, b *box) ([]byte, error) {
	steps, err := d.root.own(spec, b.uid)
	if err != nil {
		return nil, err
	}
	p := plan.Plan{
		Root: d.lease.dir + "/root", Hostname: hostname, Steps: steps, User: d.uids == nil, UID: b.uid, Filter: d.filter,
		Files: uint32(d.cfg.Files), Frames: spec.Frames, Freezer: b.group.FreezerFiles() != nil, Forked: b.forked, Dir: spec.Dir, Command: spec.Command,
		Extend: spec.Extend, Env: spec.Env,
	}
	if d.nproc {
		p.Processes = uint32(processes(spec) + cgroup.InitTasks)
	}
	for _, l := range spec.Listen {
		p.Listen = append(p.Listen, uint32(l.Port))
		for _, name := range l.Env {
			p.Env = append(p.Env, name+"="+fmt.Sprintf(l.Format, "127.0.0.1:"+strconv.Itoa(l.Port)))
		}
	}
	if spec.Names {
		p.Listen = append(p.Listen, namesPort, namesPort|plan.Datagrams)
	}
	if spec.Serve != nil {
		p.Env = append(p.Env, spec.Serve.Env+"="+strconv.Itoa(spec.Serve.Port))
	}
	for _, s := range slices.Concat([]string{spec.Dir}, spec.Command, spec.Extend, p.Env) {
		if strings.ContainsRune(s, 0) {
			return nil, refusal("the command and its environment cannot contain a NUL byte")
		}
	}
	message := p.Append(make([]byte, 0, 16<<10), d.root.steps)
	if len(message) > plan.MaxPlan {
		return nil, refusal("the command and its environment are too large")
	}
	return message, nil
}

// Close implements sandbox.Driver. It may be called more than once.
func (d *Driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.starts.Wait()
	d.mu.Lock()
	all := make([]*box, 0, len(d.living))
	for _, b := range d.living {
		all = append(all, b)
	}
	d.mu.Unlock()
	for _, b := range all {
		b.interrupt()
	}
	for _, b := range all {
		b.Kill()
	}
	if d.zygotes != nil {
		d.zygotes.Close()
	}
	close(d.spawns)
	<-d.idle
	<-d.turned
	if d.binder != nil {
		d.binder.close()
	}
	if d.net != nil {
		d.net.Close()
	}
	for _, f := range []*os.File{d.init, d.null, d.host} {
		if f != nil {
			f.Close()
		}
	}
	if d.groups != nil {
		d.groups.Close()
	}
	if d.uids != nil {
		d.uids.release()
	}
	if d.lease != nil {
		return d.lease.release()
	}
	return nil
}
