package function

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// view is what invocations need, in memory. Readers take no lock: an entry is immutable and replaced as a whole.
type view struct {
	projects sync.Map // project -> *sync.Map of name -> *entry
	urls     sync.Map // id -> *hansom.FunctionURL
	reserved sync.Map // project -> *atomic.Int64: the reserved concurrency of its functions together

	waiting struct { // functions to activate
		sync.Mutex
		keys map[string]bool
	}
}

// entry is one function.
type entry struct {
	latest   target
	versions map[string]*target // published ones; nil when there are none
	aliases  map[string]*aliasTarget
	reserved int
	loops    bool                          // recursive calls are let through
	events   map[string]hansom.AsyncConfig // by qualifier; nil when there are none
	urls     []string
	pending  bool
}

// target is a version and the ARN that names it.
type target struct {
	version *hansom.Version
	arn     string
}

type aliasTarget struct {
	arn    string
	first  *hansom.Version
	second *hansom.Version // takes the share weight of the calls; nil without routing
	weight float64
}

func (v *view) find(project, name string) *entry {
	functions, ok := v.projects.Load(project)
	if !ok {
		return nil
	}
	e, ok := functions.(*sync.Map).Load(name)
	if !ok {
		return nil
	}
	return e.(*entry)
}

// Resolve finds the version that a call goes to, from memory. An alias with weights draws one of its versions.
// A function that is still Pending is resolved too: its code is unpacked when it is needed.
// Errors: NotFound "Function not found: ARN".
func (s *Service) Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error) {
	e := s.view.find(project, name)
	if e == nil {
		return hansom.Target{}, s.notFound(project, name, qualifier)
	}
	switch qualifier {
	case "":
		return hansom.Target{Version: e.latest.version, ARN: e.latest.arn, Reserved: e.reserved, Loops: e.loops}, nil
	case hansom.Latest:
		return hansom.Target{Version: e.latest.version, ARN: e.latest.arn + ":" + hansom.Latest, Reserved: e.reserved, Loops: e.loops}, nil
	}
	if a := e.aliases[qualifier]; a != nil {
		v := a.first
		if a.second != nil && s.draw() < a.weight {
			v = a.second
		}
		return hansom.Target{Version: v, ARN: a.arn, Reserved: e.reserved, Loops: e.loops}, nil
	}
	if t := e.versions[qualifier]; t != nil {
		return hansom.Target{Version: t.version, ARN: t.arn, Reserved: e.reserved, Loops: e.loops}, nil
	}
	return hansom.Target{}, s.notFound(project, name, qualifier)
}

// Async is what holds for events of a function by a qualifier, from memory.
func (s *Service) Async(project, name, qualifier string) hansom.AsyncConfig {
	if e := s.view.find(project, name); e != nil {
		if c, ok := e.events[cmp.Or(qualifier, hansom.Latest)]; ok {
			return c
		}
	}
	return hansom.DefaultAsyncConfig()
}

// Route names what the calls of a qualifier go to, from memory: one version, or two, of which the second takes the share weight.
// Errors: NotFound.
func (s *Service) Route(project, name, qualifier string) (first, second *hansom.Version, weight float64, err error) {
	e := s.view.find(project, name)
	switch {
	case isAlias(qualifier) && (e == nil || e.aliases[qualifier] == nil):
		return nil, nil, 0, s.noAlias(project, name, qualifier)
	case e == nil:
	case isAlias(qualifier):
		a := e.aliases[qualifier]
		return a.first, a.second, a.weight, nil
	default:
		first = e.version(qualifier)
	}
	if first == nil {
		err = s.notFound(project, name, qualifier)
	}
	return first, nil, 0, err
}

// reserves is the concurrency that a function takes from its project's; 0 for none and for no function.
func (e *entry) reserves() int64 {
	if e == nil {
		return 0
	}
	return int64(max(e.reserved, 0))
}

// Reserved is the reserved concurrency of all functions of a project together, from memory.
func (s *Service) Reserved(project string) int {
	sum, ok := s.view.reserved.Load(project)
	if !ok {
		return 0
	}
	return int(sum.(*atomic.Int64).Load())
}

// Latest calls f with the $LATEST of every function, from memory.
func (s *Service) Latest(f func(*hansom.Version)) {
	s.view.projects.Range(func(_, functions any) bool {
		functions.(*sync.Map).Range(func(_, e any) bool {
			f(e.(*entry).latest.version)
			return true
		})
		return true
	})
}

// URL finds a function URL by its id, from memory.
func (s *Service) URL(id string) (*hansom.FunctionURL, bool) {
	u, ok := s.view.urls.Load(id)
	if !ok {
		return nil, false
	}
	return u.(*hansom.FunctionURL), true
}

// manyKeys is the number of changed functions from which on reading all of them at once is quicker.
const manyKeys = 50

// changed reads the functions that a change names.
func (s *Service) changed(ctx context.Context, c db.Change) error {
	if len(c.Keys) > manyKeys {
		return s.reload(ctx)
	}
	for _, key := range c.Keys {
		if err := s.refresh(ctx, key, !c.Other); err != nil {
			return err
		}
	}
	return nil
}

// reload reads everything.
func (s *Service) reload(ctx context.Context) error {
	entries, urls, err := s.load(ctx, "", "")
	if err != nil {
		return err
	}
	s.view.projects.Range(func(project, functions any) bool {
		functions.(*sync.Map).Range(func(name, _ any) bool {
			key := project.(string) + "/" + name.(string)
			if entries[key] == nil {
				s.replace(key, nil, nil, false)
			}
			return true
		})
		return true
	})
	for key, e := range entries {
		s.replace(key, e, urls, true)
	}
	return nil
}

// refresh reads one function. What is pending is activated here unless another process has it in hand, which has its package too.
func (s *Service) refresh(ctx context.Context, key string, activate bool) error {
	project, name := noted(key)
	entries, urls, err := s.load(ctx, project, name)
	if err != nil {
		return err
	}
	s.replace(key, entries[key], urls, activate)
	return nil
}

// replace puts e, nil for a function that is gone, in the place of what is there, and retires the revisions that vanish with it.
func (s *Service) replace(key string, e *entry, urls map[string]*hansom.FunctionURL, activate bool) {
	project, name := noted(key)
	old := s.view.find(project, name)
	if change := e.reserves() - old.reserves(); change != 0 {
		sum, _ := s.view.reserved.LoadOrStore(project, new(atomic.Int64))
		sum.(*atomic.Int64).Add(change)
	}
	if e == nil {
		if functions, ok := s.view.projects.Load(project); ok {
			functions.(*sync.Map).Delete(name)
		}
	} else {
		for _, id := range e.urls {
			s.view.urls.Store(id, urls[id])
		}
		functions, ok := s.view.projects.Load(project)
		if !ok {
			functions, _ = s.view.projects.LoadOrStore(project, &sync.Map{})
		}
		functions.(*sync.Map).Store(name, e)
	}
	if e != nil && e.pending && activate {
		s.activateSoon(key)
	}
	if old == nil {
		return
	}
	kept := map[string]bool{}
	if e != nil {
		for _, id := range e.urls {
			kept[id] = true
		}
		for v := range e.all {
			kept[v.Revision] = true
		}
	}
	for _, id := range old.urls {
		if !kept[id] {
			s.view.urls.Delete(id)
		}
	}
	s.retire.RLock()
	defer s.retire.RUnlock()
	for v := range old.all {
		if !kept[v.Revision] {
			for _, f := range s.retire.list {
				f(project, name, v.Revision)
			}
		}
	}
}

// all yields $LATEST and every published version.
func (e *entry) all(yield func(*hansom.Version) bool) {
	if !yield(e.latest.version) {
		return
	}
	for _, t := range e.versions {
		if !yield(t.version) {
			return
		}
	}
}

// load reads the entries of all functions, or of one when name is not "". The keys are those of note.
func (s *Service) load(ctx context.Context, project, name string) (map[string]*entry, map[string]*hansom.FunctionURL, error) {
	where, args := "", []any(nil)
	if name != "" {
		where, args = "WHERE v.project = ? AND v.name = ?", []any{project, name}
	}
	records, err := s.records(ctx, s.db.Read(), where+" ORDER BY v.project, v.name, v.number", args...)
	if err != nil {
		return nil, nil, err
	}
	entries := map[string]*entry{}
	for i := range records {
		r := &records[i]
		key := r.Project + "/" + r.Version.Function
		e := entries[key]
		if e == nil {
			e = &entry{reserved: r.Reserved, loops: r.loops}
			entries[key] = e
		}
		version := r.Version // a copy, so that the rest of the record is not kept
		e.pending = e.pending || r.pending()
		if r.number == 0 {
			e.latest = target{&version, s.arn(r.Project, version.Function, "")}
			continue
		}
		if e.versions == nil {
			e.versions = map[string]*target{}
		}
		e.versions[r.Number] = &target{&version, s.arn(r.Project, version.Function, r.Number)}
	}
	if err := s.loadAliases(ctx, entries, project, name); err != nil {
		return nil, nil, err
	}
	configs, err := s.events.Load(ctx, s.db.Read(), project, name)
	if err != nil {
		return nil, nil, err
	}
	for key, e := range entries {
		e.events = configs[key]
	}
	list, err := s.urls(ctx, s.db.Read(), urlWhere(name), args...)
	if err != nil {
		return nil, nil, err
	}
	urls := map[string]*hansom.FunctionURL{}
	for i := range list {
		u := &list[i]
		if e := entries[u.Project+"/"+u.Function]; e != nil {
			e.urls = append(e.urls, u.ID)
			urls[u.ID] = u
		}
	}
	for key, e := range entries {
		if e.latest.version == nil { // deleted between the two reads
			delete(entries, key)
		}
	}
	return entries, urls, nil
}

func urlWhere(name string) string {
	if name == "" {
		return ""
	}
	return "WHERE project = ? AND name = ?"
}

func (s *Service) loadAliases(ctx context.Context, entries map[string]*entry, project, name string) error {
	where, args := "", []any(nil)
	if name != "" {
		where, args = " WHERE project = ? AND name = ?", []any{project, name}
	}
	rows, err := s.db.Read().QueryContext(ctx, `SELECT project, name, alias, version, weights FROM function_aliases`+where, args...)
	if err != nil {
		return failed("read aliases", err)
	}
	defer rows.Close()
	for rows.Next() {
		var project, name, alias, version, text string
		if err := rows.Scan(&project, &name, &alias, &version, &text); err != nil {
			return failed("read aliases", err)
		}
		var weights map[string]float64
		if err := json.Unmarshal([]byte(text), &weights); err != nil {
			return failed("read aliases", err)
		}
		e := entries[project+"/"+name]
		if e == nil {
			continue
		}
		a := &aliasTarget{arn: s.arn(project, name, alias), first: e.version(version)}
		for other, weight := range weights {
			a.second, a.weight = e.version(other), weight
		}
		if a.first == nil {
			continue // its version was deleted between the reads; the next change says so
		}
		if e.aliases == nil {
			e.aliases = map[string]*aliasTarget{}
		}
		e.aliases[alias] = a
	}
	if err := rows.Err(); err != nil {
		return failed("read aliases", err)
	}
	return nil
}

func (e *entry) version(number string) *hansom.Version {
	if number == hansom.Latest {
		return e.latest.version
	}
	if t := e.versions[number]; t != nil {
		return t.version
	}
	return nil
}
