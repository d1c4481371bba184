package client

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/hansomcloud/hansom"
)

// An Event is accepted, not answered.
func TestInvokeEvent(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Invocation-Type") != "Event" || r.URL.RequestURI() != "/2015-03-31/functions/f/invocations?Qualifier=live" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		w.Header().Set("X-Amzn-Requestid", "r-1")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	cl := New(srv.URL, "", hansom.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, "test")
	defer cl.Close()
	r, err := cl.Invoke(t.Context(), Invocation{Function: "f", Qualifier: "live", Type: "Event", Payload: []byte("{}")})
	if err != nil || r.RequestID != "r-1" || len(r.Payload) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// message is one of an event stream.
func message(t *testing.T, payload string, headers ...string) []byte {
	t.Helper()
	m := eventstream.Message{Payload: []byte(payload)}
	for i := 0; i < len(headers); i += 2 {
		m.Headers.Set(headers[i], eventstream.StringValue(headers[i+1]))
	}
	var out bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStream(t *testing.T) {
	chunk := message(t, "hello", ":message-type", "event", ":event-type", "PayloadChunk")
	end := func(complete map[string]string) []byte {
		b, err := json.Marshal(complete)
		if err != nil {
			t.Fatal(err)
		}
		return message(t, string(b), ":message-type", "event", ":event-type", "InvokeComplete")
	}
	for name, c := range map[string]struct {
		body       []byte
		want, fail string // what is written; what the error says
		result     Result
	}{
		"whole":    {bytes.Join([][]byte{chunk, chunk, end(map[string]string{"LogResult": "bG9n"})}, nil), "hellohello", "", Result{LogTail: "log"}},
		"error":    {append(chunk, end(map[string]string{"ErrorCode": "Unhandled", "ErrorDetails": "{}"})...), "hello", "", Result{Error: "Unhandled", Payload: []byte("{}")}},
		"broken":   {append(chunk, end(nil)[:20]...), "hello", "broke off", Result{}},
		"no end":   {chunk, "hello", "broke off", Result{}},
		"refused":  {message(t, "", ":message-type", "error", ":error-code", "Code", ":error-message", "no room"), "", "no room", Result{}},
		"not base": {end(map[string]string{"LogResult": "%"}), "", "not base64", Result{}},
	} {
		var out strings.Builder
		var r Result
		err := r.read(bytes.NewReader(c.body), &out)
		if out.String() != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) ||
			r.Error != c.result.Error || r.LogTail != c.result.LogTail || string(r.Payload) != string(c.result.Payload) {
			t.Errorf("%s: wrote %q, %+v, %v", name, out.String(), r, err)
		}
	}
}

// FuzzStream: whatever a server sends, reading ends.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 0, 0, 16, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Result
		if err := r.read(bytes.NewReader(body), &bytes.Buffer{}); err == nil && r.Payload == nil {
			t.Errorf("%q is no answer and no error", body)
		}
	})
}
