package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// SendInput is a message to be sent.
type SendInput struct {
	Body         string
	Delay        *int64               // seconds; nil means the queue's
	Attributes   map[string]Attribute // at most 10
	System       map[string]Attribute // AWSTraceHeader
	Group, Dedup string
	Sender       string // SenderId
	Trace        string // AWSTraceHeader of a message without one in System
}

// Sent says what became of a message. The digests are "" where the message has no such attributes.
type Sent struct {
	ID, Body, Attributes, System string // the message's id, and the MD5 of its parts
	Sequence                     string // of a message of a FIFO queue
	Err                          error  // it was not accepted, and the rest is empty
}

// SendMessage accepts a message: it survives a crash when this returns. Errors: QueueDoesNotExist, InvalidMessageContents,
// InvalidParameterValueException, MissingRequiredParameterException; Unavailable.
func (s *Service) SendMessage(ctx context.Context, project, name string, in SendInput) (Sent, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return Sent{}, err
	}
	list, err := s.send(ctx, q, []SendInput{in})
	if err != nil {
		return Sent{}, err
	}
	return list[0], list[0].Err
}

// SendBatch accepts up to MaxBatch messages, or some of them: Sent.Err tells. Errors of the whole: QueueDoesNotExist, BatchRequestTooLong,
// and what a FIFO queue needs; Unavailable.
func (s *Service) SendBatch(ctx context.Context, project, name string, in []SendInput) ([]Sent, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	total := 0
	for i := range in {
		total += in[i].size()
	}
	if total > MaxSize {
		return nil, fail(hansom.Invalid, "BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", MaxSize, total)
	}
	for i := range in {
		if err := q.checkIDs(&in[i]); err != nil {
			return nil, err
		}
	}
	return s.send(ctx, q, in)
}

func (s *Service) send(ctx context.Context, q *Queue, in []SendInput) ([]Sent, error) {
	out := make([]Sent, len(in))
	entries := make([]backlog.Entry, 0, len(in))
	of := make([]int, 0, len(in))
	for i := range in {
		m := &in[i]
		if out[i].Err = q.check(m); out[i].Err != nil {
			continue
		}
		out[i] = Sent{Body: md5hex(m.Body), Attributes: Digest(m.Attributes), System: Digest(m.System)}
		entries, of = append(entries, s.entry(q, m)), append(of, i)
	}
	if len(entries) == 0 {
		return out, nil
	}
	stored, err := s.backlog.Put(ctx, q.log, entries...)
	if err != nil && (len(entries) == 1 || len(stored) == 0) {
		return nil, err
	}
	for n, i := range of {
		switch {
		case stored[n].Seq == 0:
			out[i] = Sent{Err: err}
		case q.fifo:
			out[i].ID, out[i].Sequence = stored[n].ID, sequence(stored[n].Seq)
		default:
			out[i].ID = stored[n].ID
		}
	}
	return out, nil
}

// entry is a message as the backlog keeps it.
func (s *Service) entry(q *Queue, m *SendInput) backlog.Entry {
	e := envelope{Sender: m.Sender, Trace: m.System[traceHeader].Text, Attributes: m.Attributes}
	if e.Trace == "" && len(m.Trace) <= maxTrace && printable(m.Trace) {
		e.Trace = m.Trace
	}
	x := backlog.Entry{ID: s.newID(), Delay: q.delay}
	if m.Delay != nil {
		x.Delay = time.Duration(*m.Delay) * time.Second
	}
	if q.fifo {
		x.Group, x.Dedup = m.Group, m.Dedup
		if x.Dedup == "" {
			sum := sha256.Sum256([]byte(m.Body))
			x.Dedup = hex.EncodeToString(sum[:])
		}
		if q.perGroup {
			e.Dedup, x.Dedup = x.Dedup, m.Group+"\n"+x.Dedup
		}
	} else {
		e.Group = m.Group
	}
	x.Body = e.wrap(m.Body)
	return x
}

const (
	traceHeader = "AWSTraceHeader"
	maxTrace    = 1024 // bytes of one that nobody checks
)

// size is what counts of a message, in bytes: the body, and names, types and values of its attributes.
func (m *SendInput) size() int {
	n := len(m.Body)
	for name, a := range m.Attributes {
		n += len(name) + len(a.Type) + len(a.Text) + len(a.Bytes)
	}
	return n
}

var (
	idPattern        = regexp.MustCompile("^[A-Za-z0-9!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]{1,128}$")
	attributePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,256}$`)
	typePattern      = regexp.MustCompile(`^(String|Number|Binary)(\..*)?$`)
)

// checkIDs holds group and deduplication id to what the kind of queue asks for.
func (q *Queue) checkIDs(m *SendInput) error {
	switch {
	case q.fifo && m.Group == "":
		return missing("MessageGroupId")
	case m.Group != "" && !idPattern.MatchString(m.Group):
		return invalid("Value %s for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.", m.Group)
	case !q.fifo && m.Dedup != "":
		return wrongKind("MessageDeduplicationId", m.Dedup)
	case q.fifo && m.Dedup == "" && !q.contentDedup:
		return invalid("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	case m.Dedup != "" && !idPattern.MatchString(m.Dedup):
		return invalid("Value %s for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length.", m.Dedup)
	}
	return nil
}

func wrongKind(parameter, value string) error {
	return invalid("Value %s for parameter %s is invalid. Reason: The request include parameter that is not valid for this queue type.", value, parameter)
}

func (q *Queue) check(m *SendInput) error {
	if m.Body == "" {
		return missing("MessageBody")
	}
	if err := q.checkIDs(m); err != nil {
		return err
	}
	if d := m.Delay; d != nil {
		switch {
		case q.fifo && *d != 0:
			return wrongKind("DelaySeconds", strconv.FormatInt(*d, 10))
		case *d < 0 || *d > maxDelay:
			return invalid("Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= %d.", *d, maxDelay)
		}
	}
	if err := checkAttributes(m.Attributes); err != nil {
		return err
	}
	for name, a := range m.System {
		switch {
		case name != traceHeader:
			return invalid("Message system attribute name '%s' is invalid: %s is the only one that can be sent.", name, traceHeader)
		case a.Type != "String" || a.Text == "":
			return invalid("Message system attribute '%s' must contain a non-empty value of type 'String'.", name)
		}
	}
	if m.size() > q.size {
		return invalid("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.size)
	}
	if !printable(m.Body) {
		return badContents()
	}
	return nil
}

func badContents() error {
	return fail(hansom.Invalid, "InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF")
}

// printable says that a text has only the characters that XML 1.0 has.
func printable(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, barred) }

func barred(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// cleaned is s with U+FFFD in place of what is not printable.
func cleaned(s string) string {
	return strings.Map(func(r rune) rune {
		if barred(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

func checkAttributes(attributes map[string]Attribute) error {
	if len(attributes) > 10 {
		return invalid("Number of message attributes [%d] exceeds the allowed maximum [10].", len(attributes))
	}
	for name, a := range attributes {
		lower := strings.ToLower(name)
		switch {
		case !attributePattern.MatchString(name) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, ".."):
			return invalid("Message (user) attribute name '%s' is invalid: it has 1 to 256 letters, digits, underscores, hyphens and periods, and periods neither at its ends nor side by side.", name)
		case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
			return invalid("Message (user) attribute name '%s' is invalid: names that begin with AWS. or Amazon. are reserved.", name)
		case a.Type == "":
			return invalid("The message attribute '%s' must contain a non-empty message attribute type.", name)
		case !typePattern.MatchString(a.Type) || len(a.Type) > 256:
			return invalid("The message attribute '%s' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.", name)
		case a.binary() && len(a.Bytes) == 0, !a.binary() && a.Text == "":
			return invalid("Message (user) attribute '%s' must contain a non-empty value of type '%s'.", name, a.Type)
		case a.binary() && a.Text != "", !a.binary() && len(a.Bytes) > 0:
			return invalid("Message (user) attribute '%s' has multiple values.", name)
		case strings.HasPrefix(a.Type, "Number"):
			if n, err := strconv.ParseFloat(a.Text, 64); err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
				return invalid("Can't cast the value of message (user) attribute '%s' to a number.", name)
			}
		case !printable(a.Text):
			return badContents()
		}
	}
	return nil
}
