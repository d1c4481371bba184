// Package disk keeps blobs as files below one directory.
package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
)

// Store is a blob.Store on a directory. Files being written stand in ".incoming" and are renamed when they are complete.
type Store struct {
	dir      string
	incoming string
}

var _ blob.Store = (*Store)(nil)

// New opens or makes the store in dir and removes what a crash left half written. One process at a time may use it.
func New(dir string) (*Store, error) {
	s := &Store{dir: dir, incoming: filepath.Join(dir, ".incoming")}
	if err := os.RemoveAll(s.incoming); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "open blobs", "%w", err)
	}
	if err := os.MkdirAll(s.incoming, 0o700); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "open blobs", "cannot make the blob directory; check the rights of %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) (size int64, err error) {
	if err := blob.CheckKey(key); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(s.incoming, "put-*")
	if err != nil {
		return 0, failed("put", key, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if size, err = io.Copy(f, contextReader{ctx, r}); err != nil {
		return 0, failed("put", key, err)
	}
	if err = f.Sync(); err != nil {
		return 0, failed("put", key, err)
	}
	if err = f.Close(); err != nil {
		return 0, failed("put", key, err)
	}
	target := s.path(key)
	if err = makeDirs(s.dir, filepath.Dir(target)); err != nil {
		return 0, failed("put", key, err)
	}
	if err = os.Rename(f.Name(), target); err != nil {
		return 0, failed("put", key, err)
	}
	if err = syncDir(filepath.Dir(target)); err != nil {
		return 0, failed("put", key, err)
	}
	return size, nil
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, key string) (io.ReadSeekCloser, int64, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, 0, failed("open", key, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, failed("open", key, err)
	}
	return f, info.Size(), nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return blob.Info{}, err
	}
	info, err := os.Stat(s.path(key))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return blob.Info{}, failed("stat", key, err)
	}
	return blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if _, err := s.Stat(ctx, key); hansom.KindOf(err) == hansom.NotFound {
		return nil // also a directory, which os.Remove would take away when it is empty
	}
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("delete", key, err)
	}
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		err := filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil // deleted meanwhile
				}
				return err
			}
			rel, err := filepath.Rel(s.dir, p)
			if err != nil {
				return err
			}
			key := filepath.ToSlash(rel)
			if d.IsDir() {
				if key != "." && (p == s.incoming || !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/")) {
					return fs.SkipDir
				}
				return nil
			}
			if !strings.HasPrefix(key, prefix) || blob.CheckKey(key) != nil {
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(blob.Info{}, failed("list", prefix, err))
		}
	}
}

// makeDirs makes dir and what is missing above it, up to root, and syncs the directory that holds each new one.
func makeDirs(root, dir string) error {
	if dir == root {
		return nil
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeDirs(root, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func failed(op, key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hansom.Errorf(hansom.NotFound, op+" blob", "there is no blob %q", key)
	}
	if kind := hansom.KindOf(err); kind != hansom.Internal {
		return err // the reader's own error, or the context's
	}
	return hansom.Errorf(hansom.Internal, op+" blob", "%s: %w", key, err)
}

// contextReader ends a long copy when its caller has gone away.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
