package function

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/singleflight"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/function/unzip"
)

// codeDirs holds unpacked packages: dir/<sha256>, complete or not there at all.
//
// Nothing here is synced to the disk: a package is durable in the blob store, and after another boot of the machine, when a power
// cut may have left names with empty files, everything is unpacked anew when it is needed.
type codeDirs struct {
	dir     string
	flights singleflight.Group
	slots   chan struct{} // bounds what unpacking takes of memory and disk at a time
	rubbish []string      // left by a crash or an earlier boot; Run removes it
}

const (
	temporary  = ".tmp-" // prefix of what is not a package yet, or no longer
	bootRecord = ".boot" // the boot in which the packages were unpacked
)

// open prepares dir. boot tells one boot of the machine from another; "" when that cannot be told.
func (c *codeDirs) open(dir, boot string) error {
	c.dir, c.slots = dir, make(chan struct{}, 2)
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
			name = temporary + name
			if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, name)); errors.Is(err, fs.ErrExist) {
				name = e.Name() // a start before this one did not come to remove the other
				err = os.RemoveAll(filepath.Join(dir, name))
				if err != nil {
					return failed("open code", err)
				}
			} else if err != nil {
				return failed("open code", err)
			}
		}
		if strings.HasPrefix(name, temporary) {
			c.rubbish = append(c.rubbish, filepath.Join(dir, name))
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

// bootID is "" where the system has none.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

func (c *codeDirs) clean() error {
	var errs []error
	for _, path := range c.rubbish {
		errs = append(errs, os.RemoveAll(path))
	}
	c.rubbish = nil
	return errors.Join(errs...)
}

func (c *codeDirs) path(digest string) string { return filepath.Join(c.dir, digest) }

func (c *codeDirs) has(digest string) bool {
	_, err := os.Stat(c.path(digest))
	return err == nil
}

// ensure returns the directory of a package and unpacks it first when that has not been done. Callers that come at the same
// time share the work, which goes on when one of them leaves. open yields the zip.
func (c *codeDirs) ensure(ctx context.Context, project, digest string, open func(ctx context.Context) (io.ReaderAt, int64, func(), error)) (string, error) {
	if c.has(digest) {
		return c.path(digest), nil
	}
	work := context.WithoutCancel(ctx)
	result := c.flights.DoChan(project+digest, func() (any, error) {
		if c.has(digest) {
			return nil, nil
		}
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
		r, size, done, err := open(work)
		if err != nil {
			return nil, err
		}
		defer done()
		return nil, c.unpack(work, digest, r, size)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return "", r.Err
		}
		return c.path(digest), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (c *codeDirs) unpack(ctx context.Context, digest string, r io.ReaderAt, size int64) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return failed("unpack code", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return hansom.Errorf(hansom.Invalid, "unpack code", "the package %s is damaged: its digest is %s; upload the code again", digest, got)
	}
	temp, err := os.MkdirTemp(c.dir, temporary)
	if err != nil {
		return failed("unpack code", err)
	}
	defer os.RemoveAll(temp) // when it was renamed this finds nothing
	if err := unzip.Extract(ctx, r, size, temp, unzip.DefaultLimits()); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return failed("unpack code", err)
	}
	if err := os.Rename(temp, c.path(digest)); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed("unpack code", err)
	}
	return nil
}

// Code returns the directory of a version's unpacked package. It is shared by all versions with the same package and must not be
// written to; files are readable by every uid. It unpacks the package when that has not been done.
func (s *Service) Code(ctx context.Context, v *hansom.Version) (dir string, err error) {
	return s.code.ensure(ctx, v.Project, v.CodeSHA256, s.fromBlob(v.Project, v.CodeSHA256))
}

// fromBlob opens a package of the blob store for reading at any offset.
func (s *Service) fromBlob(project, digest string) func(context.Context) (io.ReaderAt, int64, func(), error) {
	return func(ctx context.Context) (io.ReaderAt, int64, func(), error) {
		b, size, err := s.blobs.Open(ctx, BlobKey(project, digest))
		if err != nil {
			return nil, 0, nil, err
		}
		if at, ok := b.(io.ReaderAt); ok {
			return at, size, func() { b.Close() }, nil
		}
		defer b.Close()
		f, err := os.CreateTemp(s.cfg.CodeDir, temporary+"*.zip") // a driver without random access
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

// Prepare checks that an uploaded package is there under BlobKey and unpacks it: to be called before a transaction that deploys it.
// Errors: NotFound when it was not uploaded; Invalid when it cannot be unpacked.
func (s *Service) Prepare(ctx context.Context, project, digest string) (size int64, err error) {
	info, err := s.uploaded(ctx, project, digest)
	if err != nil {
		return 0, err
	}
	_, err = s.code.ensure(ctx, project, digest, s.fromBlob(project, digest))
	return info.Size, err
}

func (s *Service) uploaded(ctx context.Context, project, digest string) (blob.Info, error) {
	if b, err := hex.DecodeString(digest); err != nil || len(b) != sha256.Size || strings.ToLower(digest) != digest {
		return blob.Info{}, hansom.Errorf(hansom.Invalid, "find code", "%q is not a SHA-256 digest of 64 lower-case hex digits", digest)
	}
	info, err := s.blobs.Stat(ctx, BlobKey(project, digest))
	if hansom.KindOf(err) == hansom.NotFound {
		return blob.Info{}, hansom.Errorf(hansom.NotFound, "find code", "the package %s has not been uploaded; upload it first", digest)
	}
	return info, err
}

// stage checks and unpacks new code, and stores it unless keep is false. It is durable when stage returns.
func (s *Service) stage(ctx context.Context, project string, code Source, keep bool) (digest string, size int64, err error) {
	if code.SHA256 != "" {
		size, err = s.Prepare(ctx, project, code.SHA256)
		return code.SHA256, size, err
	}
	if len(code.Zip) == 0 {
		return "", 0, hansom.Errorf(hansom.Invalid, "read code", "Please provide a source for function code.")
	}
	if len(code.Zip) > hansom.MaxZipInline {
		return "", 0, hansom.Errorf(hansom.TooLarge, "read code", "The zip has %d bytes; %d are allowed. Leave out what the function does not need.",
			len(code.Zip), hansom.MaxZipInline)
	}
	sum := sha256.Sum256(code.Zip)
	digest, size = hex.EncodeToString(sum[:]), int64(len(code.Zip))
	fromMemory := func(context.Context) (io.ReaderAt, int64, func(), error) {
		return bytes.NewReader(code.Zip), size, func() {}, nil
	}
	if _, err := s.code.ensure(ctx, project, digest, fromMemory); err != nil {
		return "", 0, err
	}
	if !keep {
		return digest, size, nil
	}
	key := BlobKey(project, digest)
	if info, err := s.blobs.Stat(ctx, key); err == nil && info.Size == size {
		return digest, size, nil
	}
	_, err = s.blobs.Put(ctx, key, bytes.NewReader(code.Zip))
	return digest, size, err
}
