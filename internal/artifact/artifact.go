// Package artifact keeps the zips of functions and layers: in the blob store by project and digest, and unpacked once to a
// directory that sandboxes see read-only. What nothing refers to any more is removed after a grace period (see Collect).
package artifact

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
)

// Config of a Store.
type Config struct {
	Dir   string        // where packages are unpacked; readable by every uid
	Grace time.Duration // a package that nothing refers to, and that nobody asks for, is kept this long
	Now   func() time.Time
}

// DefaultConfig keeps unpacked packages in code/ of the data directory, and what nothing refers to for a day.
func DefaultConfig(dataDir string) Config {
	return Config{Dir: filepath.Join(dataDir, "code"), Grace: 24 * time.Hour, Now: time.Now}
}

// Store holds packages. Its methods may be called from several goroutines. Digests are SHA-256 in lower-case hex.
type Store struct {
	cfg     Config
	blobs   blob.Store
	log     *slog.Logger
	flights singleflight.Group
	slots   chan struct{} // bounds what unpacking takes of memory and disk at a time
	rubbish []string      // left by a crash or an earlier boot; Run removes it

	mu   sync.Mutex
	uses map[string]*use // by blob key and by name of a directory

	collecting sync.RWMutex // read-locked while nothing may be collected
	packages   atomic.Int64
	bytes      atomic.Int64
}

// New prepares the directory.
func New(cfg Config, blobs blob.Store, logger *slog.Logger) (*Store, error) {
	return open(cfg, blobs, logger, bootID())
}

func open(cfg Config, blobs blob.Store, logger *slog.Logger, boot string) (*Store, error) {
	if cfg.Now == nil || cfg.Grace < 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open code", "the grace of code must not be negative, and there must be a clock")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, blobs: blobs, log: logger.With("component", "artifact"), slots: make(chan struct{}, 2), uses: map[string]*use{}}
	return s, s.openDir(boot)
}

// Key is where the blob store keeps a package of a project.
func Key(project, sha256 string) string { return project + "/code/" + sha256 + ".zip" }

// Digest of a package.
func Digest(zip []byte) string {
	sum := sha256.Sum256(zip)
	return hex.EncodeToString(sum[:])
}

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

// Put checks and unpacks a package, and stores it unless keep is false. It is durable when Put returns. It may be collected
// once nothing refers to it: Hold it until something does. Errors: Invalid for a zip that is none or breaks a limit.
func (s *Store) Put(ctx context.Context, project string, zip []byte, keep bool) error {
	digest, size := Digest(zip), int64(len(zip))
	defer s.Hold(project, digest)()
	fromMemory := func(context.Context) (io.ReaderAt, int64, func(), error) {
		return bytes.NewReader(zip), size, func() {}, nil
	}
	if err := s.ensure(ctx, project, digest, fromMemory); err != nil || !keep {
		return err
	}
	key := Key(project, digest)
	if info, err := s.blobs.Stat(ctx, key); err == nil && info.Size == size {
		return nil
	}
	_, err := s.blobs.Put(ctx, key, bytes.NewReader(zip))
	return err
}

// Upload stores the package that r yields, which must be the one of the digest, and unpacks it, so that one that is no good is
// refused at once. Errors: those of r; Invalid for a zip that is none or breaks a limit.
func (s *Store) Upload(ctx context.Context, project, digest string, r io.Reader) (size int64, err error) {
	defer s.Hold(project, digest)()
	key := Key(project, digest)
	if size, err = s.blobs.Put(ctx, key, r); err != nil {
		return 0, err
	}
	if err := s.ensure(ctx, project, digest, s.fromBlob(project, digest)); err != nil {
		if hansom.KindOf(err) == hansom.Invalid { // nothing can use it; a full disk is another matter
			err = errors.Join(err, s.blobs.Delete(ctx, key))
		}
		return 0, err
	}
	return size, nil
}

// Stat says how many bytes a stored package has. Who asks is about to use it: its grace period begins anew.
// Errors: Invalid for what is no digest; NotFound.
func (s *Store) Stat(ctx context.Context, project, digest string) (size int64, err error) {
	if b, err := hex.DecodeString(digest); err != nil || len(b) != sha256.Size || strings.ToLower(digest) != digest {
		return 0, hansom.Errorf(hansom.Invalid, "find code", "%q is not a SHA-256 digest of 64 lower-case hex digits", digest)
	}
	s.Hold(project, digest)()
	info, err := s.blobs.Stat(ctx, Key(project, digest))
	if hansom.KindOf(err) == hansom.NotFound {
		return 0, hansom.Errorf(hansom.NotFound, "find code", "the package %s has not been uploaded; upload it first", digest)
	}
	return info.Size, err
}

// Prepare is Stat and unpacks the package. Errors: also Invalid when it cannot be unpacked.
func (s *Store) Prepare(ctx context.Context, project, digest string) (size int64, err error) {
	if size, err = s.Stat(ctx, project, digest); err != nil {
		return 0, err
	}
	return size, s.ensure(ctx, project, digest, s.fromBlob(project, digest))
}

// Open opens a stored package for reading. Errors: NotFound.
func (s *Store) Open(ctx context.Context, project, digest string) (io.ReadSeekCloser, int64, error) {
	return s.blobs.Open(ctx, Key(project, digest))
}

// Unpacked is the size of all files of a stored package, in bytes, as its directory has it: Put and Upload have checked that.
func (s *Store) Unpacked(ctx context.Context, project, digest string) (int64, error) {
	r, size, done, err := s.fromBlob(project, digest)(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	return unpackedSize(r, size)
}

// UnpackedSize is Unpacked for a package that is not stored.
func UnpackedSize(zip []byte) (int64, error) {
	return unpackedSize(bytes.NewReader(zip), int64(len(zip)))
}

func unpackedSize(r io.ReaderAt, size int64) (int64, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return 0, failed("measure code", err)
	}
	var total int64
	for _, f := range z.File {
		total += int64(f.UncompressedSize64)
	}
	return total, nil
}
