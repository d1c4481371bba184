package queue

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// Attribute is a message attribute.
type Attribute struct {
	Type  string `json:"t"` // String, Number or Binary, and what may follow a dot
	Text  string `json:"s,omitempty"`
	Bytes []byte `json:"b,omitempty"` // of a Binary one
}

func (a *Attribute) binary() bool { return strings.HasPrefix(a.Type, "Binary") }

// Message is a message that was received.
type Message struct {
	ID         string
	Handle     string // the receipt handle
	Body       string
	Attributes map[string]Attribute

	Sender, Trace, Source string // SenderId, AWSTraceHeader, DeadLetterQueueSourceArn
	Group, Dedup          string // MessageGroupId, MessageDeduplicationId
	Sequence              string // SequenceNumber
	Sent, First           time.Time
	Takes                 int // ApproximateReceiveCount

	receipt backlog.Receipt
}

// System is the message's system attributes, by name.
func (m *Message) System() map[string]string {
	out := map[string]string{
		"ApproximateReceiveCount": strconv.Itoa(m.Takes), "SentTimestamp": strconv.FormatInt(m.Sent.UnixMilli(), 10),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.First.UnixMilli(), 10),
	}
	for name, value := range map[string]string{"SenderId": m.Sender, "AWSTraceHeader": m.Trace, "DeadLetterQueueSourceArn": m.Source,
		"MessageGroupId": m.Group, "MessageDeduplicationId": m.Dedup, "SequenceNumber": m.Sequence} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// envelope is what a message is kept with: one line of JSON before its body.
type envelope struct {
	Sender     string               `json:"u,omitempty"`
	Trace      string               `json:"t,omitempty"`
	Group      string               `json:"g,omitempty"` // of a standard queue, where it orders nothing
	Dedup      string               `json:"d,omitempty"` // where the backlog's is another
	Source     string               `json:"s,omitempty"`
	Takes      int                  `json:"n,omitempty"` // before it came to this queue
	First      int64                `json:"f,omitempty"` // the same; Unix microseconds
	Attributes map[string]Attribute `json:"a,omitempty"`
}

func (e *envelope) wrap(body string) []byte {
	head, _ := json.Marshal(e) // strings and bytes: it cannot fail
	out := make([]byte, 0, len(head)+1+len(body))
	return append(append(append(out, head...), '\n'), body...)
}

func unwrap(data []byte) (e envelope, body []byte, err error) {
	head, body, ok := bytes.Cut(data, []byte{'\n'})
	if !ok {
		return e, nil, hansom.Errorf(hansom.Internal, "read message", "a message has no envelope")
	}
	if err := json.Unmarshal(head, &e); err != nil {
		return e, nil, hansom.Errorf(hansom.Internal, "read message", "%w", err)
	}
	return e, body, nil
}

// message makes a message of what was taken from the backlog.
func message(q *Queue, m *backlog.Message) (Message, envelope, error) {
	e, body, err := unwrap(m.Body)
	out := Message{ID: m.ID, Body: string(body), Attributes: e.Attributes, Sender: e.Sender, Trace: e.Trace, Source: e.Source,
		Group: m.Group, Dedup: m.Dedup, Sent: m.Sent, First: m.First, Takes: m.Takes + e.Takes, receipt: m.Receipt}
	if q.fifo {
		out.Sequence = sequence(m.Seq)
	}
	if e.Group != "" {
		out.Group = e.Group
	}
	if e.Dedup != "" || !q.fifo {
		out.Dedup = e.Dedup
	}
	if e.First != 0 {
		out.First = time.UnixMicro(e.First)
	}
	return out, e, err
}

// sequence is a SequenceNumber: 20 digits, so that their order is that of the messages.
func sequence(seq uint64) string { return fmt.Sprintf("%020d", seq) }

func md5hex[T string | []byte](data T) string {
	sum := md5.Sum([]byte(data))
	return hex.EncodeToString(sum[:])
}

// Digest is the MD5 of message attributes as SQS has it, "" for none: over the names in their order, each with its type and value,
// all with their lengths. See "Calculating the MD5 message digest for message attributes" in the developer guide.
func Digest(attributes map[string]Attribute) string {
	if len(attributes) == 0 {
		return ""
	}
	h := md5.New()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		put(h, name)
		put(h, a.Type)
		if a.binary() {
			h.Write([]byte{2})
			put(h, string(a.Bytes))
		} else {
			h.Write([]byte{1})
			put(h, a.Text)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func put(h hash.Hash, s string) {
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
	h.Write([]byte(s))
}

// BodyDigest is the MD5 of a message's body, in hex.
func (m *Message) BodyDigest() string { return md5hex(m.Body) }

func itoa(n int) string { return strconv.Itoa(n) }
