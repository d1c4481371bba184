package event

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hansomcloud/hansom"
)

// What stands around the records of a batch.
const (
	payloadHead = `{"Records":[`
	payloadTail = `]}`
)

// batch is what a worker has in hand.
type batch struct {
	runner  *runner
	mapping *Mapping
	ctx     context.Context // of Run
	polls   context.Context

	messages []hansom.Polled
	size     int             // bytes of the payload
	rest     []hansom.Polled // of what was taken, what comes after the messages
	taken    time.Time       // when the first was; of the rest too
	idle     bool            // nothing came
}

// gather takes messages until the batch is full or its window is over, and ends those that no filter lets through.
func (b *batch) gather() {
	m, s := b.mapping, b.runner.s
	b.messages, b.size, b.idle = nil, len(payloadHead)+len(payloadTail), false
	if rest := b.rest; len(rest) > 0 {
		b.rest = nil
		b.add(rest)
		return
	}
	for wait := minLook; b.runner.obstacle(b.ctx, m) != ""; wait = min(2*wait, maxLook) {
		if sleep(b.polls, wait); b.polls.Err() != nil {
			return
		}
	}
	if b.idle = !b.poll(s.cfg.Wait); b.idle {
		return
	}
	end := b.taken.Add(b.window())
	for len(b.messages) > 0 && len(b.messages) < m.Batch && len(b.rest) == 0 && b.polls.Err() == nil {
		left := time.Until(end)
		if left <= 0 {
			break
		}
		b.poll(left)
	}
}

// window is how long the batch waits for more messages: as long as the mapping says, but so that the first are still hidden when the
// function ends.
func (b *batch) window() time.Duration {
	m := b.mapping
	if m.Window == 0 {
		return 0
	}
	_, visibility, err := b.runner.s.Queues.Queue(m.Source)
	if err != nil {
		return 0
	}
	spare := visibility / 2
	if target, err := b.runner.s.Functions.Resolve(b.ctx, m.Project, m.Function, m.Qualifier); err == nil {
		spare = max(spare, visibility-target.Version.Timeout)
	}
	return min(m.Window, spare)
}

// poll takes messages, and is false when there are none.
func (b *batch) poll(wait time.Duration) bool {
	m, s := b.mapping, b.runner.s
	list, err := s.Source.Poll(b.polls, m.Source, m.ID, m.Batch-len(b.messages), wait)
	if err != nil && b.polls.Err() == nil {
		if hansom.KindOf(err) != hansom.NotFound { // which the next look finds
			s.log.Warn("messages could not be polled; tried again", "mapping", m.ID, "error", err)
		}
		sleep(b.polls, min(wait, minLook))
	}
	if len(list) == 0 {
		return false
	}
	if len(b.messages) == 0 {
		b.taken = time.Now()
	}
	b.runner.count(func(c *Counts) { c.Polled += len(list) })
	b.add(list)
	return true
}

// add puts messages into the batch as long as they fit, and ends those that do not pass.
func (b *batch) add(list []hansom.Polled) {
	m, s := b.mapping, b.runner.s
	var dropped []string
	for i := range list {
		size := len(list[i].Record) + 1
		switch {
		case !passes(m.Filters, list[i].Record):
			dropped = append(dropped, list[i].Handle)
		case len(b.rest) == 0 && len(b.messages) < m.Batch && (len(b.messages) == 0 || b.size+size <= s.cfg.Payload):
			b.messages, b.size = append(b.messages, list[i]), b.size+size
		default:
			b.rest = append(b.rest, list[i])
		}
	}
	b.runner.count(func(c *Counts) { c.Filtered += len(dropped) })
	b.done(dropped)
}

// run invokes the function with the batch and tells the source what became of the messages. What is neither ended nor shown comes back
// when it is hidden no longer.
func (b *batch) run() {
	m, s := b.mapping, b.runner.s
	_, visibility, err := s.Queues.Queue(m.Source)
	if err != nil {
		return // the queue is gone, and its messages with it
	}
	hidden := b.taken.Add(visibility)
	payload, header := b.payload(), trace(b.messages)
	for wait := minPause; ; wait = min(2*wait, maxPause) {
		result, err := s.Invoker.Invoke(context.WithoutCancel(b.ctx), &hansom.Invocation{Project: m.Project, Function: m.Function, Qualifier: m.Qualifier,
			Payload: payload, Trace: header, Source: m.kind()}, nil)
		if err == nil {
			b.settle(failures(m, b.messages, result), hidden)
			result.Release()
			return
		}
		switch kind := hansom.KindOf(err); {
		case kind == hansom.Throttled, kind == hansom.Unavailable, kind == hansom.Conflict:
		case isLoop(err) && b.part(hidden):
			payload, header = b.payload(), ""
			continue
		default:
			s.log.Warn("a function could not be invoked with a batch; its messages come again", "mapping", m.ID, "function", m.FunctionARN, "error", err)
			b.show(b.messages, time.Until(hidden))
			return
		}
		b.runner.slow()
		left := time.Until(hidden)
		if left <= wait {
			b.show(b.messages, left)
			sleep(b.ctx, left) // before others are taken, which would fare no better
			return
		}
		if sleep(b.ctx, wait); b.ctx.Err() != nil {
			return // a stop is no attempt: they are there again after the start
		}
	}
}

// payload is the event for the function.
func (b *batch) payload() []byte {
	payload := make([]byte, 0, b.size)
	payload = append(payload, payloadHead...)
	for i := range b.messages {
		if i > 0 {
			payload = append(payload, ',')
		}
		payload = append(payload, b.messages[i].Record...)
	}
	return append(payload, payloadTail...)
}

// part gives the messages back that may be in a loop, and keeps the others. It is false when none is left; then all are kept.
func (b *batch) part(hidden time.Time) bool {
	var looping, others []hansom.Polled
	groups := map[string]bool{}
	for i := range b.messages {
		x := &b.messages[i]
		if chained(traceOf(x.Record)) || x.Group != "" && groups[x.Group] {
			groups[x.Group] = true
			looping = append(looping, *x)
		} else {
			others = append(others, *x)
		}
	}
	if len(others) == 0 {
		return false
	}
	b.show(looping, time.Until(hidden))
	b.messages = others
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settle ends the messages that went well, and leaves the others hidden for as long as they would be.
func (b *batch) settle(failed []bool, hidden time.Time) {
	var done []string
	var again []hansom.Polled
	groups := map[string]bool{}
	for i := range b.messages {
		x := &b.messages[i]
		if failed[i] || x.Group != "" && groups[x.Group] { // in order: those after a failed one come after it again
			groups[x.Group] = true
			again = append(again, *x)
		} else {
			done = append(done, x.Handle)
		}
	}
	b.runner.count(func(c *Counts) { c.Done, c.Failed = c.Done+len(done), c.Failed+len(again) })
	b.done(done)
	b.show(again, time.Until(hidden))
}

func (b *batch) done(handles []string) {
	if len(handles) == 0 {
		return
	}
	m, s := b.mapping, b.runner.s
	if err := s.Source.Done(context.WithoutCancel(b.ctx), m.Source, handles); err != nil && hansom.KindOf(err) != hansom.NotFound {
		s.log.Warn("messages could not be ended; they come again", "mapping", m.ID, "messages", len(handles), "error", err)
	}
}

func (b *batch) show(list []hansom.Polled, after time.Duration) {
	if len(list) == 0 {
		return
	}
	m, s := b.mapping, b.runner.s
	handles := make([]string, len(list))
	for i := range list {
		handles[i] = list[i].Handle
	}
	if err := s.Source.Show(context.WithoutCancel(b.ctx), m.Source, handles, max(0, after)); err != nil && hansom.KindOf(err) != hansom.NotFound {
		s.log.Warn("messages could not be given back; they come again later", "mapping", m.ID, "messages", len(handles), "error", err)
	}
}

// failures tells which messages of a batch failed (Lambda developer guide, "Reporting batch item failures", success and failure
// conditions): all when the function did, or when its answer cannot be understood or names a message that is not in the batch.
func failures(m *Mapping, messages []hansom.Polled, result hansom.Result) []bool {
	failed := make([]bool, len(messages))
	all := func() []bool {
		for i := range failed {
			failed[i] = true
		}
		return failed
	}
	if result.FunctionError != "" {
		return all()
	}
	if !m.Partial || len(result.Payload) == 0 {
		return failed
	}
	var answer *struct {
		BatchItemFailures []struct {
			ItemIdentifier *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if json.Unmarshal(result.Payload, &answer) != nil {
		return all()
	}
	if answer == nil {
		return failed
	}
	byID := make(map[string]int, len(messages))
	for i := range messages {
		byID[messages[i].ID] = i
	}
	for _, f := range answer.BatchItemFailures {
		if f.ItemIdentifier == nil {
			return all()
		}
		i, ok := byID[*f.ItemIdentifier]
		if !ok {
			return all()
		}
		failed[i] = true
	}
	return failed
}
