package cloudevent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// Extensions that stand for members of EventBridge's events.
const (
	account   = "awsaccount"
	region    = "awsregion"
	resources = "awsresources" // a JSON array of strings
	replay    = "replayname"
)

// busEvent is an event of EventBridge.
type busEvent struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
	Rest       map[string]any  `json:"cloudevent,omitempty"` // attributes that EventBridge has no place for, and dataIn
	Replay     string          `json:"replay-name,omitempty"`
}

// dataIn says where data that is no JSON object is. It cannot be the name of an attribute.
const (
	dataIn   = "data_in"
	inNone   = "none"        // there is no data
	inData   = "data"        // in the member of detail of that name: JSON, or a string of text
	inBase64 = "data_base64" // in that member of detail
)

// ToBus is the event on a bus of an account and a region: an event of EventBridge, in JSON. What has no time is from now. Error: TooLarge.
func (e *Event) ToBus(inAccount, inRegion string, now time.Time) ([]byte, error) {
	out := busEvent{Version: "0", ID: e.ID, DetailType: e.Type, Source: e.Source, Account: inAccount, Region: inRegion, Resources: []string{}, Rest: map[string]any{}}
	for name, value := range e.Extensions {
		switch name {
		case account, region:
			continue
		case resources:
			if text, ok := value.(string); ok && json.Unmarshal([]byte(text), &out.Resources) == nil && out.Resources != nil {
				continue
			}
			out.Resources = []string{}
		}
		out.Rest[name] = value
	}
	for name, value := range map[string]string{"subject": e.Subject, "dataschema": e.DataSchema, "datacontenttype": e.ContentType} {
		if value != "" && !(name == "datacontenttype" && value == "application/json") {
			out.Rest[name] = value
		}
	}
	if e.Time != "" {
		at, err := time.Parse(time.RFC3339, e.Time)
		if err != nil {
			return nil, invalid("time: %w", err)
		}
		now = at
	}
	out.Time = now.UTC().Format(time.RFC3339)
	if e.Time != "" && e.Time != out.Time {
		out.Rest["time"] = e.Time
	}
	wrap := func(in string, value any) (err error) {
		out.Rest[dataIn] = in
		out.Detail, err = encode(map[string]any{in: value})
		return err
	}
	var err error
	switch {
	case e.Data == nil:
		out.Rest[dataIn], out.Detail = inNone, json.RawMessage("{}")
	case isJSON(e.ContentType) && bytes.HasPrefix(bytes.TrimLeft(e.Data, " \t\r\n"), []byte("{")):
		out.Detail = e.Data
	case isJSON(e.ContentType):
		err = wrap(inData, json.RawMessage(e.Data))
	case isText(e.ContentType) && utf8.Valid(e.Data):
		err = wrap(inData, string(e.Data))
	default:
		err = wrap(inBase64, base64.StdEncoding.EncodeToString(e.Data))
	}
	var text []byte
	if err == nil {
		text, err = encode(out)
	}
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "write event", "%w", err)
	}
	if len(text) > MaxSize {
		return nil, hansom.Errorf(hansom.TooLarge, op, "the event has %d bytes on the bus; at most %d are possible", len(text), MaxSize)
	}
	return text, nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// FromBus makes a CloudEvent of an event of EventBridge. ok is false for what is none, and for one whose attributes are too large for a header.
func FromBus(payload []byte) (e Event, ok bool) {
	if !bytes.Contains(payload, []byte(`"detail-type"`)) {
		return e, false // most payloads
	}
	var members map[string]json.RawMessage // unlike a struct it tells upper from lower case
	if err := json.Unmarshal(payload, &members); err != nil {
		return e, false
	}
	for _, name := range []string{"version", "id", "detail-type", "source", "detail"} {
		if _, there := members[name]; !there {
			return e, false
		}
	}
	var in busEvent
	var rest map[string]json.RawMessage
	for name, to := range map[string]any{"id": &e.ID, "source": &e.Source, "detail-type": &e.Type, "time": &e.Time,
		"account": &in.Account, "region": &in.Region, "resources": &in.Resources, "replay-name": &in.Replay, "cloudevent": &rest} {
		if raw := members[name]; raw != nil && json.Unmarshal(raw, to) != nil {
			return e, false
		}
	}
	where := ""
	for name, raw := range rest {
		value, fine := scalar(raw)
		if name == dataIn {
			where, fine = value.(string)
		} else if fine {
			fine = e.set(name, value) == nil
		}
		if !fine {
			return e, false
		}
	}
	list, err := encode(in.Resources)
	if err != nil {
		return e, false
	}
	for name, value := range map[string]string{account: in.Account, region: in.Region, replay: in.Replay, resources: string(list)} {
		if value != "" && value != "null" && value != "[]" && e.set(name, value) != nil {
			return e, false
		}
	}
	if !e.unwrap(where, members["detail"]) {
		return e, false
	}
	if e.ContentType == "" && e.Data != nil {
		e.ContentType = "application/json"
	}
	return e, e.ID != "" && e.Source != "" && e.Type != "" && e.size() <= MaxAttributes
}

// unwrap takes the data out of a detail.
func (e *Event) unwrap(where string, detail json.RawMessage) bool {
	var in struct {
		Data   json.RawMessage `json:"data"`
		Base64 []byte          `json:"data_base64"`
	}
	switch where {
	case "":
		e.Data = detail
		return true
	case inNone:
		return true
	}
	if json.Unmarshal(detail, &in) != nil {
		return false
	}
	switch where {
	case inData:
		if e.Data = in.Data; !isJSON(e.ContentType) {
			var text string
			if json.Unmarshal(in.Data, &text) != nil {
				return false
			}
			e.Data = []byte(text)
		}
	case inBase64:
		e.Data = in.Base64
	}
	return e.Data != nil
}
