package eventbus

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// maxDetailType is the most characters of a detail type.
const maxDetailType = 128

// Entry is an event as it is published.
type Entry struct {
	Bus                string // name or ARN; "" for the default bus
	ID                 string // of the event; "" for a new one
	Source, DetailType string
	Detail             []byte // a JSON object
	Resources          []string
	Time               time.Time // zero for now
	Trace              string    // X-Amzn-Trace-Id; "" for none
	Platform           bool      // it comes from the platform: only such sources may begin with "aws."
}

// Size counts an entry as EventBridge does (user guide, "Calculating PutEvents event entry size"), in bytes.
func (e *Entry) Size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	if !e.Time.IsZero() {
		n += 14
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// Result is what became of an entry: the id of its event, or an error with the code that PutEvents tells: InvalidArgument,
// MalformedDetail, NotAuthorizedForSourceException, AccessDeniedException (another project's bus), or none for what kept it from being taken over.
type Result struct {
	ID  string
	Err error
}

// Event is an event on a bus. It must not be changed.
type Event struct {
	ID       string
	Source   string
	Time     time.Time
	JSON     []byte
	Trace    string
	Replayed bool // from an archive

	key  string // names the event to dispatchers
	hops int
}

// Publish brings events to the targets of the rules that they match, and to archives. An entry has no error when it was taken over for all of
// them: then it is not lost any more. One for a bus that is not there goes nowhere, as with AWS. Errors: ValidationException when the
// entries are larger than MaxSize together.
func (s *Service) Publish(ctx context.Context, project string, entries []Entry) ([]Result, error) {
	size := 0
	for i := range entries {
		size += entries[i].Size()
	}
	if size > MaxSize {
		return nil, invalid("Total size of the entries in the request is over the limit.")
	}
	now := s.cfg.Now()
	results := make([]Result, len(entries))
	r := s.newRound(project, now, results)
	for i := range entries {
		e, err := s.event(project, &entries[i], now)
		bus := DefaultBus
		if err == nil {
			bus, err = s.BusName(project, entries[i].Bus)
		}
		if hansom.KindOf(err) == hansom.NotFound {
			err = fail(hansom.Denied, "AccessDeniedException", "%s is not an event bus of this account and region.", entries[i].Bus)
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i].ID = e.ID
		r.add(i, bus, e)
	}
	r.run(ctx)
	for i := range results {
		if results[i].Err != nil {
			results[i].ID = ""
		}
	}
	return results, nil
}

// event makes an event of an entry.
func (s *Service) event(project string, in *Entry, now time.Time) (*Event, error) {
	bad := func(name, reason string) error {
		return fail(hansom.Invalid, "InvalidArgument", "Parameter %s is not valid. Reason: %s", name, reason)
	}
	detail, ok := compact(in.Detail)
	switch {
	case in.Source == "":
		return nil, bad("Source", "Source is a required argument.")
	case in.DetailType == "":
		return nil, bad("DetailType", "DetailType is a required argument.")
	case len(in.Detail) == 0:
		return nil, bad("Detail", "Detail is a required argument.")
	case utf8.RuneCountInString(in.DetailType) > maxDetailType:
		return nil, bad("DetailType", "DetailType has at most 128 characters.")
	case !in.Platform && strings.HasPrefix(in.Source, "aws."):
		return nil, fail(hansom.Denied, "NotAuthorizedForSourceException", "Not authorized for the source.")
	case !ok:
		return nil, fail(hansom.Invalid, "MalformedDetail", "Detail is malformed.")
	}
	e := &Event{ID: in.ID, Source: in.Source, Time: in.Time, Trace: in.Trace}
	if e.ID == "" {
		e.ID = s.newID()
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	e.key = e.ID
	e.JSON = s.object(project, e, in, detail)
	return e, nil
}

// Forward publishes an event on the bus d.ARN of d.Project: one that a rule of another bus sends on, as it is, or a new one of which the
// payload is the detail. Errors: Invalid for what is no event, and for one that came through too many buses; NotFound.
func (s *Service) Forward(ctx context.Context, d hansom.Delivery) error {
	b, err := s.Bus(d.Project, d.ARN)
	if err != nil {
		return err
	}
	if d.Hops > s.cfg.Hops {
		return hansom.Errorf(hansom.Invalid, "forward event", "the event came through %d event buses before %s, which is the most: the rules of these buses may send it in a circle", d.Hops, b.Name)
	}
	now := s.cfg.Now()
	var e *Event
	if p := d.Event; p != nil {
		e, err = s.event(d.Project, &Entry{Source: p.Source, DetailType: p.DetailType, Resources: p.Resources, Detail: d.Payload, Trace: d.Trace, Platform: true}, now)
	} else {
		e, err = s.read(d.Payload)
	}
	if err != nil {
		return err
	}
	e.Trace, e.hops = d.Trace, d.Hops
	results := make([]Result, 1)
	r := s.newRound(d.Project, now, results)
	r.add(0, b.Name, e)
	r.run(ctx)
	return results[0].Err
}

// read takes an event as it is. The payload belongs to the caller.
func (s *Service) read(payload []byte) (*Event, error) {
	var fields struct {
		ID, Source string
		Time       time.Time
		Replay     string `json:"replay-name"`
		Detail     json.RawMessage
	}
	if err := json.Unmarshal(payload, &fields); err != nil || fields.ID == "" || len(fields.Detail) == 0 {
		return nil, hansom.Errorf(hansom.Invalid, "read event", "what was sent to the event bus is no event: an event is a JSON object with id, source, time and detail")
	}
	e := &Event{ID: fields.ID, Source: fields.Source, Time: fields.Time, JSON: slices.Clone(payload), Replayed: fields.Replay != ""}
	e.key = e.Source + "/" + e.ID // ids of other producers are unique in their source
	if e.Replayed {
		e.key = fields.Replay + "/" + e.key
	}
	return e, nil
}

// Replay sends archived events to the targets of those rules that they match: of all rules of the bus, or of those whose ARNs are listed.
// The events say the name of the replay. It returns when all are taken over. Errors: NotFound when there is no such bus; what kept an
// event from being taken over, after which all may be sent again.
func (s *Service) Replay(ctx context.Context, project, bus, replay string, rules []string, events [][]byte) error {
	b, err := s.Bus(project, bus)
	if err != nil {
		return err
	}
	results := make([]Result, len(events))
	r := s.newRound(project, s.cfg.Now(), results)
	r.only = rules
	for i, text := range events {
		text = append(append([]byte(`{"replay-name":`), encode(replay)...), append([]byte{','}, bytes.TrimPrefix(text, []byte("{"))...)...)
		e, err := s.read(text)
		if err != nil {
			return err
		}
		r.add(i, b.Name, e)
	}
	r.run(ctx)
	for i := range results {
		if results[i].Err != nil {
			return results[i].Err
		}
	}
	return nil
}
