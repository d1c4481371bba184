package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact/unzip"
)

// Below Config.Dir are unpacked packages, <sha256>, and layers laid over each other, opt-<sha256 of their digests>; each is
// complete or not there at all.
//
// Nothing there is synced to the disk: a package is durable in the blob store, and after another boot of the machine, when a power
// cut may have left names with empty files, everything is unpacked anew when it is needed.
const (
	temporary  = ".tmp-" // prefix of what is not a package yet, or no longer
	merged     = "opt-"
	bootRecord = ".boot" // the boot in which the packages were unpacked
)

// openDir prepares the directory. boot tells one boot of the machine from another; "" when that cannot be told.
func (s *Store) openDir(boot string) error {
	dir := s.cfg.Dir
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755) // sandboxes read below it under uids of their own, whatever the umask is
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "open code", "cannot make the directory for unpacked code; check the rights of %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return failed("open code", err)
	}
	record := filepath.Join(dir, bootRecord)
	before, err := os.ReadFile(record)
	same := err == nil && boot != "" && string(before) == boot
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && !same && !strings.HasPrefix(name, temporary) {
			if name, err = s.retire(name); err != nil {
				return failed("open code", err)
			}
		}
		if strings.HasPrefix(name, temporary) {
			s.rubbish = append(s.rubbish, filepath.Join(dir, name))
		}
	}
	if same {
		return nil
	}
	if err := os.WriteFile(record, []byte(boot), 0o644); err != nil {
		return failed("open code", err)
	}
	return nil
}

// retire takes a directory out of use at once, under a name that is left to be removed.
func (s *Store) retire(name string) (string, error) {
	from, to := s.path(name), s.path(temporary+name)
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrExist) { // a process before this one did not come to remove the other
		if err = os.RemoveAll(to); err == nil {
			err = os.Rename(from, to)
		}
	}
	return temporary + name, err
}

// bootID is "" where the system has none.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

func (s *Store) clean() error {
	var errs []error
	for _, path := range s.rubbish {
		errs = append(errs, os.RemoveAll(path))
	}
	s.rubbish = nil
	return errors.Join(errs...)
}

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

func (s *Store) has(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// Dir returns the directory of a package and unpacks it first when that has not been done. It is shared by all who use the
// package and must not be written to; files are readable by every uid. It stays until release, which may be called again.
func (s *Store) Dir(ctx context.Context, project, digest string) (dir string, release func(), err error) {
	release = s.Hold(project, digest)
	if err := s.ensure(ctx, project, digest, s.fromBlob(project, digest)); err != nil {
		release()
		return "", nil, err
	}
	return s.path(digest), release, nil
}

// ensure unpacks a package when that has not been done. open yields the zip.
func (s *Store) ensure(ctx context.Context, project, digest string, open func(ctx context.Context) (io.ReaderAt, int64, func(), error)) error {
	return s.once(ctx, project+digest, digest, func(ctx context.Context) error {
		defer s.Hold(project, digest)()
		r, size, done, err := open(ctx)
		if err != nil {
			return err
		}
		defer done()
		return s.unpack(ctx, digest, r, size)
	})
}

// once runs work, which makes the directory name, unless that is there. Callers that come at the same time share the work,
// which goes on when one of them leaves.
func (s *Store) once(ctx context.Context, flight, name string, work func(ctx context.Context) error) error {
	if s.has(name) {
		return nil
	}
	background := context.WithoutCancel(ctx)
	result := s.flights.DoChan(flight, func() (any, error) {
		if s.has(name) {
			return nil, nil
		}
		s.slots <- struct{}{}
		defer func() { <-s.slots }()
		return nil, work(background)
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) unpack(ctx context.Context, digest string, r io.ReaderAt, size int64) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return failed("unpack code", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return hansom.Errorf(hansom.Invalid, "unpack code", "the package %s is damaged: its digest is %s; upload the code again", digest, got)
	}
	return s.make(digest, func(temp string) error { return unzip.Extract(ctx, r, size, temp, unzip.DefaultLimits()) })
}

// make lets fill a temporary directory, which becomes name when that went well.
func (s *Store) make(name string, fill func(temp string) error) error {
	temp, err := os.MkdirTemp(s.cfg.Dir, temporary)
	if err != nil {
		return failed("unpack code", err)
	}
	defer os.RemoveAll(temp) // when it was renamed this finds nothing
	if err := fill(temp); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return failed("unpack code", err)
	}
	if err := os.Rename(temp, s.path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed("unpack code", err)
	}
	return nil
}

// fromBlob opens a package of the blob store for reading at any offset.
func (s *Store) fromBlob(project, digest string) func(context.Context) (io.ReaderAt, int64, func(), error) {
	return func(ctx context.Context) (io.ReaderAt, int64, func(), error) {
		b, size, err := s.blobs.Open(ctx, Key(project, digest))
		if err != nil {
			return nil, 0, nil, err
		}
		if at, ok := b.(io.ReaderAt); ok {
			return at, size, func() { b.Close() }, nil
		}
		defer b.Close()
		f, err := os.CreateTemp(s.cfg.Dir, temporary+"*.zip") // a driver without random access
		if err != nil {
			return nil, 0, nil, failed("unpack code", err)
		}
		done := func() { f.Close(); os.Remove(f.Name()) }
		if _, err := io.Copy(f, b); err != nil {
			done()
			return nil, 0, nil, failed("unpack code", err)
		}
		return f, size, done, nil
	}
}
