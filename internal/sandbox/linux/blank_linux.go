package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
)

var _ sandbox.Preparer = (*Driver)(nil)

// Prepare implements sandbox.Preparer.
func (d *Driver) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Blank, error) {
	if err := check(spec); err != nil {
		return nil, err
	}
	if d.binder == nil {
		return nil, hansom.Errorf(hansom.Unsupported, opStart, "blanks need root and Linux 5.12: functions start without them")
	}
	if spec.Boot == nil {
		return nil, refusal("the command cannot boot before its function is known")
	}
	for _, target := range spec.Boot.Late {
		if !d.root.dirs[strings.TrimPrefix(target, "/")] {
			return nil, refusal("nothing can be bound at %s later: not every sandbox has it", target)
		}
	}
	spec.Binds = slices.DeleteFunc(slices.Clone(spec.Binds), spec.Boot.IsLate)
	spec.Env = spec.Boot.Env
	b, err := d.launch(ctx, spec)
	if err != nil {
		return nil, err
	}
	// Not earlier: under cgroups version 1 the thread that clones inits is in the group for a moment.
	if err := b.group.Set(cgroup.Limits{Memory: spec.Memory, Idle: true}); err != nil {
		b.Kill()
		b.output.Close()
		return nil, hansom.Errorf(hansom.Internal, opStart, "%w", err)
	}
	return b.able(), nil
}

// Bind implements sandbox.Blank.
func (b *box) Bind(ctx context.Context, spec sandbox.Spec) error {
	err := b.bind(ctx, spec)
	if err == nil {
		return nil
	}
	select {
	case <-b.done:
		return sandbox.ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *hansom.Error
	if errors.As(err, &e) {
		return err
	}
	return hansom.Errorf(hansom.Internal, "bind sandbox", "%w", err)
}

func (b *box) bind(ctx context.Context, spec sandbox.Spec) error {
	j := job{pidfd: b.pidfd, tmp: tmpSize(spec)}
	defer j.close()
	for _, bind := range spec.Binds {
		if !spec.Boot.IsLate(bind) {
			continue
		}
		if err := j.add(bind); err != nil {
			return err
		}
	}
	if err := b.group.Set(cgroup.Limits{Memory: spec.Memory}); err != nil {
		return err
	}
	b.driver.surplus.adopt(&b.meter, spec.Owner)
	b.keepPlace(false)
	return b.driver.binder.do(ctx, &j)
}

// A job is what is done in the mount namespace of a sandbox.
type job struct {
	pidfd   *os.File // of its init
	trees   []int    // mounts that are nowhere yet
	targets []string
	tmp     string // options of /tmp
}

func (j *job) close() { closeAll(j.trees) }

// add makes the mount of a bind: read-only from the start, and with no tie to the host's.
func (j *job) add(bind sandbox.Bind) error {
	tree, err := openTree(bind.Source)
	if err != nil {
		return refusal("cannot bind %s at %s: %w", bind.Source, bind.Target, err)
	}
	j.trees, j.targets = append(j.trees, tree), append(j.targets, bind.Target)
	return nil
}

func openTree(source string) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(tree)
		return -1, os.NewSyscallError("mount_setattr", err)
	}
	return tree, nil
}

// enter and leave run on a thread of their own that shares its root and working directory with no other.
func (j *job) enter() error {
	raw, err := j.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNS) })
	return errors.Join(failed, os.NewSyscallError("setns", err))
}

func (j *job) run() error {
	if err := j.enter(); err != nil {
		return err
	}
	for i, tree := range j.trees {
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, j.targets[i], unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("cannot mount at %s: %w", j.targets[i], err)
		}
	}
	return os.NewSyscallError("limit /tmp", unix.Mount("", "/tmp", "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, j.tmp))
}

// binder is a thread that visits the mount namespaces of sandboxes.
type binder struct {
	home int // mount namespace of the server
	jobs chan *task
	quit chan struct{}
	idle chan struct{} // closed when the thread has ended
}

type task struct {
	*job
	done chan error
}

// newBinder returns nil where the kernel or a right is missing.
func newBinder() *binder {
	tree, err := openTree("/")
	if err != nil {
		return nil
	}
	unix.Close(tree)
	home, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	b := &binder{home: home, jobs: make(chan *task), quit: make(chan struct{}), idle: make(chan struct{})}
	go b.serve()
	return b
}

func (b *binder) serve() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	separate := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS))
	for {
		select {
		case t := <-b.jobs:
			if separate != nil {
				t.done <- separate
				continue
			}
			err := t.run()
			if home := unix.Setns(b.home, unix.CLONE_NEWNS); home != nil {
				t.done <- errors.Join(err, os.NewSyscallError("setns", home))
				go b.serve() // on a thread that is where it belongs
				return
			}
			t.done <- err
		case <-b.quit:
			unix.Close(b.home)
			close(b.idle)
			return
		}
	}
}

func (b *binder) do(ctx context.Context, j *job) error {
	t := &task{j, make(chan error, 1)}
	select {
	case b.jobs <- t:
		return <-t.done
	case <-b.quit:
		return sandbox.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close waits for the thread.
func (b *binder) close() {
	close(b.quit)
	<-b.idle
}
