package logs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// Limits of CloudWatch Logs.
const (
	maxPage      = 10_000
	maxPageBytes = 1 << 20
	maxBatch     = 1 << 20
	eventBytes   = 26 // what each event counts beside its message
	maxAge       = 14 * 24 * time.Hour
	maxFuture    = 2 * time.Hour
	maxSpan      = 24 * time.Hour
)

// query reads what GetLogEvents and FilterLogEvents have in common. Both give start and end in milliseconds; whether an event at
// the end is included differs.
func (s *Service) query(c *call, endIncluded int64) (telemetry.EventQuery, error) {
	group, err := s.group(c)
	q := telemetry.EventQuery{Project: c.project, Group: group, Limit: int(c.in.Integer("limit")), Bytes: maxPageBytes}
	if q.Limit == 0 {
		q.Limit = maxPage
	}
	if start, ok := c.in["startTime"].(int64); ok {
		q.Since = clamp(start)
	}
	if end, ok := c.in["endTime"].(int64); ok {
		q.Until = clamp(end).Add(time.Duration(endIncluded) * time.Millisecond)
	}
	return q, err
}

// clamp makes a time of milliseconds that can be told in nanoseconds.
func clamp(ms int64) time.Time { return time.UnixMilli(min(max(ms, 0), 1<<63/1_000_000-2)) }

type outputEvent struct {
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
}

func (s *Service) getLogEvents(c *call) (any, error) {
	q, err := s.query(c, 0)
	if err != nil {
		return nil, err
	}
	stream, token := c.in.Text("logStreamName"), c.in.Text("nextToken")
	q.Stream = func(name string) bool { return name == stream }
	q.Backward = !c.in.Flag("startFromHead")
	if token != "" {
		if q.From, q.Backward, err = readPlace(c, token); err != nil {
			return nil, err
		}
	}
	events, _, err := s.logs.Events(c, q)
	if err != nil {
		return nil, err
	}
	out := struct {
		Events            []outputEvent `json:"events"`
		NextForwardToken  string        `json:"nextForwardToken"`
		NextBackwardToken string        `json:"nextBackwardToken"`
	}{Events: []outputEvent{}}
	for _, e := range events {
		out.Events = append(out.Events, outputEvent{e.Time.UnixMilli(), e.Message, e.Ingested.UnixMilli()})
	}
	if len(events) > 0 {
		out.NextForwardToken, out.NextBackwardToken = place("f", events[len(events)-1].Position), place("b", events[0].Position)
		return out, nil
	}
	if err := s.exist(c, q.Group, stream); err != nil {
		return nil, err
	}
	// At an end the token is the one that was passed in; the other one leads back to the event that it names.
	var at telemetry.Position
	if q.From != nil {
		at = *q.From
	}
	forward, backward := at, at
	if q.From != nil && q.Backward {
		forward.Offset--
	} else {
		backward.Offset++
	}
	out.NextForwardToken, out.NextBackwardToken = place("f", forward), place("b", backward)
	return out, nil
}

// exist refuses streams that a group does not have.
func (s *Service) exist(c *call, group string, streams ...string) error {
	list, err := s.logs.Streams(c, c.project, group)
	if err != nil {
		return err
	}
	for _, name := range streams {
		if !slices.ContainsFunc(list, func(st telemetry.Stream) bool { return st.Name == name }) {
			return hansom.Errorf(hansom.NotFound, c.op, "The specified log stream does not exist.")
		}
	}
	return nil
}

// place words a position as a token: "f/" or "b/", and digits.
func place(direction string, p telemetry.Position) string {
	return fmt.Sprintf("%s/%d.%d.%d", direction, p.Time, p.Segment, p.Offset)
}

func readPlace(c *call, token string) (p *telemetry.Position, backward bool, err error) {
	direction, digits, ok := strings.Cut(token, "/")
	parts := strings.Split(digits, ".")
	if !ok || len(parts) != 3 || direction != "f" && direction != "b" {
		return nil, false, c.invalid("The specified nextToken is invalid.")
	}
	p = &telemetry.Position{}
	for i, to := range []*int64{&p.Time, &p.Segment, &p.Offset} {
		var bad error
		*to, bad = strconv.ParseInt(parts[i], 10, 64)
		err = errors.Join(err, bad)
	}
	if err != nil || p.Time < 0 || p.Time == 1<<63-1 {
		return nil, false, c.invalid("The specified nextToken is invalid.")
	}
	return p, direction == "b", nil
}

type filteredEvent struct {
	LogStreamName string `json:"logStreamName"`
	outputEvent
	EventID string `json:"eventId"`
}

func (s *Service) filterLogEvents(c *call) (any, error) {
	q, err := s.query(c, 1)
	if err != nil {
		return nil, err
	}
	names, prefix := c.in.Texts("logStreamNames"), c.in.Text("logStreamNamePrefix")
	if names != nil && prefix != "" {
		return nil, c.invalid("Only one of logStreamNames and logStreamNamePrefix may be given.")
	}
	if names != nil || prefix != "" {
		q.Stream = func(name string) bool {
			return strings.HasPrefix(name, prefix) && (names == nil || slices.Contains(names, name))
		}
	}
	if q.Match, err = parsePattern(c.in.Text("filterPattern")); err != nil {
		return nil, err
	}
	if token := c.in.Text("nextToken"); token != "" {
		parts, err := readToken(c, token, 1)
		if err != nil {
			return nil, err
		}
		if q.From, _, err = readPlace(c, parts[0]); err != nil {
			return nil, err
		}
	}
	if names != nil {
		if err := s.exist(c, q.Group, names...); err != nil {
			return nil, err
		}
	}
	events, more, err := s.logs.Events(c, q)
	if err != nil {
		return nil, err
	}
	out := struct {
		Events             []filteredEvent `json:"events"`
		SearchedLogStreams []struct{}      `json:"searchedLogStreams"` // as AWS has it since 2020: always empty
		NextToken          string          `json:"nextToken,omitempty"`
	}{[]filteredEvent{}, []struct{}{}, ""}
	for _, e := range events {
		out.Events = append(out.Events, filteredEvent{e.Stream, outputEvent{e.Time.UnixMilli(), e.Message, e.Ingested.UnixMilli()}, e.ID})
	}
	if more {
		out.NextToken = writeToken(place("f", events[len(events)-1].Position))
	}
	return out, nil
}

// rejected says which events of a batch were left out.
type rejected struct {
	TooNew  *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOld  *int `json:"tooOldLogEventEndIndex,omitempty"`
	Expired *int `json:"expiredLogEventEndIndex,omitempty"`
}

func (s *Service) putLogEvents(c *call) (any, error) {
	group, stream := c.in.Text("logGroupName"), c.in.Text("logStreamName")
	list, _ := c.in["logEvents"].([]any)
	var events []telemetry.InputEvent
	size := 0
	for _, x := range list {
		e, ok := x.(model.Params)
		if !ok {
			return nil, c.invalid("1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must not be null")
		}
		in := telemetry.InputEvent{Time: clamp(e.Integer("timestamp")), Message: e.Text("message")}
		if n := len(events); n > 0 && in.Time.Before(events[n-1].Time) {
			return nil, c.invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
		size += len(in.Message) + eventBytes
		events = append(events, in)
	}
	if size > maxBatch {
		return nil, c.invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatch)
	}
	g, err := s.logs.Group(c, c.project, group)
	if err != nil {
		return nil, err
	}
	if has, err := s.logs.HasStream(c, c.project, group, stream); err != nil || !has {
		if err == nil {
			err = hansom.Errorf(hansom.NotFound, c.op, "The specified log stream does not exist.")
		}
		return nil, err
	}
	out := map[string]any{"nextSequenceToken": sequenceToken}
	accepted, rejects := s.acceptable(events, g.Retention)
	if rejects != (rejected{}) {
		out["rejectedLogEventsInfo"] = rejects
	}
	if c.in["entity"] != nil {
		out["rejectedEntityInfo"] = map[string]string{"errorType": "UnsupportedLogGroupType"}
	}
	if n := len(accepted); n == 0 {
		return out, nil
	} else if accepted[n-1].Time.Sub(accepted[0].Time) > maxSpan {
		return nil, c.invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return out, s.logs.Put(c, c.project, group, stream, accepted)
}

// acceptable leaves out the events that are too old, older than the group's retention, or too far in the future.
func (s *Service) acceptable(events []telemetry.InputEvent, retention int) ([]telemetry.InputEvent, rejected) {
	now := s.now()
	before := func(t time.Time) int {
		n, _ := slices.BinarySearchFunc(events, t, func(e telemetry.InputEvent, t time.Time) int { return e.Time.Compare(t) })
		return n
	}
	var r rejected
	first, end := 0, before(now.Add(maxFuture+1))
	if n := before(now.Add(-maxAge)); n > 0 {
		r.TooOld, first = &n, n
	}
	if retention > 0 {
		if n := before(now.AddDate(0, 0, -retention)); n > first {
			r.Expired, first = &n, n
		}
	}
	if end < len(events) {
		r.TooNew = &end
	}
	return events[first:max(first, end)], r
}
