package integrate

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// toQueue sends messages: SQS-SendMessage.
type toQueue struct {
	parameters
	project string
	queues  Queues
}

func (*toQueue) Instant() bool { return false }

// Serve implements Integration: it answers as SQS does in its query protocol, which HTTP APIs pass on.
func (q *toQueue) Serve(w http.ResponseWriter, r *http.Request, c *Call) error {
	m := Message{Body: q.text(c, "MessageBody"), Group: q.text(c, "MessageGroupId"), Dedup: q.text(c, "MessageDeduplicationId"), Trace: c.Trace}
	name, err := queueName(q.project, q.text(c, "QueueUrl"))
	if err == nil {
		if text := q.text(c, "DelaySeconds"); text != "" {
			n, bad := strconv.ParseInt(text, 10, 64)
			if bad != nil {
				err = sqsError("InvalidParameterValue", "Value %.20s for parameter DelaySeconds is invalid. Reason: Must be an integer.", text)
			}
			m.Delay = &n
		}
	}
	for parameter, to := range map[string]*map[string]Attribute{"MessageAttributes": &m.Attributes, "MessageSystemAttributes": &m.System} {
		if v, ok := q.values[parameter]; ok && err == nil {
			if text := v.JSON(c.In); text != "" && json.Unmarshal([]byte(text), to) != nil {
				err = sqsError("InvalidParameterValue", `The parameter %s is no JSON object such as {"name":{"DataType":"String","StringValue":"value"}}.`, parameter)
			}
		}
	}
	var sent Sent
	if err == nil {
		sent, err = q.queues.SendMessage(r.Context(), q.project, name, m)
	}
	if err != nil {
		return refuseXML(w, c, err)
	}
	c.Outcome.Status, c.Outcome.RequestID = http.StatusOK, c.ID
	type result struct {
		MessageID  string `xml:"MessageId"`
		Body       string `xml:"MD5OfMessageBody"`
		Attributes string `xml:"MD5OfMessageAttributes,omitempty"`
		System     string `xml:"MD5OfMessageSystemAttributes,omitempty"`
		Sequence   string `xml:"SequenceNumber,omitempty"`
	}
	return answerXML(w, http.StatusOK, struct {
		XMLName   xml.Name `xml:"http://queue.amazonaws.com/doc/2012-11-05/ SendMessageResponse"`
		Result    result   `xml:"SendMessageResult"`
		RequestID string   `xml:"ResponseMetadata>RequestId"`
	}{Result: result{sent.ID, sent.Body, sent.Attributes, sent.System, sent.Sequence}, RequestID: c.ID})
}

func sqsError(code, format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "send message", format, args...).WithCode(code)
}

// queueName is the name in the URL of a queue of a project: http://HOST/PROJECT/NAME.
func queueName(project, text string) (string, error) {
	u, err := url.Parse(text)
	if err == nil {
		path := strings.Split(strings.Trim(u.Path, "/"), "/")
		if n := len(path); n >= 2 && path[n-1] != "" {
			if path[n-2] != project {
				return "", hansom.Errorf(hansom.Denied, "send message", "Access to the resource %.200s is denied.", text).WithCode("AccessDenied")
			}
			return path[n-1], nil
		}
	}
	return "", sqsError("InvalidAddress", "The address %.200s is not valid for this endpoint.", text)
}

// refuseXML answers with an error that is the request's, as SQS does; others are returned.
func refuseXML(w http.ResponseWriter, c *Call, err error) error {
	status, code := http.StatusBadRequest, "InvalidParameterValue"
	switch hansom.KindOf(err) {
	case hansom.Invalid, hansom.Conflict, hansom.TooLarge, hansom.Precondition:
	case hansom.NotFound:
		code = "AWS.SimpleQueueService.NonExistentQueue"
	case hansom.Denied:
		status, code = http.StatusForbidden, "AccessDenied"
	default:
		c.Outcome.Error = err.Error()
		return err
	}
	if e := (*hansom.Error)(nil); errors.As(err, &e) && e.Code != "" {
		code = e.Code
	}
	c.Outcome.Status, c.Outcome.Error, c.Outcome.RequestID = status, err.Error(), c.ID
	return answerXML(w, status, struct {
		XMLName   xml.Name `xml:"http://queue.amazonaws.com/doc/2012-11-05/ ErrorResponse"`
		Type      string   `xml:"Error>Type"`
		Code      string   `xml:"Error>Code"`
		Message   string   `xml:"Error>Message"`
		RequestID string   `xml:"RequestId"`
	}{Type: "Sender", Code: code, Message: err.Error(), RequestID: c.ID})
}

func answerXML(w http.ResponseWriter, status int, v any) error {
	text, err := xml.Marshal(v)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "answer", "%w", err)
	}
	w.Header()["Content-Type"] = []string{"text/xml"}
	return answer(w, status, `<?xml version="1.0"?>`+string(text))
}

// toBus publishes events: EventBridge-PutEvents.
type toBus struct {
	parameters
	project string
	buses   Buses
}

func (*toBus) Instant() bool { return false }

// Serve implements Integration: it answers as PutEvents does.
func (b *toBus) Serve(w http.ResponseWriter, r *http.Request, c *Call) error {
	e := Event{Bus: b.text(c, "EventBusName"), Source: b.text(c, "Source"), DetailType: b.text(c, "DetailType"), Trace: b.text(c, "TraceHeader"),
		Detail: []byte(b.values["Detail"].JSON(c.In))}
	if e.Trace == "" {
		e.Trace = c.Trace
	}
	var err error
	if text := b.text(c, "Time"); text != "" {
		if e.Time, err = time.Parse(time.RFC3339, text); err != nil {
			var seconds float64
			if seconds, err = strconv.ParseFloat(text, 64); err == nil {
				e.Time = time.UnixMilli(int64(seconds * 1000))
			}
		}
		if err != nil {
			err = hansom.Errorf(hansom.Invalid, "put event", "Parameter Time is not valid. Reason: it is neither RFC 3339 nor seconds since 1970.").WithCode("InvalidArgument")
		}
	}
	if v, ok := b.values["Resources"]; ok && err == nil {
		text := v.JSON(c.In)
		if strings.HasPrefix(strings.TrimSpace(text), "[") {
			if json.Unmarshal([]byte(text), &e.Resources) != nil {
				err = hansom.Errorf(hansom.Invalid, "put event", "Parameter Resources is not valid. Reason: it is no list of ARNs.").WithCode("InvalidArgument")
			}
		} else if text != "" {
			e.Resources = strings.Split(text, ",")
		}
	}
	id := ""
	if err == nil {
		id, err = b.buses.PutEvent(r.Context(), b.project, e)
	}
	type entry struct {
		EventID      string `json:"EventId,omitempty"`
		ErrorCode    string `json:",omitempty"`
		ErrorMessage string `json:",omitempty"`
	}
	result := struct {
		Entries          []entry
		FailedEntryCount int
	}{Entries: []entry{{EventID: id}}}
	c.Outcome.Status, c.Outcome.RequestID = http.StatusOK, c.ID
	if err != nil {
		switch hansom.KindOf(err) {
		case hansom.Invalid, hansom.NotFound, hansom.Denied, hansom.TooLarge:
		default:
			c.Outcome.Status, c.Outcome.Error = 0, err.Error()
			return err
		}
		code := "InvalidArgument"
		if e := (*hansom.Error)(nil); errors.As(err, &e) && e.Code != "" {
			code = e.Code
		}
		result.Entries[0], result.FailedEntryCount = entry{ErrorCode: code, ErrorMessage: err.Error()}, 1
		c.Outcome.Error = err.Error()
	}
	text, err := json.Marshal(result)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "answer", "%w", err)
	}
	w.Header()["Content-Type"] = []string{"application/x-amz-json-1.1"}
	return answer(w, http.StatusOK, string(text))
}
