package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
)

// use of a package or directory by what no reference tells: an upload or deployment under way, a running instance.
type use struct {
	holds int
	last  time.Time // when the last hold began or ended
}

// Hold keeps a package and its directory from being collected until release, which may be called again. Afterwards the grace
// period begins anew. The package need not be there.
func (s *Store) Hold(project, digest string) (release func()) {
	return s.hold(Key(project, digest), digest)
}

func (s *Store) hold(keys ...string) (release func()) {
	change := func(by int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.cfg.Now()
		for _, key := range keys {
			u := s.uses[key]
			if u == nil {
				u = &use{}
				s.uses[key] = u
			}
			u.holds += by
			u.last = now
		}
	}
	change(1)
	return sync.OnceFunc(func() { change(-1) })
}

// Pause keeps all packages from being collected until resume, which may be called again; it waits for a collection under way.
func (s *Store) Pause() (resume func()) {
	s.collecting.RLock()
	return sync.OnceFunc(s.collecting.RUnlock)
}

// References are the packages and uploads that something needs, be it a version, a layer or a deployment.
type References struct {
	packages map[string]bool    // by blob key
	dirs     map[string]bool    // by name
	uploads  map[[2]string]bool // project and digest
}

// Package marks a package that is needed.
func (r *References) Package(project, sha256 string) {
	r.packages[Key(project, sha256)] = true
	r.dirs[sha256] = true
}

// Layers marks the layers of a version, and the directory in which they are laid over each other.
func (r *References) Layers(layers []hansom.Layer) {
	for _, l := range layers {
		if project, err := projectOf(l); err == nil {
			r.Package(project, l.SHA256)
		}
	}
	if len(layers) > 0 {
		r.dirs[layersName(layers)] = true
	}
}

// Collected says what a collection removed.
type Collected struct {
	Packages    int // and files of sites
	Directories int
	Bytes       int64 // of packages and files
}

// Totals are what all collections since the start removed: packages, and their bytes.
func (s *Store) Totals() (packages, bytes int64) { return s.packages.Load(), s.bytes.Load() }

// marksFile remembers since when something is not referred to, so that a restart does not begin its grace period anew.
const marksFile = ".unreferenced"

var (
	packagePattern = regexp.MustCompile(`^\d{12}/(code/[0-9a-f]{64}\.zip|site/[0-9a-f]{64}(\.json|\.br|\.gz)?)$`)
	dirPattern     = regexp.MustCompile(`^(` + merged + `)?[0-9a-f]{64}$`)
)

// startPause is how long the first collection waits, which reads all that there is: a start has other things to do.
const startPause = time.Minute

// Run removes what an earlier process left behind, and then collects from time to time until ctx ends.
func (s *Store) Run(ctx context.Context, refs func(context.Context, *References) error) error {
	if err := s.clean(); err != nil {
		s.log.Warn("old unpacked code could not be removed", "error", err)
	}
	every := min(max(s.cfg.Grace/8, 10*time.Millisecond), time.Hour)
	timer := time.NewTimer(min(every, startPause))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(every)
		case <-ctx.Done():
			return nil
		}
		c, err := s.Collect(ctx, refs)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Error("unreferenced code could not be removed; it is tried again", "error", err)
		case c != Collected{}:
			s.log.Info("unreferenced code removed", "packages", c.Packages, "directories", c.Directories, "bytes", c.Bytes)
		}
	}
}

// Collect removes the packages and directories that nothing has referred to, held or asked for during the grace period. refs
// must mark what is committed at one moment after it was called; what is to be referred to later must be held, or be looked at
// by Stat in the transaction that refers to it. The first collection that finds something unreferenced only notes it: it goes
// with a later one. A crash loses nothing but notes.
func (s *Store) Collect(ctx context.Context, refs func(context.Context, *References) error) (Collected, error) {
	if !s.collecting.TryLock() { // paused, or another one
		return Collected{}, nil
	}
	defer s.collecting.Unlock()
	now := s.cfg.Now()
	r := References{packages: map[string]bool{}, dirs: map[string]bool{}, uploads: map[[2]string]bool{}}
	if err := refs(ctx, &r); err != nil {
		return Collected{}, err
	}
	if err := r.files(ctx, s); err != nil {
		return Collected{}, err
	}
	old, err := s.readMarks()
	if err != nil {
		return Collected{}, err
	}
	marks := map[string]time.Time{}
	// due says whether something has had its grace period, and marks it if not.
	due := func(key string, modified time.Time) bool {
		since, ok := old[key]
		if !ok || modified.After(since) {
			since = now
		}
		marks[key] = since
		return ok && !since.Equal(now) && now.Sub(since) >= s.cfg.Grace
	}
	// remove calls f unless something is in use or was since it was marked.
	remove := func(key string, f func() error) (removed bool, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if u := s.uses[key]; u != nil && (u.holds > 0 || !u.last.Before(marks[key])) {
			marks[key] = now
			return false, nil
		}
		if err := f(); err != nil {
			return false, err
		}
		delete(marks, key)
		return true, nil
	}
	var c Collected
	found := map[string][]blob.Info{} // by owner
	for info, err := range s.blobs.List(ctx, "") {
		if err != nil {
			return c, err
		}
		if key := owner(info.Key); packagePattern.MatchString(info.Key) && !r.packages[key] {
			found[key] = append(found[key], info)
		}
	}
	var errs []error
	for key, infos := range found {
		newest := slices.MaxFunc(infos, func(a, b blob.Info) int { return a.Modified.Compare(b.Modified) })
		if !due(key, newest.Modified) {
			continue
		}
		removed, err := remove(key, func() (err error) {
			for _, info := range infos {
				err = errors.Join(err, s.blobs.Delete(ctx, info.Key))
			}
			return err
		})
		errs = append(errs, err)
		if removed {
			c.Packages++
			for _, info := range infos {
				c.Bytes += info.Size
			}
		}
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return c, failed("collect code", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !dirPattern.MatchString(e.Name()) || r.dirs[e.Name()] || !due(e.Name(), info.ModTime()) {
			continue
		}
		var gone string
		removed, err := remove(e.Name(), func() (err error) { gone, err = s.retire(e.Name()); return err })
		if removed {
			c.Directories++
			err = os.RemoveAll(s.path(gone))
		}
		errs = append(errs, err)
	}
	s.packages.Add(int64(c.Packages))
	s.bytes.Add(c.Bytes)
	s.forget(marks)
	return c, errors.Join(append(errs, s.writeMarks(marks))...)
}

// forget drops uses that no mark needs to be compared with.
func (s *Store) forget(marks map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, u := range s.uses {
		if since, marked := marks[key]; u.holds == 0 && (!marked || u.last.Before(since)) {
			delete(s.uses, key)
		}
	}
}

func (s *Store) readMarks() (map[string]time.Time, error) {
	marks := map[string]time.Time{}
	text, err := os.ReadFile(filepath.Join(s.cfg.Dir, marksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return marks, nil
	}
	if err != nil {
		return nil, failed("collect code", err)
	}
	if json.Unmarshal(text, &marks) != nil { // a power cut: grace periods begin anew
		return map[string]time.Time{}, nil
	}
	return marks, nil
}

func (s *Store) writeMarks(marks map[string]time.Time) error {
	text, err := json.Marshal(marks)
	if err != nil {
		return failed("collect code", err)
	}
	name := filepath.Join(s.cfg.Dir, marksFile)
	next := filepath.Join(s.cfg.Dir, temporary+strings.TrimPrefix(marksFile, "."))
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return failed("collect code", err)
	}
	return os.Rename(next, name)
}
