package event

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/lanes"
)

// How deliveries are retried: with EventBridge's 185 attempts in 24 hours ("Event retry policy and using dead-letter queues") in mind.
const (
	firstBackOff = time.Second // after the first attempt; it doubles
	maxBackOff   = 10 * time.Minute
	maxMessage   = 1 << 10 // bytes of ERROR_MESSAGE
)

// Ends of a dispatch that was retried, in EventBridge's words.
const (
	exhausted = "MaximumRetryAttempts"
	aged      = "MaximumEventAgeInSeconds"
)

// parcel is a dispatch on its way. It is stored as JSON, under the names of its fields and without the payload; progress again after
// each attempt.
type parcel struct {
	hansom.Dispatch
	progress
	first time.Time // when it was dispatched
}

// progress is what is kept of a parcel between attempts.
type progress struct {
	Attempts int
	Dead     map[string]hansom.Attribute `json:",omitempty"` // of the dead letter that it has become
	Tries    int                         `json:",omitempty"` // to bring that to its queue
}

// Dispatch delivers, or sees to it that it is tried again: when it returns nil, the event is with its target or its dead-letter queue, was
// given up, or is stored and will be tried, also after a crash. Only what goes to an API destination is stored without a first attempt.
// What cannot be delivered (NotFound, Denied, Invalid, TooLarge, Unsupported) is given up at once: with a dead-letter queue it goes
// there, else it is dropped with a line in the log. Of the deliveries that went well at once, the ids of the latest are known until a
// restart; those that were stored are known after it too. Errors: TooLarge, Unavailable when it cannot be stored, Canceled.
func (s *Service) Dispatch(ctx context.Context, d hansom.Dispatch) error {
	p := &parcel{Dispatch: d, first: s.now()}
	queue := laneOf(d.Lane)
	if d.ID != "" && (s.recent.has(p.first, queue, d.ID) || s.Messages.Seen(queue, d.ID)) {
		return nil
	}
	e := backlog.Entry{ID: s.newID(), Dedup: d.ID, Sent: p.first, Body: d.Payload}
	if !isEndpoint(d.ARN) {
		again := s.step(ctx, p)
		if again == nil {
			s.recent.add(p.first, queue, d.ID)
			return nil
		}
		e.Delay = again.After
	}
	p.Payload = nil
	meta, err := json.Marshal(p)
	if err != nil {
		return failed("dispatch event", err)
	}
	e.Meta = string(meta)
	return s.lanes.Put(ctx, queue, e)
}

const lanePrefix = "deliver/"

// laneOf is the queue of a lane.
func laneOf(lane string) string {
	if len(lanePrefix)+len(lane) > backlog.MaxName {
		sum := sha256.Sum256([]byte(lane))
		lane = hex.EncodeToString(sum[:])
	}
	return lanePrefix + lane
}

// Deliveries counts the events that are stored for their targets: how many wait for their turn, and how many are under way or wait for
// another attempt.
func (s *Service) Deliveries() (waiting, taken int) {
	s.lanes.Each(func(_ string, w, t int) { waiting, taken = waiting+w, taken+t })
	return waiting, taken
}

// work takes a stored parcel one step on.
func (s *Service) work(ctx context.Context, _ string, m *backlog.Message) (*lanes.Again, error) {
	p := &parcel{first: m.Sent}
	err := json.Unmarshal([]byte(m.Meta), p)
	if err == nil && m.Note != "" {
		err = json.Unmarshal([]byte(m.Note), &p.progress)
	}
	if err != nil {
		return nil, failed("read delivery", err)
	}
	p.Payload = m.Body
	return s.step(ctx, p), nil
}

// step tries to deliver a parcel, or the dead letter that it has become. nil means that it has ended.
func (s *Service) step(ctx context.Context, p *parcel) *lanes.Again {
	var wait time.Duration
	again := false
	if p.Dead == nil {
		wait, again = s.attempt(ctx, p)
	}
	if p.Dead != nil {
		wait, again = s.bury(ctx, p)
	}
	if !again {
		return nil
	}
	note, _ := json.Marshal(p.progress) // strings and numbers: it cannot fail
	return &lanes.Again{After: wait, Note: string(note)}
}

// attempt tries to deliver a parcel. It comes again after wait, or has ended, with Dead set when it goes to a queue.
func (s *Service) attempt(ctx context.Context, p *parcel) (wait time.Duration, again bool) {
	age := s.now().Sub(p.first)
	if age > p.MaxAge { // nobody was there to try
		s.giveUp(p, errors.New("the event was too old when its turn came"), aged)
		return 0, false
	}
	err := s.Deliver(ctx, p.Delivery)
	switch {
	case err == nil:
		return 0, false
	case ctx.Err() != nil: // it has not been an attempt
		return 0, true
	}
	p.Attempts++
	wait = s.jitter(min(firstBackOff<<min(p.Attempts-1, 16), maxBackOff))
	if e := (*hansom.Error)(nil); errors.As(err, &e) {
		wait = max(wait, e.After)
	}
	switch {
	case permanent(err):
		s.giveUp(p, err, "")
	case p.Attempts > p.Retries:
		s.giveUp(p, err, exhausted)
	case age+wait > p.MaxAge:
		s.giveUp(p, err, aged)
	default:
		return wait, true
	}
	return 0, false
}

// permanent tells of an error of Deliver whether another attempt would end the same way.
func permanent(err error) bool {
	switch hansom.KindOf(err) {
	case hansom.NotFound, hansom.Denied, hansom.Invalid, hansom.TooLarge, hansom.Unsupported:
		return true
	}
	return false
}

// giveUp makes a dead letter of a parcel, where there is a queue for it. condition says which retries are over; "" for none.
func (s *Service) giveUp(p *parcel, err error, condition string) {
	s.log.Warn("an event could not be delivered", "project", p.Project, "target", p.ARN, "event", p.ID, "attempts", p.Attempts, "error", err, "deadLetters", p.DeadLetter)
	if !p.Quiet {
		s.announce.Tell(hansom.Announcement{Project: p.Project, Type: "Delivery Failed", Resources: []string{p.ARN}, Trace: p.Trace, Detail: map[string]any{
			"target": p.ARN, "event": p.ID, "attempts": p.Attempts, "error": cut(err.Error()), "deadLetterQueue": p.DeadLetter}})
	}
	if p.DeadLetter == "" {
		return
	}
	text := func(s string) hansom.Attribute { return hansom.Attribute{Type: "String", Value: s} }
	p.Dead = map[string]hansom.Attribute{
		"ERROR_CODE": text(errorCode(p.ARN, err)), "ERROR_MESSAGE": text(cut(err.Error())), "RETRY_ATTEMPTS": text(strconv.Itoa(max(p.Attempts-1, 0))),
	}
	if condition != "" {
		p.Dead["EXHAUSTED_RETRY_CONDITION"] = text(condition)
	}
	for name, a := range p.About {
		p.Dead[name] = a
	}
}

// errorCode is EventBridge's for an error ("Using dead-letter queues to process undelivered events").
func errorCode(target string, err error) string {
	kind := hansom.KindOf(err)
	switch {
	case kind == hansom.NotFound:
		return "NO_RESOURCE"
	case kind == hansom.Denied:
		return "NO_PERMISSIONS"
	case isEndpoint(target):
		return "SDK_CLIENT_ERROR"
	case kind == hansom.Invalid, kind == hansom.TooLarge, kind == hansom.Unsupported:
		return "INVALID_PARAMETER"
	case kind == hansom.Throttled:
		return "THROTTLING"
	case kind == hansom.Timeout:
		return "TIMEOUT"
	}
	return "INTERNAL_ERROR"
}

func cut(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.ToValidUTF8(cmp.Or(s, "?"), string(utf8.RuneError))
}

// bury brings a dead letter to its queue, for as long as it takes.
func (s *Service) bury(ctx context.Context, p *parcel) (wait time.Duration, again bool) {
	err := s.Deliver(ctx, hansom.Delivery{Project: p.Project, ARN: p.DeadLetter, Payload: p.Payload, Attributes: p.Dead, Trace: p.Trace})
	switch {
	case err == nil:
		return 0, false
	case permanent(err):
		s.log.Warn("a dead letter was dropped", "project", p.Project, "target", p.ARN, "event", p.ID, "deadLetters", p.DeadLetter, "error", err)
		return 0, false
	}
	wait = s.jitter(min(firstBackOff<<min(p.Tries, 16), maxBackOff))
	p.Tries++
	return wait, true
}

// recent are the ids of deliveries that went well at once.
type recent struct {
	mu         sync.Mutex
	young, old map[[16]byte]time.Time // until when they count
}

const (
	dedupTime = 5 * time.Minute
	maxRecent = 1 << 16 // in each of the two
)

func recentKey(queue, id string) [16]byte {
	sum := sha256.Sum256([]byte(queue + "\x00" + id))
	return [16]byte(sum[:])
}

func (r *recent) has(now time.Time, queue, id string) bool {
	key := recentKey(queue, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.young[key]) || now.Before(r.old[key])
}

func (r *recent) add(now time.Time, queue, id string) {
	if id == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young == nil || len(r.young) >= maxRecent {
		r.young, r.old = map[[16]byte]time.Time{}, r.young
	}
	r.young[recentKey(queue, id)] = now.Add(dedupTime)
}
