package linux

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
)

// A lease is a server's id on this host, and its directory <run dir>/<id>:
//
//	lock      held with flock while the server lives: whoever gets it may clean up
//	cgroups   the server's directories in the cgroup file systems, a line each, written before they are made
//	network   the server's block of addresses, written before anything is made of the network
//	root      where the inits mount their new root, each in its own mount namespace
//
// <run dir>/uids/<n> is locked by the server whose sandboxes have the n-th range of user ids.
type lease struct {
	id, dir string
	lock    *os.File
}

// acquire sweeps what dead servers left in runDir and takes a new id.
func acquire(runDir string, log *slog.Logger) (*lease, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(runDir, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("run directory %s must be a directory of this user (%d) that no other may write to", runDir, os.Geteuid())
	}
	// One server at a time, so that none sees another's directory before it is locked.
	turn, err := lockFile(filepath.Join(runDir, "lock"), true)
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := sweep(runDir, log); err != nil {
		return nil, err
	}
	l := &lease{id: "s" + strings.ToLower(rand.Text()[:8])}
	l.dir = filepath.Join(runDir, l.id)
	if err := os.MkdirAll(filepath.Join(l.dir, "root"), 0o755); err != nil {
		return nil, err
	}
	if l.lock, err = lockFile(filepath.Join(l.dir, "lock"), false); err != nil {
		return nil, err
	}
	return l, nil
}

// noteCgroup records a directory of the server before it is made.
func (l *lease) noteCgroup(dir string) error {
	f, err := os.OpenFile(filepath.Join(l.dir, "cgroups"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(dir + "\n")
	return errors.Join(err, f.Close())
}

func (l *lease) release() error {
	err := os.RemoveAll(l.dir)
	l.lock.Close()
	return err
}

// errLocked is returned by lockFile when another process holds the lock.
var errLocked = errors.New("locked by another process")

// lockFile opens and locks a file until it is closed. With wait it waits for its turn.
func lockFile(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errLocked
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

var serverID = regexp.MustCompile(`^s[a-z2-7]{8}$`)

// sweep removes what servers left that ended without closing. Their inits have ended with them, unless a version 1 freezer or a
// process in the kernel held them up; mounts and namespaces end with the last process.
func sweep(runDir string, log *slog.Logger) error {
	entries, err := os.ReadDir(runDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !serverID.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(runDir, e.Name())
		lock, err := lockFile(filepath.Join(dir, "lock"), false)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return err
		}
		if err = network.Sweep(runDir, e.Name()); err == nil {
			err = sweepServer(dir, e.Name())
		}
		lock.Close()
		if err != nil {
			// It stays for the next start; this server's own names are others.
			log.Warn("cannot clean up after a server that has died; remove what the error names", "server", e.Name(), "error", err)
			continue
		}
		log.Info("cleaned up after a server that had died", "server", e.Name())
	}
	return nil
}

func sweepServer(dir, id string) error {
	f, err := os.Open(filepath.Join(dir, "cgroups"))
	if err == nil {
		defer f.Close()
		var groups []string
		for in := bufio.NewScanner(f); in.Scan(); {
			// The file is ours, but what is killed here is killed for good: believe no path that this driver would not make.
			if !filepath.IsAbs(in.Text()) || !strings.HasSuffix(in.Text(), "/hansom/"+id) {
				return fmt.Errorf("%s: %q is not a group of %s", f.Name(), in.Text(), id)
			}
			groups = append(groups, in.Text())
		}
		if err := cgroup.Clear(groups); err != nil {
			return err
		}
		for _, g := range groups {
			unix.Rmdir(filepath.Dir(g)) // when no other server uses it
		}
	} else if !os.IsNotExist(err) {
		return err
	}
	return os.RemoveAll(dir)
}

// User ids. They lie above those that distributions, systemd and container engines hand out, and below 2^31.
const (
	firstUID   = 1_900_000_000
	uidRange   = 1 << 14 // for one server
	uidServers = 15_000
)

// uids hands out the user ids of one server.
type uids struct {
	lock *os.File
	base uint32

	mu   sync.Mutex
	next uint32
	free []uint32
}

// acquireUIDs takes a range that no other server of runDir has. The search begins at a place given by the id, so that servers
// that do not share a run directory hardly ever meet.
func acquireUIDs(runDir, id string) (*uids, error) {
	dir := filepath.Join(runDir, "uids")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	for i := range uint32(uidServers) {
		n := (h.Sum32()%uidServers + i) % uidServers
		lock, err := lockFile(filepath.Join(dir, fmt.Sprint(n)), false)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &uids{lock: lock, base: firstUID + n*uidRange}, nil
	}
	return nil, errors.New("all ranges of user ids are taken by other servers")
}

func (u *uids) get() (uint32, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.next < uidRange {
		u.next++
		return u.base + u.next - 1, true
	}
	if len(u.free) == 0 {
		return 0, false
	}
	uid := u.free[0]
	u.free = slices.Delete(u.free, 0, 1)
	return uid, true
}

func (u *uids) put(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.free = append(u.free, uid)
}

func (u *uids) release() {
	u.lock.Close() // the file stays: removing it, one could lock a file that has no name any more
}
