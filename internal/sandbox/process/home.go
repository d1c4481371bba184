package process

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hansomcloud/hansom"
)

// home is a driver's directory. Its lock tells the living from the dead.
type home struct {
	id, path string
	lock     *os.File
}

const lockName = "lock"

// openHome makes a directory below dir and sweeps those of dead drivers.
func openHome(dir string, logger *slog.Logger) (*home, error) {
	const op = "open run directory"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil, hansom.Errorf(hansom.Denied, op, "%s must be a directory that belongs to this user and that nobody else may write to; remove it or choose another", dir)
	}
	h, err := claim(dir)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if err := sweep(dir, h.id, logger); err != nil {
		h.close()
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return h, nil
}

// claim makes a directory with a lock that is held. It is made under a name that no sweep looks at, so that none takes it for
// a dead driver's before it is locked.
func claim(dir string) (*home, error) {
	b := make([]byte, 8)
	rand.Read(b)
	h := &home{id: hex.EncodeToString(b)}
	h.path = filepath.Join(dir, h.id)
	made, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return nil, err
	}
	if h.lock, err = os.OpenFile(filepath.Join(made, lockName), os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		if err = syscall.Flock(int(h.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			err = os.Rename(made, h.path)
		}
	}
	if err != nil {
		os.RemoveAll(made)
		if h.lock != nil {
			h.lock.Close()
		}
		return nil, err
	}
	return h, nil
}

func (h *home) close() error {
	err := os.RemoveAll(h.path)
	return errors.Join(err, h.lock.Close())
}

// sweep ends and removes what dead drivers left below dir.
func sweep(dir, own string, logger *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Name()
		if id == own || !e.IsDir() || id[0] == '.' {
			continue
		}
		path := filepath.Join(dir, id)
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			// Its driver is just closing, or died while it did. Nothing runs then.
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			left := killMarked(id + "/")
			if err := os.RemoveAll(path); err != nil {
				lock.Close()
				return err
			}
			logger.Info("swept up after a server that did not shut down", "driver", id, "left", left)
		}
		lock.Close()
	}
	return nil
}
