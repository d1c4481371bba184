package telemetry

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// LogQuery selects lines. Zero values do not restrict.
type LogQuery struct {
	Project      string
	Function     string    // "" for all functions of the project, those that log for the first time while following included
	Since, Until time.Time // Since included, Until not
	Grep         string    // regular expression (RE2) that the message matches
	RequestID    string
	Limit        int  // the newest so many lines; with Follow, of those that are there. 0: all of a function, 10,000 of a project
	Follow       bool // go on with new lines until ctx is done or Logs are closed
}

const (
	maxLimit     = 100_000
	projectLimit = 10_000
	followQueue  = 20_000          // lines that a follower may lag behind
	clockSlack   = 2 * time.Minute // lines of one segment may be out of order by this
	followerSlow = "%d lines left out: they came faster than this reader took them"
)

// Query returns the lines that q selects in the order in which they were logged (several functions are merged by time), written
// ones and those still in memory. Functions that have been deleted are found too. The error, if any, comes last: Invalid for a
// query that cannot be run, else what went wrong while reading.
func (l *Logs) Query(ctx context.Context, q LogQuery) iter.Seq2[hansom.LogEvent, error] {
	return func(yield func(hansom.LogEvent, error) bool) {
		if err := l.query(ctx, q, func(e hansom.LogEvent) bool { return yield(e, nil) }); err != nil {
			yield(hansom.LogEvent{}, err)
		}
	}
}

func (l *Logs) query(ctx context.Context, q LogQuery, yield func(hansom.LogEvent) bool) error {
	const op = "query logs"
	m := matcher{LogQuery: q, since: -1 << 63, until: 1<<63 - 1}
	if q.Grep != "" {
		re, err := regexp.Compile(q.Grep)
		if err != nil {
			return hansom.Errorf(hansom.Invalid, op, "the search pattern is not a regular expression: %w; write \\ before . * + ? ( ) [ ] { } | ^ $ to search for them", err)
		}
		m.grep = re
	}
	if !q.Since.IsZero() {
		m.since = q.Since.UnixNano()
	}
	if !q.Until.IsZero() {
		m.until = q.Until.UnixNano()
	}
	if q.Limit < 0 || q.Limit > maxLimit {
		return hansom.Errorf(hansom.Invalid, op, "the limit of lines must be between 0 and %d", maxLimit)
	}
	if !safeName.MatchString(q.Project) || (q.Function != "" && !safeName.MatchString(q.Function)) {
		return hansom.Errorf(hansom.Invalid, op, "%.80q is not the name of a function", q.Function)
	}
	var f *follower
	if q.Follow {
		f = &follower{ready: make(chan struct{}, 1)}
		defer l.unfollow(f, q)
	}
	sources, err := l.sources(q, f)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if err := l.Sync(ctx); err != nil {
		return err
	}
	more, err := l.history(ctx, sources, &m, yield)
	if err != nil || !more || f == nil {
		return err
	}
	return l.follow(ctx, f, &m, yield)
}

// source is the log of one function up to a logical offset; what comes behind it reaches the follower.
type source struct {
	*stream
	end int64
}

// sources finds the logs that q is about and registers f with them.
func (l *Logs) sources(q LogQuery, f *follower) ([]source, error) {
	var list []*stream
	if q.Function != "" {
		n := name{q.Project, q.Function}
		_, err := os.Stat(filepath.Join(l.dir, q.Project, q.Function))
		if s := l.stream(n, f != nil || err == nil); s != nil { // asking for what is not there should not cost memory
			list = []*stream{s}
		}
	} else {
		if f != nil {
			l.tails.Lock()
			l.tails.m[q.Project] = append(l.tails.m[q.Project], f)
			l.tails.Unlock()
		}
		entries, err := os.ReadDir(filepath.Join(l.dir, q.Project))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				l.stream(name{q.Project, e.Name()}, true)
			}
		}
		list = l.streams(q.Project)
	}
	sources := make([]source, 0, len(list))
	for _, s := range list {
		s.mu.Lock()
		src := source{s, 1<<63 - 1}
		if f != nil {
			src.end = s.appended
			if slices.Contains(s.followers, f) {
				src.end = 0 // made after f was registered: f has all of this start's lines
			} else {
				s.followers = append(s.followers, f)
			}
		}
		s.mu.Unlock()
		sources = append(sources, src)
	}
	return sources, nil
}

func (l *Logs) unfollow(f *follower, q LogQuery) {
	is := func(o *follower) bool { return o == f }
	l.tails.Lock()
	if rest := slices.DeleteFunc(slices.Clone(l.tails.m[q.Project]), is); len(rest) > 0 {
		l.tails.m[q.Project] = rest
	} else {
		delete(l.tails.m, q.Project)
	}
	l.tails.Unlock()
	for _, s := range l.streams(q.Project) {
		s.mu.Lock()
		s.followers = slices.DeleteFunc(s.followers, is)
		s.mu.Unlock()
	}
}

// matcher decides on lines.
type matcher struct {
	LogQuery
	grep         *regexp.Regexp
	since, until int64
}

func (m *matcher) record(r *record) bool {
	return r.time >= m.since && r.time < m.until && (m.RequestID == "" || string(r.request) == m.RequestID) && (m.grep == nil || m.grep.Match(r.message))
}

func (m *matcher) event(e *hansom.LogEvent) bool {
	t := e.Time.UnixNano()
	return t >= m.since && t < m.until && (m.RequestID == "" || e.RequestID == m.RequestID) && (m.grep == nil || m.grep.MatchString(e.Message))
}

// part is a segment as far as a query reads it.
type part struct {
	path string
	n    int64
}

// parts lists what a query has to read of a log, in order.
func (s source) parts(m *matcher) ([]part, error) {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := s.load(); err != nil {
		return nil, err
	}
	var list []part
	for _, seg := range s.segments {
		n := seg.size
		if s.end < seg.base+n {
			n = s.end - seg.base
		}
		late := m.until != 1<<63-1 && seg.first > m.until/1000+clockSlack.Microseconds()
		early := m.since != -1<<63 && seg.last.UnixNano() < m.since-int64(clockSlack)
		if n > 0 && !late && !early {
			list = append(list, part{seg.path, n})
		}
	}
	return list, nil
}

// history yields what is in the files. more is false when the reader wants no more.
func (l *Logs) history(ctx context.Context, sources []source, m *matcher, yield func(hansom.LogEvent) bool) (more bool, err error) {
	if m.Limit == 0 && len(sources) == 1 {
		return sources[0].all(ctx, m, yield)
	}
	if m.Limit == 0 {
		m.Limit = projectLimit
	}
	var newest []hansom.LogEvent
	for _, s := range sources {
		found, err := s.newest(ctx, m)
		if err != nil {
			return false, err
		}
		newest = append(newest, found...)
		if len(sources) > 1 {
			slices.SortStableFunc(newest, func(a, b hansom.LogEvent) int { return a.Time.Compare(b.Time) })
		}
		newest = newest[max(0, len(newest)-m.Limit):]
	}
	for _, e := range newest {
		if !yield(e) {
			return false, nil
		}
	}
	return true, nil
}

// newest reads the last segments first until it has m.Limit lines.
func (s source) newest(ctx context.Context, m *matcher) ([]hansom.LogEvent, error) {
	parts, err := s.parts(m)
	if err != nil {
		return nil, readError(err)
	}
	var found []hansom.LogEvent
	for i := len(parts) - 1; i >= 0 && len(found) < m.Limit; i-- {
		var list []hansom.LogEvent
		want := m.Limit - len(found)
		_, err := readSegment(parts[i].path, parts[i].n, func(r *record) bool {
			if m.record(r) {
				if list = append(list, r.event(s.name)); len(list) >= 2*want+64 {
					list = list[:copy(list, list[len(list)-want:])]
				}
			}
			return ctx.Err() == nil
		})
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, readError(err)
		}
		found = append(list[max(0, len(list)-want):], found...)
	}
	return found, nil
}

// all reads a log from its beginning.
func (s source) all(ctx context.Context, m *matcher, yield func(hansom.LogEvent) bool) (more bool, err error) {
	parts, err := s.parts(m)
	for _, p := range parts {
		more, err := readSegment(p.path, p.n, func(r *record) bool {
			return ctx.Err() == nil && (!m.record(r) || yield(r.event(s.name)))
		})
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil || !more {
			return false, readError(err)
		}
	}
	return err == nil, readError(err)
}

func readError(err error) error {
	if err == nil || hansom.KindOf(err) != hansom.Internal {
		return err
	}
	return hansom.Errorf(hansom.Internal, "read logs", "%w", err)
}

// follower is a queue of new lines for one reader.
type follower struct {
	ready chan struct{}

	mu     sync.Mutex
	events []hansom.LogEvent
	missed int
}

// push never waits: a reader that is too slow loses lines and is told so.
func (f *follower) push(e hansom.LogEvent) {
	f.mu.Lock()
	if len(f.events) < followQueue {
		f.events = append(f.events, e)
	} else {
		f.missed++
	}
	f.mu.Unlock()
	signal(f.ready)
}

func (f *follower) take() (events []hansom.LogEvent, missed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	events, missed = f.events, f.missed
	f.events, f.missed = nil, 0
	return events, missed
}

func (l *Logs) follow(ctx context.Context, f *follower, m *matcher, yield func(hansom.LogEvent) bool) error {
	for {
		ended := false
		select {
		case <-f.ready:
		case <-ctx.Done():
			return nil
		case <-l.done:
			ended = true
		}
		events, missed := f.take()
		for i := range events {
			if m.event(&events[i]) && !yield(events[i]) {
				return nil
			}
		}
		if missed > 0 && !yield(hansom.LogEvent{Time: l.cfg.Now(), Project: m.Project, Function: m.Function, Message: fmt.Sprintf(followerSlow, missed)}) {
			return nil
		}
		if ended {
			return nil
		}
	}
}
