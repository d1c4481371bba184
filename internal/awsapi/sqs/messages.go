package sqs

import (
	"encoding/base64"
	"regexp"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/queue"
)

func attributesOf(in model.Params, name string) map[string]queue.Attribute {
	list, _ := in[name].(map[string]any)
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]queue.Attribute, len(list))
	for name, x := range list {
		v, _ := x.(model.Params)
		b, _ := v["BinaryValue"].([]byte)
		out[name] = queue.Attribute{Type: v.Text("DataType"), Text: v.Text("StringValue"), Bytes: b}
	}
	return out
}

func (c *call) input(in model.Params) queue.SendInput {
	return queue.SendInput{Body: in.Text("MessageBody"), Delay: number(in, "DelaySeconds"), Attributes: attributesOf(in, "MessageAttributes"),
		System: attributesOf(in, "MessageSystemAttributes"), Group: in.Text("MessageGroupId"), Dedup: in.Text("MessageDeduplicationId"), Sender: c.principal.UserID,
		Trace: c.trace}
}

type sent struct {
	ID         string `json:"Id,omitempty" xml:"Id,omitempty"` // of the entry of a batch
	MessageID  string `json:"MessageId" xml:"MessageId"`
	Body       string `json:"MD5OfMessageBody" xml:"MD5OfMessageBody"`
	Attributes string `json:"MD5OfMessageAttributes,omitempty" xml:"MD5OfMessageAttributes,omitempty"`
	System     string `json:"MD5OfMessageSystemAttributes,omitempty" xml:"MD5OfMessageSystemAttributes,omitempty"`
	Sequence   string `json:"SequenceNumber,omitempty" xml:"SequenceNumber,omitempty"`
}

func (s *Service) sendMessage(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	m, err := s.queues.SendMessage(c, project, name, c.input(c.in))
	if err != nil {
		return nil, err
	}
	return sent{"", m.ID, m.Body, m.Attributes, m.System, m.Sequence}, nil
}

func (s *Service) sendMessageBatch(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	entries, err := c.batch()
	if err != nil {
		return nil, err
	}
	in := make([]queue.SendInput, len(entries))
	for i := range entries {
		in[i] = c.input(entries[i])
	}
	list, err := s.queues.SendBatch(c, project, name, in)
	if err != nil {
		return nil, err
	}
	out := struct {
		Successful []sent    `json:",omitempty" xml:"SendMessageBatchResultEntry"`
		Failed     []failure `json:",omitempty" xml:"BatchResultErrorEntry"`
	}{}
	for i, m := range list {
		id := entries[i].Text("Id")
		if m.Err != nil {
			out.Failed = append(out.Failed, s.failure(c, id, m.Err))
			continue
		}
		out.Successful = append(out.Successful, sent{id, m.ID, m.Body, m.Attributes, m.System, m.Sequence})
	}
	return out, nil
}

var entryPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func (c *call) emptyBatch() error {
	return hansom.Errorf(hansom.Invalid, c.op, "There should be at least one %sRequestEntry in the request.", c.op).WithCode("EmptyBatchRequest")
}

// batch returns the entries of a batch, which have ids of their own.
func (c *call) batch() ([]model.Params, error) {
	list, _ := c.in["Entries"].([]any)
	if len(list) == 0 {
		return nil, c.emptyBatch()
	}
	if len(list) > queue.MaxBatch {
		return nil, hansom.Errorf(hansom.Invalid, c.op, "Maximum number of entries per request are %d. You have sent %d.", queue.MaxBatch, len(list)).WithCode("TooManyEntriesInBatchRequest")
	}
	entries, ids := make([]model.Params, len(list)), map[string]bool{}
	for i, x := range list {
		entries[i], _ = x.(model.Params)
		id := entries[i].Text("Id")
		if !entryPattern.MatchString(id) {
			return nil, hansom.Errorf(hansom.Invalid, c.op, "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.").WithCode("InvalidBatchEntryId")
		}
		if ids[id] {
			return nil, hansom.Errorf(hansom.Invalid, c.op, "Id %s repeated.", id).WithCode("BatchEntryIdsNotDistinct")
		}
		ids[id] = true
	}
	return entries, nil
}

// message is one that was received.
type message struct {
	MessageID        string       `json:"MessageId" xml:"MessageId"`
	ReceiptHandle    string       //
	MD5OfBody        string       //
	Body             string       //
	Attributes       namedMap     `json:",omitempty" xml:"Attribute"`
	AttributesDigest string       `json:"MD5OfMessageAttributes,omitempty" xml:"MD5OfMessageAttributes,omitempty"`
	Message          attributeMap `json:"MessageAttributes,omitempty" xml:"MessageAttribute"`
}

// systemNames are the names that may be asked for.
var systemNames = []string{"All", "SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SequenceNumber",
	"MessageDeduplicationId", "MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn"}

func (s *Service) receiveMessage(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	system := append(c.in.Texts("AttributeNames"), c.in.Texts("MessageSystemAttributeNames")...)
	for _, name := range system {
		if !slices.Contains(systemNames, name) {
			return nil, hansom.Errorf(hansom.Invalid, c.op, "Unknown Attribute %s.", name).WithCode("InvalidAttributeName")
		}
	}
	list, err := s.queues.ReceiveMessages(c, project, name, queue.ReceiveInput{Max: number(c.in, "MaxNumberOfMessages"), Visibility: number(c.in, "VisibilityTimeout"),
		Wait: number(c.in, "WaitTimeSeconds"), Attempt: c.in.Text("ReceiveRequestAttemptId")})
	if err != nil {
		return nil, err
	}
	wanted := c.in.Texts("MessageAttributeNames")
	out := struct {
		Messages []message `json:",omitempty" xml:"Message"`
	}{}
	for i := range list {
		m := &list[i]
		x := message{MessageID: m.ID, ReceiptHandle: m.Handle, MD5OfBody: m.BodyDigest(), Body: m.Body}
		if len(system) > 0 {
			x.Attributes = m.System()
			if !slices.Contains(system, "All") {
				for name := range x.Attributes {
					if !slices.Contains(system, name) {
						delete(x.Attributes, name)
					}
				}
			}
		}
		if selected := queue.Select(m.Attributes, wanted); len(selected) > 0 {
			x.AttributesDigest, x.Message = queue.Digest(selected), attributeMap{}
			for name, a := range selected {
				x.Message[name] = attribute{a.Text, a.Bytes, base64.StdEncoding.EncodeToString(a.Bytes), a.Type}
			}
		}
		out.Messages = append(out.Messages, x)
	}
	return out, nil
}

func (s *Service) deleteMessage(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.DeleteMessage(c, project, name, c.in.Text("ReceiptHandle"))
}

// done is an entry of a batch that went well.
type done struct {
	ID string `json:"Id" xml:"Id"`
}

// sort tells the entries that went well from those that did not.
func (s *Service) sort(c *call, entries []model.Params, errs []error) (ok []done, failed []failure) {
	for i, err := range errs {
		id := entries[i].Text("Id")
		if err != nil {
			failed = append(failed, s.failure(c, id, err))
		} else {
			ok = append(ok, done{id})
		}
	}
	return ok, failed
}

func (s *Service) deleteMessageBatch(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	entries, err := c.batch()
	if err != nil {
		return nil, err
	}
	handles := make([]string, len(entries))
	for i := range entries {
		handles[i] = entries[i].Text("ReceiptHandle")
	}
	errs, err := s.queues.DeleteBatch(c, project, name, handles)
	if err != nil {
		return nil, err
	}
	out := struct {
		Successful []done    `json:",omitempty" xml:"DeleteMessageBatchResultEntry"`
		Failed     []failure `json:",omitempty" xml:"BatchResultErrorEntry"`
	}{}
	out.Successful, out.Failed = s.sort(c, entries, errs)
	return out, nil
}

func (s *Service) changeMessageVisibility(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.ChangeVisibility(c, project, name, c.in.Text("ReceiptHandle"), c.in.Integer("VisibilityTimeout"))
}

func (s *Service) changeMessageVisibilityBatch(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	entries, err := c.batch()
	if err != nil {
		return nil, err
	}
	changes := make([]queue.VisibilityChange, len(entries))
	for i := range entries {
		changes[i] = queue.VisibilityChange{Handle: entries[i].Text("ReceiptHandle"), Seconds: entries[i].Integer("VisibilityTimeout")}
	}
	errs, err := s.queues.ChangeVisibilityBatch(c, project, name, changes)
	if err != nil {
		return nil, err
	}
	out := struct {
		Successful []done    `json:",omitempty" xml:"ChangeMessageVisibilityBatchResultEntry"`
		Failed     []failure `json:",omitempty" xml:"BatchResultErrorEntry"`
	}{}
	out.Successful, out.Failed = s.sort(c, entries, errs)
	return out, nil
}
