package telemetry

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// index tells what is in a segment. That of a segment which is no longer written to is in a file beside it, made when it is first
// asked for; the last segment, a sixteenth of a group at most, is read each time.
type index struct {
	Size     int64           `json:"size"` // of the segment it is about
	Min, Max int64           // Unix nanoseconds of the events
	Streams  map[string]span `json:"streams"`
}

// span is the times in Unix milliseconds of the first and the last event of a stream, and of the last ingestion.
type span [3]int64

func indexPath(segment string) string { return strings.TrimSuffix(segment, ".log") + ".idx" }

// add counts in a record of a stream.
func (x *index) add(stream string, r *record) {
	if len(x.Streams) == 0 {
		x.Min, x.Max = r.time, r.time
	}
	x.Min, x.Max = min(x.Min, r.time), max(x.Max, r.time)
	now := span{r.time / 1e6, r.time / 1e6, r.ingested / 1e6}
	if old, ok := x.Streams[stream]; ok {
		now = old.join(now)
	}
	x.Streams[stream] = now
}

func (a span) join(b span) span { return span{min(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2])} }

// streamNames makes the names of log streams, each only once.
type streamNames struct {
	buf  []byte
	seen map[string]string
}

func (n *streamNames) of(r *record) string {
	n.buf = r.appendStream(n.buf[:0])
	s, ok := n.seen[string(n.buf)]
	if !ok {
		if n.seen == nil {
			n.seen = map[string]string{}
		}
		s = string(n.buf)
		n.seen[s] = s
	}
	return s
}

// scan makes the index of the first size bytes of a segment.
func scan(path string, size int64) (index, error) {
	x := index{Size: size, Streams: map[string]span{}}
	var names streamNames
	_, err := readSegment(path, size, func(r *record) bool {
		x.add(names.of(r), r)
		return true
	})
	return x, err
}

// indexed returns the index of a segment that is not written to any more. s.disk is held.
func (s *segment) indexed() (index, error) {
	var x index
	if text, err := os.ReadFile(indexPath(s.path)); err == nil && json.Unmarshal(text, &x) == nil && x.Size == s.size {
		return x, nil
	}
	x, err := scan(s.path, s.size)
	if err != nil {
		return x, err
	}
	text, err := json.Marshal(x)
	if err != nil {
		return x, err
	}
	return x, replaceFile(indexPath(s.path), text)
}

// snapshot is a group as a reader finds it.
type snapshot struct {
	name     groupID
	segments []segment
	indexes  []index // of all segments but the last
	oldest   int64   // Unix nanoseconds: what was written before is too old
}

// snapshot reads the indexes of a group. Errors: NotFound.
func (l *Logs) snapshot(ctx context.Context, project, group string) (*snapshot, error) {
	const op = "read log group"
	n := groupOf(project, group)
	if err := l.Sync(ctx); err != nil {
		return nil, err
	}
	if !n.valid() {
		return nil, hansom.Errorf(hansom.NotFound, op, noGroup)
	}
	if _, err := os.Stat(filepath.Join(l.dir, n.project, n.folder())); os.IsNotExist(err) {
		return nil, hansom.Errorf(hansom.NotFound, op, noGroup)
	}
	s := l.group(n, true)
	s.disk.Lock()
	defer s.disk.Unlock()
	if err := l.load(s); err != nil {
		return nil, internal(op, err)
	}
	v := &snapshot{name: n, segments: slices.Clone(s.segments), oldest: l.cfg.Now().Add(-s.age).UnixNano()}
	for i := range max(0, len(v.segments)-1) {
		x, err := v.segments[i].indexed()
		if err != nil {
			return nil, internal(op, err)
		}
		v.indexes = append(v.indexes, x)
	}
	return v, nil
}

// Stream is a log stream.
type Stream struct {
	Name          string
	Created       time.Time
	First, Last   time.Time // of its events; zero when it has none
	LastIngestion time.Time
}

const noStream = "The specified log stream does not exist."

// Streams lists the log streams of a group by name: those with events and those made by CreateStream. Errors: NotFound.
func (l *Logs) Streams(ctx context.Context, project, group string) ([]Stream, error) {
	const op = "list log streams"
	v, err := l.snapshot(ctx, project, group)
	if err != nil {
		return nil, err
	}
	all := map[string]span{}
	indexes := v.indexes
	if n := len(v.segments); n > 0 {
		last, err := scan(v.segments[n-1].path, v.segments[n-1].size)
		if err != nil {
			return nil, internal(op, err)
		}
		indexes = append(indexes, last)
	}
	for _, x := range indexes {
		for stream, sp := range x.Streams {
			if old, ok := all[stream]; ok {
				sp = old.join(sp)
			}
			all[stream] = sp
		}
	}
	meta, err := readMetadata(filepath.Join(l.dir, v.name.project, v.name.folder()))
	if err != nil {
		return nil, internal(op, err)
	}
	list := make([]Stream, 0, len(all)+len(meta.Streams))
	for stream, sp := range all {
		s := Stream{Name: stream, Created: time.UnixMilli(sp[0]), First: time.UnixMilli(sp[0]), Last: time.UnixMilli(sp[1]), LastIngestion: time.UnixMilli(sp[2])}
		if made, ok := meta.Streams[stream]; ok {
			s.Created = time.UnixMilli(made)
		}
		list = append(list, s)
	}
	for stream, made := range meta.Streams {
		if _, ok := all[stream]; !ok {
			list = append(list, Stream{Name: stream, Created: time.UnixMilli(made)})
		}
	}
	slices.SortFunc(list, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// HasStream tells whether a group has a log stream. Errors: NotFound when there is no such group.
func (l *Logs) HasStream(ctx context.Context, project, group, stream string) (bool, error) {
	n := groupOf(project, group)
	if n.valid() {
		meta, err := readMetadata(filepath.Join(l.dir, n.project, n.folder()))
		if err != nil {
			return false, internal("find log stream", err)
		}
		if _, ok := meta.Streams[stream]; ok {
			return true, nil
		}
	}
	list, err := l.Streams(ctx, project, group)
	return slices.ContainsFunc(list, func(s Stream) bool { return s.Name == stream }), err
}

// CreateStream makes a log stream without events. Errors: NotFound when there is no such group; Conflict when it has the stream.
func (l *Logs) CreateStream(ctx context.Context, project, group, stream string) error {
	if has, err := l.HasStream(ctx, project, group, stream); err != nil || has {
		if has {
			err = streamExists()
		}
		return err
	}
	return l.amend(ctx, project, group, func(m *metadata) error {
		if _, ok := m.Streams[stream]; ok {
			return streamExists()
		}
		if m.Streams == nil {
			m.Streams = map[string]int64{}
		}
		m.Streams[stream] = l.cfg.Now().UnixMilli()
		return nil
	})
}

func streamExists() error {
	return hansom.Errorf(hansom.Conflict, "create log stream", "The specified log stream already exists")
}

// DeleteStream removes a log stream with its events. Errors: NotFound.
func (l *Logs) DeleteStream(ctx context.Context, project, group, stream string) error {
	const op = "delete log stream"
	if has, err := l.HasStream(ctx, project, group, stream); err != nil || !has {
		if err == nil {
			err = hansom.Errorf(hansom.NotFound, op, noStream)
		}
		return err
	}
	if err := l.change(ctx, func() error {
		l.flush(0)
		s := l.group(groupOf(project, group), true)
		s.disk.Lock()
		defer s.disk.Unlock()
		if err := l.load(s); err != nil {
			return internal(op, err)
		}
		l.release(s) // its file is replaced
		for i := range s.segments {
			if err := eraseStream(&s.segments[i], stream); err != nil {
				return internal(op, err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return l.amend(ctx, project, group, func(m *metadata) error { delete(m.Streams, stream); return nil })
}

// eraseStream blanks the records of a stream in a segment.
func eraseStream(s *segment, stream string) error {
	b, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	var names streamNames
	found := false
	for at := len(s.header); ; {
		r, size, err := parseRecord(string(b[:len(s.header)]), b[at:])
		if err != nil {
			break
		}
		if r.time != erased && names.of(&r) == stream {
			erase(b[at:at+size], &r)
			found = true
		}
		at += size
	}
	if !found {
		return nil
	}
	if err := os.Remove(indexPath(s.path)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := replaceFile(s.path, b); err != nil {
		return err
	}
	return os.Chtimes(s.path, time.Time{}, info.ModTime()) // its age is that of its last line
}
