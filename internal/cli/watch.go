package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing must change before a change counts: editors and compilers write in several steps.
const quiet = 100 * time.Millisecond

// unwatched folders change with every build or are too big to watch; they are packed all the same.
var unwatched = map[string]bool{".git": true, ".hansom": true, "node_modules": true, "__pycache__": true}

// watcher tells which files changed below some folders.
type watcher struct{ *fsnotify.Watcher }

func newWatcher() (*watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch files: %w", err)
	}
	return &watcher{w}, nil
}

// tree watches a folder and those below it. One that is not there is left out.
func (w *watcher) tree(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case unwatched[d.Name()] && p != root:
			return filepath.SkipDir
		}
		return w.folder(p)
	})
}

func (w *watcher) folder(dir string) error {
	err := w.Add(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("too many folders to watch; raise the limit with `sysctl fs.inotify.max_user_watches=524288`")
	}
	return err
}

// next waits for changes and returns the paths that changed, once they have been quiet for a moment. A new folder is one; its
// files are seen only once it is watched.
func (w *watcher) next(ctx context.Context) ([]string, error) {
	var paths []string
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-w.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				continue // so much happens that another event is sure to come
			}
			return nil, err
		case e := <-w.Events:
			if e.Op == fsnotify.Chmod || unwatched[filepath.Base(e.Name)] {
				continue
			}
			paths = append(paths, e.Name)
			settled = time.After(quiet)
		case <-settled:
			return paths, nil
		}
	}
}
