package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/endpoint"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/eventbus/archive"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, UserID: "AIDA", ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", UserID: "AIDB", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, UserID: "AROA:f", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

// dispatcher keeps what it is given, and refuses what has FAIL in it.
type dispatcher struct{ got []hansom.Dispatch }

func (d *dispatcher) Dispatch(_ context.Context, x hansom.Dispatch) error {
	if strings.Contains(string(x.Payload), "FAIL") {
		return hansom.Errorf(hansom.Unavailable, "put", "the disk is full")
	}
	d.got = append(d.got, x)
	return nil
}

func newService(t *testing.T) (*Service, *dispatcher) {
	t.Helper()
	logger, database, d := slog.New(slog.DiscardHandler), dbtest.Open(t, dbtest.SQLite(t)), &dispatcher{}
	now := func() time.Time { return time.Unix(1796040000, 0) }
	cfg := eventbus.DefaultConfig()
	cfg.Now = now
	buses, err := eventbus.New(t.Context(), cfg, database, d, logger)
	if err != nil {
		t.Fatal(err)
	}
	kept := archive.DefaultConfig()
	kept.Now = now
	archives, err := archive.New(t.Context(), kept, database, buses, logger)
	if err != nil {
		t.Fatal(err)
	}
	buses.SetArchiver(archives)
	n := 0
	to := endpoint.DefaultConfig()
	to.Key, to.Now, to.NewID = make([]byte, 32), now, func() string { n++; return fmt.Sprint("id-", n) }
	endpoints, err := endpoint.New(t.Context(), to, database, upstream.New(upstream.DefaultConfig()), logger)
	if err != nil {
		t.Fatal(err)
	}
	return New(hansom.DefaultRegion, Deps{Buses: buses, Archives: archives, Endpoints: endpoints}, logger), d
}

func serve(s *Service, caller, op, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://events.test/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AWSEvents."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[caller], "request-1")))
	return w
}

// TestRequests sends the requests of a file in testdata one after the other. x*1000 in them stands for a thousand x, NONE for an entry
// without anything, and ID in answers for the id of an event.
func TestRequests(t *testing.T) {
	for _, file := range []string{"requests.json", "destinations.json"} {
		t.Run(file, func(t *testing.T) { testRequests(t, "testdata/"+file) })
	}
}

func testRequests(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`x\*\d+`).ReplaceAllFunc(text, func(m []byte) []byte {
		n, _ := strconv.Atoi(string(m[2:]))
		return bytes.Repeat([]byte("x"), n)
	})
	text = bytes.ReplaceAll(text, []byte("NONE"), []byte("PutEventsRequestEntry(time=null, source=null, resources=null, detailType=null, detail=null, eventBusName=null, traceHeader=null, kmsKeyIdentifier=null, internalMetadata=null)"))
	var cases []struct {
		As, Op        string
		In            json.RawMessage
		Want          map[string]any // the answer
		Has, Lacks    []string       // texts in the answer
		Type, Message string         // of an error
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	s, _ := newService(t)
	ids := regexp.MustCompile(`"EventId":"[0-9a-f-]{36}"`)
	for i, c := range cases {
		name := fmt.Sprint(i, " ", c.Op)
		w := serve(s, c.As, c.Op, string(c.In))
		answer := ids.ReplaceAllString(w.Body.String(), `"EventId":"ID"`)
		var got map[string]any
		if err := json.Unmarshal([]byte(answer), &got); err != nil || w.Header().Get("Content-Type") != "application/x-amz-json-1.1" {
			t.Errorf("%s: %v in %s %v", name, err, answer, w.Header())
		}
		switch {
		case c.Type != "":
			if w.Code != 400 || got["__type"] != c.Type || c.Message != "" && got["message"] != c.Message {
				t.Errorf("%s: %d %s\nwant %s %s", name, w.Code, answer, c.Type, c.Message)
			}
		case w.Code != 200 || c.Want != nil && !reflect.DeepEqual(got, c.Want):
			want, _ := json.Marshal(c.Want)
			t.Errorf("%s: %d %s\nwant %s", name, w.Code, answer, want)
		}
		for _, text := range c.Has {
			if !strings.Contains(answer, text) {
				t.Errorf("%s: no %s in %s", name, text, answer)
			}
		}
		for _, text := range c.Lacks {
			if strings.Contains(answer, text) {
				t.Errorf("%s: %s is in %s", name, text, answer)
			}
		}
	}
}

// TestTrace sends on the trace of the entry, else that of the request.
func TestTrace(t *testing.T) {
	s, d := newService(t)
	serve(s, "", "PutRule", `{"Name":"r","EventPattern":"{\"source\":[\"s\"]}"}`)
	serve(s, "", "PutTargets", `{"Rule":"r","Targets":[{"Id":"q","Arn":"arn:aws:sqs:us-east-1:000000000000:q"}]}`)
	w := serve(s, "", "PutEvents", `{"Entries":[{"Source":"s","DetailType":"t","Detail":"{}"},{"Source":"s","DetailType":"t","Detail":"{}","TraceHeader":"Root=2"}]}`, "X-Amzn-Trace-Id", "Root=1;Lineage=a")
	if len(d.got) != 2 || d.got[0].Trace != "Root=1;Lineage=a" || d.got[1].Trace != "Root=2" {
		t.Errorf("%s %+v", w.Body, d.got)
	}
}

func TestMalformed(t *testing.T) {
	s, _ := newService(t)
	for _, c := range []struct {
		body, typ string
		status    int
	}{
		{"{", "SerializationException", 400}, {"[]", "SerializationException", 400}, {`{"Limit":"1"}`, "SerializationException", 400},
		{strings.Repeat(" ", maxRequest+1), "RequestEntityTooLargeException", 413},
	} {
		if w := serve(s, "", "ListRules", c.body); w.Code != c.status || !strings.Contains(w.Body.String(), `"__type":"`+c.typ+`"`) {
			t.Errorf("%.20s: %d %s", c.body, w.Code, w.Body)
		}
	}
}

// TestServed has an action for each operation whose input is in the model, but for API destinations and connections.
func TestServed(t *testing.T) {
	for op, input := range operations {
		if input >= 0 && actions[op] == nil && !strings.Contains(op, "Connection") && !strings.Contains(op, "ApiDestination") {
			t.Errorf("%s is not answered", op)
		}
	}
}
