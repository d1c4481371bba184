package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Layers returns the directory of layers laid over each other, in this order: of files with the same path the last one stays.
// It makes the directory first when that has not been done; else as Dir. No layers have no directory: "".
func (s *Store) Layers(ctx context.Context, layers []hansom.Layer) (dir string, release func(), err error) {
	switch len(layers) {
	case 0:
		return "", func() {}, nil
	case 1:
		project, err := projectOf(layers[0])
		if err != nil {
			return "", nil, err
		}
		return s.Dir(ctx, project, layers[0].SHA256)
	}
	name := layersName(layers)
	release = s.hold(name)
	if err := s.ensureMerged(ctx, name, layers); err != nil {
		release()
		return "", nil, err
	}
	return s.path(name), release, nil
}

func (s *Store) ensureMerged(ctx context.Context, name string, layers []hansom.Layer) error {
	if s.has(name) {
		return nil
	}
	var digests []string
	for _, l := range layers {
		project, err := projectOf(l)
		if err != nil {
			return err
		}
		_, release, err := s.Dir(ctx, project, l.SHA256)
		if err != nil {
			return err
		}
		defer release()
		digests = append(digests, l.SHA256)
	}
	return s.once(ctx, name, name, func(context.Context) error {
		defer s.hold(append(digests, name)...)() // whoever began this may have left, and its holds with it
		return s.merge(name, digests)
	})
}

// projectOf is whose blob a layer's content is.
func projectOf(l hansom.Layer) (string, error) {
	arn, err := hansom.ParseARN(l.ARN)
	if err != nil {
		return "", failed("find layer", err)
	}
	return arn.Account, nil
}

// layersName is the name of the directory of layers laid over each other: a layer alone is its own.
func layersName(layers []hansom.Layer) string {
	if len(layers) == 1 {
		return layers[0].SHA256
	}
	var list strings.Builder
	for _, l := range layers {
		list.WriteString(l.SHA256 + "\n")
	}
	return merged + Digest([]byte(list.String()))
}

func (s *Store) merge(name string, digests []string) error {
	root, err := os.OpenRoot(s.cfg.Dir)
	if err != nil {
		return failed("merge layers", err)
	}
	defer root.Close()
	return s.make(name, func(temp string) error {
		for _, digest := range digests {
			if err := overlay(root, digest, filepath.Base(temp)); err != nil {
				return failed("merge layers", err)
			}
		}
		return nil
	})
}

// overlay lays the directory from over the directory to. Two directories become one; anything else in the way goes. No path
// it uses leads through a symbolic link.
func overlay(root *os.Root, from, to string) error {
	entries, err := fs.ReadDir(root.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := path.Join(from, e.Name()), path.Join(to, e.Name())
		old, err := root.Lstat(dst)
		there := err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if there && !(old.IsDir() && e.IsDir()) {
			if err := root.RemoveAll(dst); err != nil {
				return err
			}
			there = false
		}
		switch {
		case e.IsDir():
			if !there {
				err = errors.Join(root.Mkdir(dst, 0o755), root.Chmod(dst, 0o755))
			} else {
				err = nil
			}
			if err == nil {
				err = overlay(root, src, dst)
			}
		case e.Type() == fs.ModeSymlink:
			var target string
			if target, err = root.Readlink(src); err == nil {
				err = root.Symlink(target, dst)
			}
		default:
			if err = root.Link(src, dst); err != nil { // too many links, or a file system without them
				err = copyFile(root, src, dst)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(root *os.Root, src, dst string) error {
	in, err := root.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := root.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close())
}
