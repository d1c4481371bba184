package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// named returns the queue that an ARN names. Error: QueueDoesNotExist.
func (s *Service) named(arn string) (*Queue, error) {
	project, name, ok := s.local(arn)
	if !ok {
		return nil, notFound()
	}
	return s.Get(project, name)
}

// Queue tells about the queue that an ARN names: whether it keeps the order within groups, and for how long a message that was
// taken is hidden. Error: QueueDoesNotExist.
func (s *Service) Queue(arn string) (fifo bool, visibility time.Duration, err error) {
	q, err := s.named(arn)
	if err != nil {
		return false, 0, err
	}
	return q.fifo, q.visibility, nil
}

// Send accepts a delivery to a queue of its project. Errors: QueueDoesNotExist, and those of SendMessage.
func (s *Service) Send(ctx context.Context, d hansom.Delivery) error {
	project, name, ok := s.local(d.ARN)
	if !ok || project != d.Project {
		return notFound()
	}
	in := SendInput{Body: string(d.Payload), Group: d.Group, Dedup: d.Dedup, Sender: d.Project, Trace: d.Trace}
	for name, a := range d.Attributes {
		if in.Attributes == nil {
			in.Attributes = map[string]Attribute{}
		}
		in.Attributes[name] = Attribute{Type: a.Type, Text: cleaned(a.Value)} // an error's text may have any characters, and must not keep a dead letter out
	}
	_, err := s.SendMessage(ctx, project, name, in)
	return err
}

// Poll takes up to limit messages for a function, or waits for some; see ReceiveMessages. A crash shows them again, and the attempt does not
// count then; whoever gives up on a message calls Show, which makes it count for good.
func (s *Service) Poll(ctx context.Context, arn string, limit int, wait time.Duration) ([]hansom.Polled, error) {
	q, err := s.named(arn)
	if err != nil {
		return nil, err
	}
	list, err := s.take(ctx, q, backlog.Take{Limit: limit, Hidden: q.visibility, Wait: wait, Volatile: true})
	if err != nil {
		return nil, err
	}
	out := make([]hansom.Polled, len(list))
	for i := range list {
		m := &list[i]
		out[i] = hansom.Polled{ID: m.ID, Record: m.record(q), Handle: m.Handle}
		if q.fifo {
			out[i].Group = m.Group
		}
	}
	return out, nil
}

// record is the message as a function gets it: an element of Records.
func (m *Message) record(q *Queue) []byte {
	type value struct {
		StringValue      *string  `json:"stringValue,omitempty"`
		BinaryValue      []byte   `json:"binaryValue,omitempty"`
		StringListValues []string `json:"stringListValues"`
		BinaryListValues []string `json:"binaryListValues"`
		DataType         string   `json:"dataType"`
	}
	attributes := make(map[string]value, len(m.Attributes))
	for name, a := range m.Attributes {
		v := value{StringListValues: []string{}, BinaryListValues: []string{}, DataType: a.Type}
		if a.binary() {
			v.BinaryValue = a.Bytes
		} else {
			v.StringValue = &a.Text
		}
		attributes[name] = v
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // a body of markup would be six times as large, and more than a function is given
	_ = e.Encode(struct {  // strings: it cannot fail
		MessageID     string            `json:"messageId"`
		ReceiptHandle string            `json:"receiptHandle"`
		Body          string            `json:"body"`
		Attributes    map[string]string `json:"attributes"`
		Message       map[string]value  `json:"messageAttributes"`
		AttributesMD5 string            `json:"md5OfMessageAttributes,omitempty"`
		MD5           string            `json:"md5OfBody"`
		Source        string            `json:"eventSource"`
		ARN           string            `json:"eventSourceARN"`
		Region        string            `json:"awsRegion"`
	}{m.ID, m.Handle, m.Body, m.System(), attributes, Digest(m.Attributes), m.BodyDigest(), "aws:sqs", q.ARN(), q.Region})
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// Done ends messages that were polled. Those that were taken again since, or are gone, are no error. Errors: QueueDoesNotExist,
// ReceiptHandleIsInvalid; Unavailable.
func (s *Service) Done(ctx context.Context, arn string, handles []string) error {
	q, err := s.named(arn)
	if err != nil {
		return err
	}
	return errors.Join(s.each(handles, func(h string) error {
		r, _, err := s.receipt(q, h)
		if err == nil {
			_, err = s.backlog.Delete(ctx, q.log, r)
		}
		return err
	})...)
}

// Show gives messages that were polled back: they can be taken again after a time, at most 12 hours. Errors: as Done.
func (s *Service) Show(ctx context.Context, arn string, handles []string, after time.Duration) error {
	q, err := s.named(arn)
	if err != nil {
		return err
	}
	return errors.Join(s.each(handles, func(h string) error {
		r, _, err := s.receipt(q, h)
		if err == nil {
			_, err = s.backlog.Release(ctx, q.log, r, min(max(after, 0), maxVisibility), nil)
		}
		return err
	})...)
}
