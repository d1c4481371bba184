package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

// LogsConfig of the function logs.
type LogsConfig struct {
	FunctionSize int64         // bytes kept of each log group; the oldest go first
	Age          time.Duration // lines older than this go, unless the group has a retention of its own
	Flush        time.Duration // a line is in a file at most this long after Append
	Rate, Burst  int64         // bytes per second that may be logged to a group, and how many at once
	Buffer       int64         // bytes of all functions that wait to be written, before heavy loggers lose lines
	Now          func() time.Time
}

// DefaultLogsConfig holds the defaults.
func DefaultLogsConfig() LogsConfig {
	return LogsConfig{
		FunctionSize: 64 << 20, Age: 14 * 24 * time.Hour, Flush: 200 * time.Millisecond,
		Rate: 16 << 20, Burst: 32 << 20, Buffer: 64 << 20, Now: time.Now,
	}
}

const (
	groupBuffer     = 8 << 20   // bytes of one group that may wait to be written
	fairBuffer      = 64 << 10  // bytes that a group may have waiting even when the buffer of all is full
	flushAtOnce     = 512 << 10 // bytes of one group that are written without waiting
	platformReserve = 1 << 20   // bytes beyond the rate for START, END and REPORT lines
	openFiles       = 64
	segmentsEach    = 16 // segments that make up FunctionSize
)

// Logs stores the lines that functions log, in files of their own for each log group, so that none displaces another's.
//
// Append puts lines into memory; one goroutine writes them. What was appended less than LogsConfig.Flush before a kill -9, or not
// yet on the platter in a power cut, may be lost. Close, Sync and Query write all that was appended before.
type Logs struct {
	cfg    LogsConfig
	dir    string
	logger *slog.Logger

	seed    maphash.Seed
	stripes [64]stripe
	tails   struct {
		sync.Mutex
		m map[string][]*follower // followers of whole projects
	}

	pending atomic.Int64 // bytes waiting, in steps of fairBuffer
	dropped atomic.Int64
	buffers sync.Pool // of *[]byte
	queue   struct {
		sync.Mutex
		list []*group // those with something to write
	}
	wake, kick chan struct{}
	jobs       chan job
	stop, done chan struct{}
	closed     atomic.Bool
	closing    sync.Once

	open []*group // those with an open file; the writer's own
}

type stripe struct {
	sync.RWMutex
	m map[groupID]*group
}

// job is work for the goroutine that writes.
type job struct {
	f    func()
	done chan struct{}
}

// group is one log group.
type group struct {
	name groupID
	dir  string

	mu        sync.Mutex
	buf       *[]byte         // records not taken by the writer yet; nil when there are none
	appended  int64           // bytes of records appended since the start: the logical offset behind buf
	counted   int64           // of buf, in Logs.pending
	tokens    float64         // bytes that may be logged now
	refilled  int64           // Unix nanoseconds
	dropped   int             // lines not admitted since the last flush
	noted     hansom.LogEvent // whose lines they were: the line that counts them goes to the same log stream
	lost      int             // lines of flushes that failed
	queued    bool
	gone      bool // another takes its place
	followers []*follower

	disk     sync.Mutex
	loaded   bool
	segments []segment     // ascending
	age      time.Duration // lines older than this go

	// The writer's own.
	file    *os.File // the last segment's
	used    int64    // when file was last written to
	restart bool     // begin a new segment: the last write failed
}

// segment is a file of records. base is the logical offset of its first record, negative for those of an earlier start.
type segment struct {
	path       string
	header     string // the format
	base, size int64  // size is that of the records, without the file's header
	first      int64  // Unix microseconds at which its first record was written; unique in the group
	last       time.Time
}

// NewLogs opens the logs in dir, which is made when it is not there. Nothing is read before it is asked for.
func NewLogs(cfg LogsConfig, dir string, logger *slog.Logger) (*Logs, error) {
	if cfg.FunctionSize < 1<<20 || cfg.Age <= 0 || cfg.Flush <= 0 || cfg.Rate < 1 || cfg.Burst < 2*maxRecord || cfg.Buffer < 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open logs", "the log settings must be: at least 1 MB for each function, an age and a flush interval above 0, a rate above 0 and a burst of at least %d bytes", 2*maxRecord)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, "open logs", "%w", err)
	}
	l := &Logs{
		cfg: cfg, dir: dir, logger: logger.With("component", "logs"), seed: maphash.MakeSeed(),
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), jobs: make(chan job),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	l.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	l.tails.m = map[string][]*follower{}
	for i := range l.stripes {
		l.stripes[i].m = map[groupID]*group{}
	}
	go l.run()
	return l, nil
}

// Append adds a line. It does no input or output. Messages are cut at 256 KB. A function that logs faster than
// LogsConfig.Rate, or faster than the disk takes it, loses lines; a line in its log says how many. After Close it does nothing.
func (l *Logs) Append(e hansom.LogEvent) {
	if l.closed.Load() {
		return
	}
	now := l.cfg.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	fit(&e)
	size := recordSize(&e) // a function's own group does not repeat its name: a little less is written
	s := l.lock(destination(&e))
	if s == nil {
		return // not a name that any function or group can have
	}
	waiting := 0
	if s.admit(l, e.Time.UnixNano(), size, e.Message) {
		s.add(l, &e, now)
		waiting = len(*s.buf)
	} else {
		s.dropped++
		s.noted = e
		l.dropped.Add(1)
	}
	queued := s.queued
	s.queued = true
	s.mu.Unlock()
	if !queued {
		l.queue.Lock()
		l.queue.list = append(l.queue.list, s)
		l.queue.Unlock()
		signal(l.wake)
	}
	if waiting >= flushAtOnce {
		signal(l.kick)
	}
}

// lock returns a log group, made when it is not there, with s.mu held; nil for what cannot be a name.
func (l *Logs) lock(n groupID) *group {
	for {
		s := l.group(n, true)
		if s == nil {
			return nil
		}
		s.mu.Lock()
		if !s.gone {
			return s
		}
		s.mu.Unlock()
	}
}

// forget drops a group from memory, unless something waits to be written or somebody follows it. s.mu is not held.
func (l *Logs) forget(s *group) {
	st := l.stripe(s.name)
	st.Lock()
	defer st.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf == nil && len(s.followers) == 0 && st.m[s.name] == s {
		s.gone = true
		delete(st.m, s.name)
	}
}

// admit tells whether a record may be added. s.mu is held.
func (s *group) admit(l *Logs, now int64, size int, message string) bool {
	if now > s.refilled {
		s.tokens = min(float64(l.cfg.Burst), s.tokens+float64(now-s.refilled)*float64(l.cfg.Rate)/1e9)
		s.refilled = now
	}
	reserve := 0.0
	if isPlatform(message) {
		reserve = platformReserve
	}
	if s.tokens+reserve < float64(size) {
		return false
	}
	if s.buf != nil {
		n := int64(len(*s.buf) + size)
		if n > groupBuffer || (n > fairBuffer && l.pending.Load() >= l.cfg.Buffer) {
			return false
		}
	}
	s.tokens -= float64(size)
	return true
}

// isPlatform tells the lines that frame an invocation. They have a reserve, so that a function that logs too much still has
// them; one that forges them uses up its own reserve.
func isPlatform(message string) bool {
	return strings.HasPrefix(message, "START RequestId: ") || strings.HasPrefix(message, "END RequestId: ") || strings.HasPrefix(message, "REPORT RequestId: ") ||
		strings.HasPrefix(message, `{"time":"`) && strings.Contains(message[:min(len(message), 64)], `","type":"platform.`)
}

// add puts e into the buffer and hands it to followers. s.mu is held.
func (s *group) add(l *Logs, e *hansom.LogEvent, ingested time.Time) {
	if s.buf == nil {
		s.buf = l.buffers.Get().(*[]byte)
	}
	before := len(*s.buf)
	stored := *e
	if e.Function == s.name.function {
		stored.Function = ""
	}
	*s.buf = appendRecord(*s.buf, &stored, ingested.UnixNano())
	s.appended += int64(len(*s.buf) - before)
	if n := int64(len(*s.buf)); n >= s.counted+fairBuffer {
		l.pending.Add(n - s.counted)
		s.counted = n
	}
	for _, f := range s.followers {
		f.push(*e)
	}
}

func (l *Logs) stripe(n groupID) *stripe {
	return &l.stripes[maphash.String(l.seed, cmp.Or(n.function, n.other))%uint64(len(l.stripes))]
}

// group finds a log group. With make it is made in memory when it is not there; it is nil for what cannot be a name.
func (l *Logs) group(n groupID, make bool) *group {
	st := l.stripe(n)
	st.RLock()
	s := st.m[n]
	st.RUnlock()
	if s != nil || !make || !n.valid() {
		return s
	}
	st.Lock()
	defer st.Unlock()
	if s := st.m[n]; s != nil {
		return s
	}
	s = &group{name: n, dir: filepath.Join(l.dir, n.project, n.folder()), tokens: float64(l.cfg.Burst)}
	// Whoever follows the project follows its new groups: the list is read while the stripe is locked, so that a
	// follower that registers now either is in it or finds s.
	l.tails.Lock()
	s.followers = append(s.followers, l.tails.m[n.project]...)
	l.tails.Unlock()
	st.m[n] = s
	return s
}

// groups lists the log groups in memory of a project.
func (l *Logs) groups(project string) []*group {
	var list []*group
	for i := range l.stripes {
		st := &l.stripes[i]
		st.RLock()
		for n, s := range st.m {
			if n.project == project {
				list = append(list, s)
			}
		}
		st.RUnlock()
	}
	return list
}

// Dropped is how many lines were dropped since the start.
func (l *Logs) Dropped() int64 { return l.dropped.Load() }

// Sync writes all that was appended before to files.
func (l *Logs) Sync(ctx context.Context) error {
	if err := l.do(ctx, func() { l.flush(0) }); err != errClosed {
		return err
	}
	return nil // Close has written all
}

var errClosed = hansom.Errorf(hansom.Unavailable, "logs", "the server is stopping; try again")

// do runs f on the goroutine that writes, which alone changes files. Once begun it is waited for.
func (l *Logs) do(ctx context.Context, f func()) error {
	j := job{f, make(chan struct{})}
	select {
	case l.jobs <- j:
	case <-l.done:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-j.done
	return nil
}

// Close writes all that was appended, ends followers and closes files.
func (l *Logs) Close() error {
	l.closing.Do(func() {
		l.closed.Store(true)
		close(l.stop)
	})
	<-l.done
	return nil
}

// note adds a line of the platform's own. s.mu is held.
func (s *group) note(l *Logs, message string) {
	e := s.noted
	e.Time, e.Project, e.Group, e.RequestID, e.Message = l.cfg.Now(), s.name.project, s.name.other, "", message
	e.Function = cmp.Or(e.Function, s.name.function)
	s.add(l, &e, e.Time)
}

// droppedLine is the line that stands for lines that were dropped.
func droppedLine(n int) string {
	if n == 1 {
		return "1 line dropped: the function logs faster than it is allowed to"
	}
	return fmt.Sprintf("%d lines dropped: the function logs faster than it is allowed to", n)
}

// lostLine is the line that stands for lines that were admitted but could not be written.
func lostLine(n int) string {
	if n == 1 {
		return "1 line lost: it could not be written to the log's files"
	}
	return fmt.Sprintf("%d lines lost: they could not be written to the log's files", n)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
