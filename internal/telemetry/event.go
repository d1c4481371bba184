package telemetry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
)

// Position is the place of an event in the order of its group: by time, then by where it is stored. It does not change.
type Position struct {
	Time    int64 // Unix nanoseconds
	Segment int64
	Offset  int64
}

// Compare orders positions.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Time, o.Time), cmp.Compare(p.Segment, o.Segment), cmp.Compare(p.Offset, o.Offset))
}

// EventQuery selects the events of a log group as CloudWatch Logs does. Zero values do not restrict.
type EventQuery struct {
	Project, Group string
	Stream         func(name string) bool // nil: all streams
	Since, Until   time.Time              // Since included, Until not
	Match          func(message []byte) bool
	From           *Position // events behind it, or before it with Backward; that one not included
	Backward       bool      // the newest events instead of the oldest
	Limit          int       // most events; above 0
	Bytes          int       // most bytes of messages, but one event at least; above 0
}

// StoredEvent is an event of a log group.
type StoredEvent struct {
	Position
	ID              string // 56 digits, unique
	Stream, Message string
	Time, Ingested  time.Time
}

// Events returns the events that q selects in the order of time. more tells whether there are others behind the page, or before
// it with Backward. Errors: NotFound when there is no such group.
func (l *Logs) Events(ctx context.Context, q EventQuery) (page []StoredEvent, more bool, err error) {
	v, err := l.snapshot(ctx, q.Project, q.Group)
	if err != nil {
		return nil, false, err
	}
	p := pager{q: q, since: -1 << 63, until: 1<<63 - 1, sign: 1, oldest: v.oldest}
	if !q.Since.IsZero() {
		p.since = q.Since.UnixNano()
	}
	if !q.Until.IsZero() {
		p.until = q.Until.UnixNano()
	}
	if q.Backward {
		p.sign = -1
	}
	if q.From != nil {
		if q.Backward {
			p.until = min(p.until, q.From.Time+1)
		} else {
			p.since = max(p.since, q.From.Time)
		}
	}
	for _, i := range v.order(p.sign) {
		seg := v.segments[i]
		if i < len(v.indexes) {
			if p.misses(&v.indexes[i]) {
				continue
			}
		}
		if _, err := readSegment(seg.path, seg.size, func(r *record) bool { p.add(seg.first, r); return ctx.Err() == nil }); err != nil {
			return nil, false, internal("read events", err)
		}
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
	}
	p.trim()
	if q.Backward {
		slices.Reverse(p.events)
	}
	sum := sha256.Sum256([]byte(q.Project + "/" + q.Group))
	for i := range p.events {
		e := &p.events[i]
		e.ID = fmt.Sprintf("%020d%020d%016d", binary.BigEndian.Uint64(sum[:]), e.Segment, e.Offset)
		e.Time = time.Unix(0, e.Position.Time)
	}
	return p.events, p.end != nil, nil
}

// order lists the segments in the order in which they are read: the last one, which has no index, first, then by their events.
func (v *snapshot) order(sign int) []int {
	list := make([]int, len(v.indexes))
	for i := range list {
		list[i] = i
	}
	slices.SortStableFunc(list, func(a, b int) int {
		if sign < 0 {
			return cmp.Compare(v.indexes[b].Max, v.indexes[a].Max)
		}
		return cmp.Compare(v.indexes[a].Min, v.indexes[b].Min)
	})
	if n := len(v.segments); n > 0 {
		list = append([]int{n - 1}, list...)
	}
	return list
}

// pager collects the first events in the order of sign.
type pager struct {
	q            EventQuery
	since, until int64
	oldest       int64
	sign         int
	names        streamNames
	events       []StoredEvent
	bytes        int
	end          *Position // of the page's last event, once others have been cut off behind it
}

func (p *pager) add(segment int64, r *record) {
	at := Position{r.time, segment, r.at}
	switch {
	case r.time < p.since || r.time >= p.until || r.ingested < p.oldest:
		return
	case p.q.From != nil && at.Compare(*p.q.From)*p.sign <= 0:
		return
	case p.end != nil && at.Compare(*p.end)*p.sign > 0:
		return
	}
	stream := p.names.of(r)
	if p.q.Stream != nil && !p.q.Stream(stream) || p.q.Match != nil && !p.q.Match(r.message) {
		return
	}
	p.events = append(p.events, StoredEvent{Position: at, Stream: stream, Message: string(r.message), Ingested: time.Unix(0, r.ingested)})
	p.bytes += eventSize(r.message)
	if len(p.events) >= 2*p.q.Limit || p.bytes >= 2*p.q.Bytes {
		p.trim()
	}
}

// eventSize is what an event counts for a page and a batch, as CloudWatch Logs has it.
func eventSize[T string | []byte](message T) int { return len(message) + 26 }

// trim cuts off what is too much for a page.
func (p *pager) trim() {
	slices.SortFunc(p.events, func(a, b StoredEvent) int { return a.Compare(b.Position) * p.sign })
	n, bytes := 0, 0
	for n < len(p.events) && n < p.q.Limit {
		size := eventSize(p.events[n].Message)
		if n > 0 && bytes+size > p.q.Bytes {
			break
		}
		n, bytes = n+1, bytes+size
	}
	if n < len(p.events) {
		end := p.events[n-1].Position
		p.end = &end
	}
	clear(p.events[n:])
	p.events, p.bytes = p.events[:n], bytes
}

// misses tells whether none of a segment's events can be on the page.
func (p *pager) misses(x *index) bool {
	if len(x.Streams) == 0 || x.Max < p.since || x.Min >= p.until {
		return true
	}
	if p.end != nil && (p.sign > 0 && x.Min > p.end.Time || p.sign < 0 && x.Max < p.end.Time) {
		return true
	}
	if p.q.Stream == nil {
		return false
	}
	for stream := range x.Streams {
		if p.q.Stream(stream) {
			return false
		}
	}
	return true
}

// InputEvent is an event that a program brings.
type InputEvent struct {
	Time    time.Time
	Message string // 1 MB at most
}

// Put writes events to a log stream, which exists. They are in the files when it returns. Errors: NotFound when there is no such
// group; Throttled; Unavailable when they could not be written.
func (l *Logs) Put(ctx context.Context, project, group, stream string, events []InputEvent) error {
	const op = "put log events"
	n := groupOf(project, group)
	return l.change(ctx, func() error {
		if _, err := l.stat(n); err != nil {
			return err
		}
		s := l.group(n, true)
		now := l.cfg.Now()
		var list []hansom.LogEvent
		size := 0
		for _, in := range events {
			e := hansom.LogEvent{Time: in.Time, Project: n.project, Group: n.other, Function: n.function, Instance: cut(stream, maxField), Message: cut(in.Message, maxMessage)}
			size += recordSize(&e)
			list = append(list, e)
		}
		s.mu.Lock()
		if !s.admit(l, now.UnixNano(), size, "") {
			s.mu.Unlock()
			return hansom.Errorf(hansom.Throttled, op, "Rate exceeded")
		}
		for i := range list {
			s.add(l, &list[i], now)
		}
		s.mu.Unlock()
		if err := l.flushGroup(s); err != nil {
			return hansom.Errorf(hansom.Unavailable, op, "The events could not be written: %w. Try again.", err)
		}
		return nil
	})
}
