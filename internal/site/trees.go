package site

import (
	"context"
	"sync"
	"sync/atomic"
)

// trees are the uploads in memory: those that are live, and the last ones of others.
type trees struct {
	read func(ctx context.Context, project, digest string) (*tree, error)
	keep int

	mu    sync.Mutex
	all   map[treeKey]*entry
	clock uint64 // counts what was asked for
}

type treeKey struct{ project, digest string }

// entry is an upload, which is read when it is first needed.
type entry struct {
	key  treeKey
	tree atomic.Pointer[tree]
	used uint64 // when it was asked for last; guarded by trees.mu

	loading sync.Mutex
}

// entry of an upload.
func (ts *trees) entry(project, digest string) *entry {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	key := treeKey{project, digest}
	e := ts.all[key]
	if e == nil {
		e = &entry{key: key}
		ts.all[key] = e
	}
	ts.clock++
	e.used = ts.clock
	return e
}

// load reads the upload of an entry, once.
func (ts *trees) load(ctx context.Context, e *entry) (*tree, error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	if t := e.tree.Load(); t != nil {
		return t, nil
	}
	t, err := ts.read(context.WithoutCancel(ctx), e.key.project, e.key.digest)
	if err != nil {
		return nil, err
	}
	e.tree.Store(t)
	return t, nil
}

// prune forgets uploads that are not live, but for the ones that were asked for last. Who still has one keeps it.
func (ts *trees) prune(live map[siteKey]*handler) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	used := map[*entry]bool{}
	for _, h := range live {
		used[h.loaded] = true
	}
	for len(ts.all)-len(used) > ts.keep {
		var oldest *entry
		for _, e := range ts.all {
			if !used[e] && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		delete(ts.all, oldest.key)
	}
}
