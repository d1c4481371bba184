package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unused is how long an installation of npm or pip is kept after its last use.
const unused = 30 * 24 * time.Hour

// cache is a folder of the user that holds what npm and pip installed, by digest, and the work folders of builders. Whoever
// dies leaves a work folder whose lock is free: the next builder removes it.
type cache struct {
	dir  string
	work string   // of this builder; gone after close
	lock *os.File // of the work folder
}

// openCache makes a work folder and removes what is dead or too old.
func openCache(env []string) (*cache, error) {
	dir, err := cacheDir(env)
	if err != nil {
		return nil, err
	}
	c := &cache{dir: dir}
	all, err := lock(filepath.Join(dir, "lock"), 0) // a folder that is being made has no lock of its own yet
	if err != nil {
		return nil, err
	}
	defer all.Close()
	c.work, err = os.MkdirTemp(dir, "hansom-build-")
	if err == nil {
		c.lock, err = lock(filepath.Join(c.work, "lock"), 0)
	}
	if err == nil {
		err = c.sweep()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cache) close() {
	if c.work != "" {
		os.RemoveAll(c.work)
	}
	if c.lock != nil {
		c.lock.Close()
	}
}

// lock opens a file and takes its lock; flags are those of flock(2).
func lock(file string, flags int) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|flags)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return f, nil
}

func (c *cache) sweep() error {
	works, err := filepath.Glob(filepath.Join(c.dir, "hansom-build-*"))
	if err != nil {
		return err
	}
	for _, dir := range works {
		if dir == c.work {
			continue
		}
		if f, err := lock(filepath.Join(dir, "lock"), syscall.LOCK_NB); err == nil {
			os.RemoveAll(dir)
			f.Close()
		}
	}
	entries, err := filepath.Glob(filepath.Join(c.dir, "*", strings.Repeat("?", 64)))
	if err != nil {
		return err
	}
	for _, dir := range entries {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > unused {
			// One that is being removed must never look whole.
			_ = os.Rename(dir, filepath.Join(c.work, filepath.Base(dir)))
		}
	}
	return nil
}

// entry returns the folder of kind and digest. One that is not there is filled first, elsewhere, so that it is whole or not at all.
func (c *cache) entry(kind, digest string, fill func(dir string) error) (string, error) {
	dir := filepath.Join(c.dir, kind, digest)
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(c.work, kind+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	err = os.Rename(tmp, dir)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		err = nil // another builder was faster
	}
	return dir, err
}

// cacheDir is $XDG_CACHE_HOME/hansom or where the system has caches. Without a home, or with one that cannot be written, it is
// a folder of temporary files.
func cacheDir(env []string) (string, error) {
	var home, base string
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "HOME="); ok {
			home = v
		}
		if v, ok := strings.CutPrefix(e, "XDG_CACHE_HOME="); ok {
			base = v
		}
	}
	if !filepath.IsAbs(base) {
		base = ""
		if filepath.IsAbs(home) {
			base = filepath.Join(home, ".cache")
			if runtime.GOOS == "darwin" {
				base = filepath.Join(home, "Library", "Caches")
			}
		}
	}
	if base != "" {
		dir := filepath.Join(base, "hansom")
		if os.MkdirAll(dir, 0o700) == nil && syscall.Access(dir, 2) == nil { // 2 is W_OK
			return dir, nil
		}
	}
	dir := filepath.Join(os.TempDir(), "hansom-cache-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s does not belong to this user alone; remove it or set XDG_CACHE_HOME", dir)
	}
	return dir, nil
}

// digestOf tells apart what is made of other parts.
func digestOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
