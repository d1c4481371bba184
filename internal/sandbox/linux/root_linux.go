package linux

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

const (
	hostname = "sandbox"
	userName = "sandbox"
)

// rootFiles are small files of every sandbox. Without Spec.Names nothing answers at the name server's address, so that a look-up
// fails at once.
var rootFiles = []struct{ path, contents string }{
	{"etc/hosts", "127.0.0.1 localhost " + hostname + " " + hostname + ".localdomain\n::1 localhost\n"},
	{"etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n"},
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
}

// hostPaths of the host's /etc that programs need: where libraries are, which of several programs a name means, and which
// certificate authorities to trust.
var hostPaths = []string{
	"etc/ld.so.cache", "etc/alternatives",
	"etc/ssl/certs", "etc/pki/tls/certs", "etc/pki/ca-trust/extracted", "etc/ca-certificates/extracted",
}

// systemPaths are the host's programs and libraries.
var systemPaths = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// maskedProc are files and directories below /proc that tell about the host's hardware, keys and start-up. Those that the sandbox's
// user could not read anyway are left alone. All of /proc is read-only.
var maskedProc = []string{
	"acpi", "asound", "scsi", "cmdline", "interrupts", "kcore", "key-users", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats",
}

// root is the part of the file system that all sandboxes share, made once.
type root struct {
	steps []byte // encoded
	dirs  map[string]bool
	bind  uint32 // mode of read-only binds
}

func (r *root) add(s plan.Step) {
	r.steps = plan.AppendStep(r.steps, s)
	if s.Op == plan.Dir {
		r.dirs[s.Path] = true
	}
}

// newRoot looks at what the host has. deep says that binds must bring along what is mounted below them, as they must in a user
// namespace.
func newRoot(deep bool) (*root, error) {
	r := &root{dirs: map[string]bool{"": true}, bind: plan.BindReadOnly}
	if deep {
		r.bind |= plan.BindDeep
	}
	for _, p := range systemPaths {
		if err := r.host(p); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"dev", "etc", "proc", "tmp", "opt", "var", "var/task", "var/empty"} {
		r.add(plan.Step{Op: plan.Dir, Path: d, Mode: 0o755})
	}
	for _, f := range rootFiles {
		r.add(plan.Step{Op: plan.File, Path: f.path, Source: f.contents, Mode: 0o444})
	}
	r.add(plan.Step{Op: plan.Link, Path: "etc/localtime", Source: "/usr/share/zoneinfo/UTC"}) // as in Lambda
	java, _ := filepath.Glob("/etc/java-*")                                                   // Debian's Java has its configuration there
	for _, p := range append(java, hostPaths...) {
		p = strings.TrimPrefix(p, "/")
		if err := r.host(p); err != nil {
			return nil, err
		}
	}
	for i, d := range []string{3: "null", 5: "zero", 7: "full", 8: "random", 9: "urandom"} {
		if d != "" {
			r.add(plan.Step{Op: plan.Device, Path: "dev/" + d, Source: "/dev/" + d, Mode: uint32(unix.Mkdev(1, uint32(i)))})
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		r.add(plan.Step{Op: plan.Link, Path: "dev/" + name, Source: target})
	}
	r.add(plan.Step{Op: plan.Proc, Path: "proc"})
	for _, p := range maskedProc {
		info, err := os.Lstat("/proc/" + p)
		switch {
		case err != nil || info.Mode()&0o004 == 0:
		case info.IsDir():
			r.add(plan.Step{Op: plan.Bind, Path: "proc/" + p, Source: "var/empty", Mode: r.bind})
		default:
			r.add(plan.Step{Op: plan.Bind, Path: "proc/" + p, Source: "/dev/null"})
		}
	}
	return r, nil
}

// host shows what the host has at a path: nothing, a symbolic link, a file or a directory.
func (r *root) host(p string) error {
	info, err := os.Lstat("/" + p)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return err
	}
	for _, s := range r.parents(p) {
		r.add(s)
	}
	switch {
	case info.Mode().Type() == os.ModeSymlink:
		target, err := os.Readlink("/" + p)
		if err != nil {
			return err
		}
		r.add(plan.Step{Op: plan.Link, Path: p, Source: target})
	case info.IsDir():
		r.add(plan.Step{Op: plan.Dir, Path: p, Mode: 0o755})
		r.add(plan.Step{Op: plan.Bind, Path: p, Source: "/" + p, Mode: r.bind})
	default:
		r.add(plan.Step{Op: plan.File, Path: p, Mode: 0o444})
		r.add(plan.Step{Op: plan.Bind, Path: p, Source: "/" + p, Mode: r.bind})
	}
	return nil
}

// parents are the steps that make the directories above p which are not there.
func (r *root) parents(p string) []plan.Step {
	var steps []plan.Step
	for d := path.Dir(p); d != "." && !r.dirs[d]; d = path.Dir(d) {
		steps = append([]plan.Step{{Op: plan.Dir, Path: d, Mode: 0o755}}, steps...)
	}
	return steps
}

// own are the steps of one sandbox: its user, its /tmp and its binds. Errors are of kind Invalid.
func (r *root) own(spec sandbox.Spec, uid uint32) ([]plan.Step, error) {
	steps := []plan.Step{
		{Op: plan.File, Path: "etc/passwd", Source: fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\n%s:x:%d:%d::/tmp:/sbin/nologin\n", userName, uid, uid), Mode: 0o444},
		{Op: plan.File, Path: "etc/group", Source: fmt.Sprintf("root:x:0:\n%s:x:%d:\n", userName, uid), Mode: 0o444},
		{Op: plan.Tmpfs, Path: "tmp", Source: fmt.Sprintf("mode=1777,uid=%d,gid=%d,%s", uid, uid, tmpSize(spec))},
	}
	made := map[string]bool{}
	for i, b := range spec.Binds {
		target := strings.TrimPrefix(b.Target, "/")
		if !path.IsAbs(b.Target) || path.Clean(b.Target) != b.Target || !bindable(target) {
			return nil, refusal("cannot bind %s at %s: a target is a clean absolute path, and not below what every sandbox has", b.Source, b.Target)
		}
		for _, o := range spec.Binds[:i] {
			if within(b.Target, o.Target) || within(o.Target, b.Target) {
				return nil, refusal("cannot bind at %s and at %s: one is below the other", o.Target, b.Target)
			}
		}
		if !filepath.IsAbs(b.Source) {
			return nil, refusal("cannot bind %s: it is not an absolute path", b.Source)
		}
		info, err := os.Stat(b.Source)
		if err != nil {
			return nil, refusal("cannot bind at %s: %w", b.Target, err)
		}
		for _, s := range r.parents(target) {
			if !made[s.Path] {
				made[s.Path] = true
				steps = append(steps, s)
			}
		}
		switch {
		case !info.IsDir():
			steps = append(steps, plan.Step{Op: plan.File, Path: target, Mode: 0o444})
		case !r.dirs[target] && !made[target]:
			steps = append(steps, plan.Step{Op: plan.Dir, Path: target, Mode: 0o755})
		}
		steps = append(steps, plan.Step{Op: plan.Bind, Path: target, Source: b.Source, Mode: r.bind})
	}
	return steps, nil
}

// tmpSize are the tmpfs options that limit /tmp: filling it must say that the disk is full, and not use up the memory. An inode takes
// about a kilobyte of memory.
func tmpSize(spec sandbox.Spec) string {
	size := spec.Memory / 2
	if spec.Tmp > 0 {
		size = min(size, spec.Tmp)
	}
	return fmt.Sprintf("size=%d,nr_inodes=%d", size, max(64, size/4096))
}

// within reports whether p is base or below it.
func within(p, base string) bool {
	return p == base || strings.HasPrefix(p, strings.TrimSuffix(base, "/")+"/")
}

// bindable reports whether a Spec may bind at a path: not over the system's own, and not over "/" or "/var".
func bindable(p string) bool {
	top, _, below := strings.Cut(p, "/")
	switch top {
	case "", "dev", "etc", "proc", "sys", "tmp":
		return false
	case "var":
		return below && p != "var/empty"
	}
	for _, s := range systemPaths {
		if top == s {
			return false
		}
	}
	return true
}

func refusal(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, opStart, format, args...)
}
