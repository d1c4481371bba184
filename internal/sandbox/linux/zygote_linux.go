package linux

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/zygote"
)

// fork has a zygote clone the init with files, which are those of clone, and its command. It returns false when there is none that
// could: the init must be started then, and will start the command. Programs of Spec.Extend start before the command does, and
// would see one that still has rights. One that does not wait to be told would start before it is connected.
func (b *box) fork(ctx context.Context, spec sandbox.Spec, files []uintptr) (bool, error) {
	d := b.driver
	if spec.Fork == nil || d.zygotes == nil || len(spec.Extend) > 0 || spec.Internet && !spec.Frames {
		return false, nil
	}
	dir, tasks, err := b.group.Entries()
	if err != nil {
		return false, err
	}
	defer closeAll(tasks)
	var flags byte
	list := make([]int, 0, zygote.MaxFiles)
	for _, f := range []struct {
		fd   uintptr
		flag byte
	}{{files[plan.Control], 0}, {files[plan.Frames], zygote.Frames}, {files[plan.FreezerTasks], zygote.Freezer}, {files[plan.FreezerState], 0}, {files[1], 0}, {d.null.Fd(), 0}} {
		if f.fd == noFile {
			f.fd, f.flag = d.null.Fd(), 0
		}
		list = append(list, int(f.fd))
		flags |= f.flag
	}
	if dir >= 0 {
		defer unix.Close(dir)
		flags |= zygote.Group
		list = append(list, dir)
	}
	pid, err := d.zygotes.Fork(ctx, spec.Fork, flags, b.id, append(list, tasks...))
	if pid == 0 || err != nil {
		return err != nil, err
	}
	b.pid = pid // a child of this server, which nobody else waits for: the number is its own
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true, os.NewSyscallError("pidfd_open", err)
	}
	b.keep(pidfd)
	return true, nil
}

// startZygote starts a zygote and waits until it is ready.
func (d *Driver) startZygote(f *sandbox.Fork) (z *zygote.Process, err error) {
	b := newBox(d, sandbox.Spec{ID: fmt.Sprintf("zygote-%d", d.born.Add(1))}) // no id of a sandbox has a hyphen
	conn, err := b.cloneZygote()
	stop := func() {
		if conn != nil {
			conn.Close()
		}
		b.endZygote()
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	spec := sandbox.Spec{Binds: f.Binds, Memory: cgroup.CPUMemory}
	steps, err := d.root.own(spec, 0)
	if err != nil {
		return nil, err
	}
	// The dynamic linker remembers which of the directories in LD_LIBRARY_PATH are not there.
	for _, dir := range []string{"var/task/lib", "opt/lib"} {
		steps = append(steps, plan.Step{Op: plan.Dir, Path: dir, Mode: 0o755})
	}
	p := plan.Plan{Root: d.lease.dir + "/root", Hostname: hostname, Steps: steps, Dir: "/", Command: f.Command, Env: f.Env, Zygote: true}
	if _, err := b.control.Write(p.Append(nil, d.root.steps)); err != nil {
		return nil, err
	}
	b.control.SetReadDeadline(time.Now().Add(patience))
	kind, body, files, err := b.receive() // the end, when the init has become the zygote
	closeAll(files)
	if err == nil {
		return nil, failure(kind, body)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return zygote.NewProcess(conn, stop)
}

// patience is how long the init of a zygote may take.
const patience = 10 * time.Second

// cloneZygote starts the init that becomes a zygote, in a group of its own. What was made remains when it fails; see endZygote.
func (b *box) cloneZygote() (conn *net.UnixConn, err error) {
	d := b.driver
	if b.group, err = d.groups.Make(b.id, cgroup.Limits{Memory: cgroup.CPUMemory, Processes: 1024}); err != nil {
		return nil, err
	}
	control, theirs, err := sandbox.Socketpair()
	if err != nil {
		return nil, err
	}
	b.control = control
	defer theirs.Close()
	log, err := b.pipe(&b.output)
	if err != nil {
		return nil, err
	}
	defer unix.Close(log)
	conn, requests, err := zygote.Socketpair()
	if err != nil {
		return nil, err
	}
	defer requests.Close()
	files := []uintptr{d.null.Fd(), uintptr(log), uintptr(log), theirs.Fd(), requests.Fd(), d.host.Fd(), d.init.Fd()}
	sys := &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	reply := make(chan spawned, 1)
	d.spawns <- spawn{b.group, []string{"hansom-init", b.id}, &syscall.ProcAttr{Dir: "/", Env: initEnv, Files: files, Sys: sys}, reply}
	s := <-reply
	if s.err != nil {
		return conn, fmt.Errorf("cannot start the init of a zygote: %w", s.err)
	}
	b.pid = s.pid
	go func() {
		for in := bufio.NewScanner(b.output); in.Scan(); {
			d.log.Warn("a zygote says", "zygote", b.id, "message", in.Text())
		}
		b.output.Close()
		close(b.over)
	}()
	return conn, nil
}

// endZygote ends a zygote. It waits for what that has cloned and could not tell the server about: inits that know what they are to
// do are in sessions of their own, and the others end because nobody tells them.
func (b *box) endZygote() {
	if b.control != nil {
		b.control.Close()
	}
	if b.pid != 0 {
		unix.Kill(b.pid, unix.SIGKILL)
		b.wait()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			pid, err := syscall.Wait4(-b.pid, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				break
			}
			if pid == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		<-b.over
	} else if b.output != nil {
		b.output.Close()
	}
	if b.group != nil {
		if err := b.group.Remove(); err != nil {
			b.driver.log.Error("cannot remove the cgroup of a zygote; the next start of the server will try again", "zygote", b.id, "error", err)
		}
	}
}
