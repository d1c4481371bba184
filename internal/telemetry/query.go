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
	Group        string    // log group that Function logs to; what it has logged to /aws/lambda/<Function> is found too. Without Function: all of the group
	Since, Until time.Time // Since included, Until not
	Grep         string    // regular expression (RE2) that the message matches
	RequestID    string
	Limit        int  // the newest so many lines; with Follow, of those that are there. 0: all of a function or group, 10,000 of a project
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
	if !isPlain(q.Project) || q.Function != "" && !isPlain(q.Function) {
		return hansom.Errorf(hansom.Invalid, op, "%.80q is not the name of a function", q.Function)
	}
	if q.Group != "" && !isGroup(q.Group) {
		return hansom.Errorf(hansom.Invalid, op, "%.80q is not the name of a log group", q.Group)
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

// source is a log group up to a logical offset; what comes behind it reaches the follower.
type source struct {
	*group
	end int64
}

// sources finds the groups that q is about and registers f with them.
func (l *Logs) sources(q LogQuery, f *follower) ([]source, error) {
	var list []*group
	if q.Function != "" || q.Group != "" {
		var names []groupID
		if q.Function != "" {
			names = append(names, groupID{project: q.Project, function: q.Function})
		}
		if n := groupOf(q.Project, q.Group); q.Group != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
		for _, n := range names {
			_, err := os.Stat(filepath.Join(l.dir, n.project, n.folder()))
			if s := l.group(n, f != nil || err == nil); s != nil { // asking for what is not there should not cost memory
				list = append(list, s)
			}
		}
	} else {
		if f != nil {
			l.tails.Lock()
			l.tails.m[q.Project] = append(l.tails.m[q.Project], f)
			l.tails.Unlock()
		}
		names, err := l.names(q.Project)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			l.group(n, true)
		}
		list = l.groups(q.Project)
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
	for _, s := range l.groups(q.Project) {
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

func (m *matcher) record(r *record, own string) bool {
	return r.time >= m.since && r.time < m.until && (m.RequestID == "" || string(r.request) == m.RequestID) &&
		m.function(string(r.function), own) && (m.grep == nil || m.grep.Match(r.message))
}

func (m *matcher) event(e *hansom.LogEvent) bool {
	t := e.Time.UnixNano()
	return t >= m.since && t < m.until && (m.RequestID == "" || e.RequestID == m.RequestID) &&
		m.function(e.Function, "") && (m.grep == nil || m.grep.MatchString(e.Message))
}

// function decides on the function of a line; own is that of its group. Lines of no function, which PutLogEvents has brought
// into a group that is no function's, are in queries for that group only.
func (m *matcher) function(logged, own string) bool {
	if logged == "" {
		logged = own
	}
	if m.Function != "" {
		return logged == m.Function
	}
	return logged != "" || m.Group != ""
}

// part is a segment as far as a query reads it.
type part struct {
	path   string
	n      int64
	oldest int64 // lines that were written before are too old
}

// read calls f for the lines that m selects until f returns false.
func (s source) read(ctx context.Context, p part, m *matcher, f func(*record) bool) (more bool, err error) {
	more, err = readSegment(p.path, p.n, func(r *record) bool {
		return ctx.Err() == nil && (r.ingested < p.oldest || !m.record(r, s.name.function) || f(r))
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	return more, readError(err)
}

// parts lists what a query has to read of a log, in order.
func (l *Logs) parts(s source, m *matcher) ([]part, error) {
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := l.load(s.group); err != nil {
		return nil, readError(err)
	}
	oldest := l.cfg.Now().Add(-s.age).UnixNano()
	var list []part
	for _, seg := range s.segments {
		n := seg.size
		if s.end < seg.base+n {
			n = s.end - seg.base
		}
		late := m.until != 1<<63-1 && seg.first > m.until/1000+clockSlack.Microseconds()
		early := m.since != -1<<63 && seg.last.UnixNano() < m.since-int64(clockSlack)
		if n > 0 && !late && !early {
			list = append(list, part{seg.path, n, oldest})
		}
	}
	return list, nil
}

// history yields what is in the files. more is false when the reader wants no more.
func (l *Logs) history(ctx context.Context, sources []source, m *matcher, yield func(hansom.LogEvent) bool) (more bool, err error) {
	if m.Limit == 0 && (m.Function != "" || m.Group != "" || len(sources) == 1) {
		return l.all(ctx, sources, m, yield)
	}
	if m.Limit == 0 {
		m.Limit = projectLimit
	}
	var newest []hansom.LogEvent
	for _, s := range sources {
		found, err := l.newest(ctx, s, m)
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
func (l *Logs) newest(ctx context.Context, s source, m *matcher) ([]hansom.LogEvent, error) {
	parts, err := l.parts(s, m)
	if err != nil {
		return nil, err
	}
	var found []hansom.LogEvent
	for i := len(parts) - 1; i >= 0 && len(found) < m.Limit; i-- {
		var list []hansom.LogEvent
		want := m.Limit - len(found)
		_, err := s.read(ctx, parts[i], m, func(r *record) bool {
			if list = append(list, r.event(s.name)); len(list) >= 2*want+64 {
				list = list[:copy(list, list[len(list)-want:])]
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		found = append(list[max(0, len(list)-want):], found...)
	}
	return found, nil
}

// all reads logs from their beginning. Those of a function that has changed its group are merged by time.
func (l *Logs) all(ctx context.Context, sources []source, m *matcher, yield func(hansom.LogEvent) bool) (more bool, err error) {
	var others iter.Seq2[hansom.LogEvent, error]
	for _, s := range sources {
		events := func(yield func(hansom.LogEvent, error) bool) {
			parts, err := l.parts(s, m)
			for _, p := range parts {
				var more bool
				if more, err = s.read(ctx, p, m, func(r *record) bool { return yield(r.event(s.name), nil) }); err != nil || !more {
					break
				}
			}
			if err != nil {
				yield(hansom.LogEvent{}, err)
			}
		}
		if others == nil {
			others = events
		} else {
			others = merge(others, events)
		}
	}
	if others == nil {
		return true, nil
	}
	for e, err := range others {
		if err != nil {
			return false, err
		}
		if !yield(e) {
			return false, nil
		}
	}
	return true, nil
}

// merge yields the events of a and b in the order of time.
func merge(a, b iter.Seq2[hansom.LogEvent, error]) iter.Seq2[hansom.LogEvent, error] {
	return func(yield func(hansom.LogEvent, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		other, otherErr, ok := next()
		for e, err := range a {
			for ok && (otherErr != nil || other.Time.Before(e.Time)) {
				if !yield(other, otherErr) || otherErr != nil {
					return
				}
				other, otherErr, ok = next()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		for ok && yield(other, otherErr) && otherErr == nil {
			other, otherErr, ok = next()
		}
	}
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
