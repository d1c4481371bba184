//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func read(path string) error {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 0 {
		return fmt.Errorf("empty")
	}
	return err
}

func write(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err
}

func create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		f.Close()
		os.Remove(path)
	}
	return err
}

// through makes a name below /tmp and reads what it leads to.
func through(target string, link func(old, new string) error) error {
	dir, err := os.MkdirTemp("", "through")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := link(target, dir+"/link"); err != nil {
		return err
	}
	return read(dir + "/link")
}

// self is a file of code that all instances of the version share.
func self() string {
	path, _ := os.Executable()
	return path
}

func init() {
	try(map[string]func(e *event) error{
		"read a file of the host":                        func(e *event) error { return read(e.Secret) },
		"read it below the root of process 1":            func(e *event) error { return read(e.init("root") + e.Secret) },
		"read it below the working directory of init":    func(e *event) error { return read(e.init("cwd") + "/" + e.Secret) },
		"read it below its own root":                     func(e *event) error { return read("/proc/self/root/../../../.." + e.Secret) },
		"read it through many parents":                   func(e *event) error { return read(strings.Repeat("../", 40) + e.Secret) },
		"read it through a symbolic link":                func(e *event) error { return through(e.Secret, os.Symlink) },
		"read it through a hard link":                    func(e *event) error { return through(e.Secret, os.Link) },
		"list the data directory":                        func(e *event) error { _, err := os.ReadDir(e.Data); return err },
		"read the master key":                            func(e *event) error { return read(e.Data + "/key") },
		"read the host's shadow file":                    func(e *event) error { return read("/etc/shadow") },
		"list the host's home directories":               func(e *event) error { _, err := os.ReadDir("/home"); return err },
		"list /root":                                     func(e *event) error { _, err := os.ReadDir("/root"); return err },
		"list /sys":                                      func(e *event) error { _, err := os.ReadDir("/sys"); return err },
		"list /run":                                      func(e *event) error { _, err := os.ReadDir("/run"); return err },
		"open the memory of the machine":                 func(e *event) error { return read("/dev/mem") },
		"open the kernel's log":                          func(e *event) error { _, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0); return err },
		"open a terminal":                                func(e *event) error { _, err := os.Open("/dev/ptmx"); return err },
		"open /dev/fuse":                                 func(e *event) error { _, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); return err },
		"read the kernel's memory":                       func(e *event) error { return read("/proc/kcore") },
		"read the kernel's command line":                 func(e *event) error { return read("/proc/cmdline") },
		"write to /dev/null's mode":                      func(e *event) error { return os.Chmod("/dev/null", 0) },
		"make a device":                                  func(e *event) error { return makeDevice(e) },
		"make a file in the root":                        func(e *event) error { return create("/new") },
		"make a file in /usr":                            func(e *event) error { return create("/usr/new") },
		"make a file in /etc":                            func(e *event) error { return create("/etc/new") },
		"make a file in /dev":                            func(e *event) error { return create("/dev/new") },
		"make a file in /dev/shm":                        func(e *event) error { return create("/dev/shm/new") },
		"write to the code":                              func(e *event) error { return write(self()) },
		"make a file in the code":                        func(e *event) error { return create(filepath.Dir(self()) + "/new") },
		"remove the code":                                func(e *event) error { return unix.Access(filepath.Dir(self()), unix.W_OK) },
		"change the mode of the code":                    func(e *event) error { return os.Chmod(self(), 0o755) },
		"change the times of the code":                   func(e *event) error { return unix.Utimes(self(), nil) },
		"set an attribute of the code":                   func(e *event) error { return unix.Setxattr(self(), "user.x", []byte("x"), 0) },
		"make a hard link to the code":                   func(e *event) error { return os.Link(self(), "/tmp/hard") },
		"write to the code through /proc/self/exe":       func(e *event) error { return write("/proc/self/exe") },
		"write to the code through /proc/self/fd":        writeThroughFD,
		"write to the code through /proc/self/map_files": writeThroughMap,
		"map the code writable":                          mapWritable,
		"write to the code through /proc/self/mem":       writeThroughMem,
		"make a file in /opt":                            func(e *event) error { return create("/opt/new") },
		"make a file in /var/runtime":                    func(e *event) error { return create("/var/runtime/new") },
		"write to the init's program":                    func(e *event) error { return write(e.init("exe")) },
		"read the init's program":                        func(e *event) error { return read(e.init("exe")) },
		"set a kernel parameter":                         func(e *event) error { return write("/proc/sys/kernel/core_pattern") },
		"set a parameter of the network":                 func(e *event) error { return write("/proc/sys/net/ipv4/ip_forward") },
		"press a magic key":                              func(e *event) error { return write("/proc/sysrq-trigger") },
		"become harder to kill for want of memory":       func(e *event) error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0) },
		"write a map of users":                           func(e *event) error { return os.WriteFile("/proc/self/uid_map", []byte("0 0 1"), 0) },
		"watch what others open":                         watchOpens,
		"be told by dnotify what others open":            dnotify,
		"lease a file of the host":                       lease,
		"run a setuid program":                           setuidProgram,
	})
	attempts["inherit descriptors"] = descriptors
	attempts["find mounts that can be written"] = writableMounts
	attempts["read the environment of others"] = environments
	attempts["see the host in /proc/net"] = procNet
}

func makeDevice(*event) error {
	path := "/tmp/null-" + fmt.Sprint(os.Getpid())
	defer os.Remove(path)
	return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
}

// writeThroughFD opens the code for reading and then its descriptor for writing.
func writeThroughFD(*event) error {
	f, err := os.Open(shared())
	if err != nil {
		return err
	}
	defer f.Close()
	return write(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// shared is a file of the code that does not run, so that ETXTBSY does not hide what else there is.
func shared() string {
	path := filepath.Dir(self()) + "/shared"
	if _, err := os.Stat(path); err != nil {
		path = "/tmp/escape-shared"
		os.WriteFile(path, []byte("shared"), 0o644)
	}
	return path
}

func writeThroughMap(*event) error {
	f, err := os.Open(shared())
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	files, err := filepath.Glob("/proc/self/map_files/*")
	if err != nil {
		return err
	}
	for _, name := range files {
		if target, _ := os.Readlink(name); strings.HasSuffix(target, "shared") {
			return write(name)
		}
	}
	return fmt.Errorf("not found")
}

func mapWritable(*event) error {
	f, err := os.Open(shared())
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		unix.Munmap(m)
	}
	return err
}

// writeThroughMem writes over a shared mapping of the code, which the kernel lets a process do to its own memory: to a copy of it.
func writeThroughMem(*event) error {
	f, err := os.Open(shared())
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if _, err := mem.WriteAt([]byte("ESCAPE"), int64(address(m))); err != nil {
		return err
	}
	now, err := os.ReadFile(shared())
	if err == nil && !bytes.HasPrefix(now, []byte("ESCAPE")) {
		return fmt.Errorf("a copy")
	}
	return err
}

// watchOpens asks to be told when anybody opens a program of the host.
func watchOpens(*event) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, "/usr/bin", unix.IN_OPEN|unix.IN_ACCESS)
	return err
}

func dnotify(*event) error {
	fd, err := unix.Open("/usr/bin", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_NOTIFY, 1 /* DN_ACCESS */)
	return err
}

func lease(*event) error {
	f, err := os.Open("/usr/bin/env")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return err
}

// setuidProgram runs a copy of this program that belongs to root and is setuid, beside the code or named by ESCAPE_SETUID.
func setuidProgram(*event) error {
	path := filepath.Dir(self()) + "/setuid"
	out, err := exec.Command(path, "whoami").Output()
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out)) != "0" {
		return fmt.Errorf("not root")
	}
	return nil
}

// descriptors lists the open files that this program has not opened itself.
func descriptors(*event) answer {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return result(err)
	}
	var found []string
	for _, n := range names {
		target, _ := os.Readlink("/proc/self/fd/" + n.Name())
		switch {
		case strings.HasPrefix(target, "anon_inode:"), strings.HasPrefix(target, "socket:"), strings.HasPrefix(target, "pipe:"):
			var fd int
			fmt.Sscan(n.Name(), &fd)
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC == 0 && fd > 2 { // this program's own close on exec
				found = append(found, n.Name()+" "+target)
			}
		case target == "/dev/null", strings.HasPrefix(target, "/proc/"), strings.HasSuffix(target, "(deleted)"), target == "":
		default:
			found = append(found, n.Name()+" "+target)
		}
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, ", ")}
	}
	return answer{Result: "none"}
}

// writableMounts tries to write to each mount that is there, and looks for ones that allow setuid programs or devices.
func writableMounts(*event) answer {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return result(err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		options := "," + f[5] + ","
		switch at := f[4]; {
		case at == "/tmp":
		case strings.HasPrefix(at, "/dev/") || at == "/" || strings.HasPrefix(at, "/proc/"):
			if unix.Access(at, unix.W_OK) == nil && at != "/dev/null" && at != "/dev/zero" && at != "/dev/full" && at != "/dev/random" && at != "/dev/urandom" &&
				!strings.HasPrefix(at, "/proc/") {
				found = append(found, at)
			}
		case unix.Access(at, unix.W_OK) == nil:
			found = append(found, at)
		case !strings.Contains(options, ",nosuid,") || !strings.Contains(options, ",nodev,") || !strings.Contains(options, ",ro,"):
			found = append(found, at+options)
		}
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, " ")}
	}
	return answer{Result: "none"}
}

// environments reads those of all processes but this one, for what only a server or another function has.
func environments(*event) answer {
	names, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []string
	for _, n := range names {
		if n == fmt.Sprintf("/proc/%d/environ", os.Getpid()) {
			continue
		}
		if b, err := os.ReadFile(n); err == nil && len(b) > 0 {
			found = append(found, n)
		}
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, " ")}
	}
	return answer{Result: "none"}
}

// procNet looks for the host's listeners, interfaces and sockets.
func procNet(e *event) answer {
	var found []string
	for _, port := range ports(e.TCP) {
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			b, _ := os.ReadFile(table)
			if strings.Contains(string(b), fmt.Sprintf(":%04X ", port)) {
				found = append(found, fmt.Sprint(table, " ", port))
			}
		}
	}
	b, _ := os.ReadFile("/proc/net/unix")
	if strings.Contains(string(b), e.Abstract) {
		found = append(found, "/proc/net/unix")
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, ", ")}
	}
	return answer{Result: "none"}
}
