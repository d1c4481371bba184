package logs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

func newService(t testing.TB) (*Service, *telemetry.Logs) {
	t.Helper()
	cfg := telemetry.DefaultLogsConfig()
	cfg.Now = func() time.Time { return day }
	logs, err := telemetry.NewLogs(cfg, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { logs.Close() })
	s := New(hansom.DefaultRegion, logs, slog.New(slog.DiscardHandler))
	s.now = cfg.Now
	return s, logs
}

func send(s *Service, caller, op, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "Logs_20140328."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r = r.WithContext(awsapi.WithCall(r.Context(), callers[caller], "id"))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestRequests sends the requests of testdata/requests.json one after the other. NEXT, FORWARD and BACKWARD in them stand for the
// tokens of the answer before.
func TestRequests(t *testing.T) {
	var cases []struct {
		As, Op, Body           string
		In                     json.RawMessage
		Want                   any
		Error                  string
		Message, Events, Names *string
		Contains, Same         string
		Next                   bool
	}
	readCases(t, "requests.json", &cases)
	s, logs := newService(t)
	for i, m := range []string{"hello from f", "ERROR in f"} {
		logs.Append(hansom.LogEvent{Time: day.Add(time.Duration(i) * time.Second), Project: hansom.DefaultProject, Function: "f", Version: hansom.Latest, Instance: "i1", RequestID: fmt.Sprint("request-", i, "-0123456789"), Message: m})
	}
	tokens := map[string]string{}
	for i, c := range cases {
		t.Run(fmt.Sprint(i, " ", c.Op), func(t *testing.T) {
			body := string(c.In) + c.Body
			for name, token := range tokens {
				body = strings.ReplaceAll(body, `"`+name+`"`, `"`+token+`"`)
			}
			w := send(s, c.As, c.Op, body)
			text := w.Body.String()
			if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.1" {
				t.Errorf("content type %q", got)
			}
			var got any
			if text != "" {
				if err := json.Unmarshal([]byte(text), &got); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
			}
			var a struct {
				Type, Message                                  string
				TypeName                                       string `json:"__type"`
				Events                                         []struct{ Message, EventID string }
				LogGroups                                      []struct{ LogGroupName string }
				LogStreams                                     []struct{ LogStreamName string }
				NextToken, NextForwardToken, NextBackwardToken string
			}
			_ = json.Unmarshal([]byte(text), &a) // of an answer without a body nothing is read
			if c.Error != "" {
				if w.Code != http.StatusBadRequest || a.TypeName != c.Error || c.Message != nil && a.Message != *c.Message {
					t.Errorf("%d %s\nwant %s %v", w.Code, text, c.Error, c.Message)
				}
				return
			}
			var messages, names []string
			for _, e := range a.Events {
				messages = append(messages, e.Message)
			}
			for _, g := range a.LogGroups {
				names = append(names, g.LogGroupName)
			}
			for _, g := range a.LogStreams {
				names = append(names, g.LogStreamName)
			}
			switch {
			case w.Code != http.StatusOK:
				t.Errorf("%d %s", w.Code, text)
			case c.Events != nil:
				if m := strings.Join(messages, " "); m != *c.Events {
					t.Errorf("events %q", m)
				}
			case c.Names != nil:
				if n := strings.Join(names, " "); n != *c.Names {
					t.Errorf("names %q", n)
				}
			case c.Contains == "":
				for _, e := range a.Events {
					if len(e.EventID) == 56 {
						text = strings.ReplaceAll(text, e.EventID, "ID")
					}
				}
				got = nil
				_ = json.Unmarshal([]byte(text), &got)
				if !reflect.DeepEqual(got, c.Want) {
					t.Errorf("got %s", text)
				}
			}
			if (a.NextToken != "") != c.Next || !strings.Contains(text, c.Contains) {
				t.Errorf("got %s", text)
			}
			now := map[string]string{"NEXT": a.NextToken, "FORWARD": a.NextForwardToken, "BACKWARD": a.NextBackwardToken}
			if c.Same != "" && now[c.Same] != tokens[c.Same] {
				t.Errorf("the token %s was %s and is %s", c.Same, tokens[c.Same], now[c.Same])
			}
			for name, token := range now {
				if token != "" {
					tokens[name] = token
				}
			}
		})
	}
}

func TestLargeRequests(t *testing.T) {
	s, logs := newService(t)
	if err := logs.CreateGroup(t.Context(), hansom.DefaultProject, "g", nil); err != nil {
		t.Fatal(err)
	}
	if err := logs.CreateStream(t.Context(), hansom.DefaultProject, "g", "s"); err != nil {
		t.Fatal(err)
	}
	put := func(n int) *httptest.ResponseRecorder {
		return send(s, "", "PutLogEvents", fmt.Sprintf(`{"logGroupName":"g","logStreamName":"s","logEvents":[{"timestamp":%d,"message":%q}]}`, day.UnixMilli(), strings.Repeat("x", n)))
	}
	for n, want := range map[int]string{
		maxBatch - eventBytes:     "nextSequenceToken",
		maxBatch - eventBytes + 1: "Upload too large: 1048577 bytes exceeds limit of 1048576",
		maxRequest:                "The request has more than 8388608 bytes.",
	} {
		if w := put(n); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d bytes: %d %.200s", n, w.Code, w.Body)
		}
	}
	if w := send(s, "", "GetLogEvents", `{"logGroupName":"g","logStreamName":"s"}`); w.Code != http.StatusOK || w.Body.Len() < maxBatch-eventBytes {
		t.Errorf("the event comes back with %d bytes", w.Body.Len())
	}
	tags := map[string]string{}
	for i := range maxTags {
		tags[fmt.Sprint("k", i)] = "v"
	}
	text, _ := json.Marshal(tags)
	if w := send(s, "", "TagLogGroup", `{"logGroupName":"g","tags":`+string(text)+`}`); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := send(s, "", "TagLogGroup", `{"logGroupName":"g","tags":{"more":"v"}}`); !strings.Contains(w.Body.String(), `"TooManyTagsException"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := send(s, "", "ListTagsLogGroup", `{"logGroupName":"g"}`); strings.Contains(w.Body.String(), "more") {
		t.Errorf("a refused tag is there: %s", w.Body)
	}
}

// Every operation of the model works or is refused by name, and those that work are in the documentation.
func TestOperations(t *testing.T) {
	s, _ := newService(t)
	page, err := os.ReadFile("../../../docs/reference/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, "|")
		for _, op := range strings.Split(cells[min(1, len(cells)-1)], ",") {
			listed[strings.TrimSpace(op)] = true
		}
	}
	for op, input := range operations {
		if listed[op] != (actions[op] != nil) {
			t.Errorf("%s: served %v, documented %v", op, actions[op] != nil, listed[op])
		}
		if (actions[op] != nil) != (input >= 0) {
			t.Errorf("%s: served %v, input %d", op, actions[op] != nil, input)
		}
		if w := send(s, "", op, "{}"); actions[op] == nil && !strings.Contains(w.Body.String(), "The operation "+op+" is not supported by this server.") {
			t.Errorf("%s: %d %s", op, w.Code, w.Body)
		}
	}
	for op := range actions {
		if _, ok := operations[op]; !ok {
			t.Errorf("%s is no operation", op)
		}
	}
}
