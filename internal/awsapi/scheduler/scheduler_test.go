package scheduler

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/schedule"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// nobody dispatches: nothing runs in these tests.
type nobody struct{}

func (nobody) Dispatch(context.Context, hansom.Dispatch) error { return nil }

const function = `{"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "RoleArn": "arn:aws:iam::000000000000:role/r"}`

// TestRequests sends the requests of testdata/requests.json one after the other. "TARGET" in them stands for a function, NEXT for the
// NextToken of the answer before; a target alone stands for a schedule that has it. The clock stands at 2026-03-01T12:00:00Z.
func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Do, As  string
		In      json.RawMessage
		Target  map[string]any
		Want    map[string]any // members of the answer; exact: all
		Exact   bool
		Lacks   []string // members
		Names   []string // of a list
		Next    bool     // there is another page
		Type    string   // of an error
		Status  int      // 400 when it is left out
		Message string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	cfg := schedule.DefaultConfig()
	cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	logger := slog.New(slog.DiscardHandler)
	schedules, err := schedule.New(t.Context(), cfg, dbtest.Open(t, dbtest.SQLite(t)), nobody{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	s := New(hansom.DefaultRegion, schedules, logger)
	next := ""
	for _, c := range cases {
		method, path, _ := strings.Cut(strings.ReplaceAll(c.Do, "NEXT", next), " ")
		body := strings.ReplaceAll(string(c.In), `"TARGET"`, function)
		if c.Target != nil {
			c.Target["RoleArn"] = "arn:aws:iam::000000000000:role/r"
			in, _ := json.Marshal(map[string]any{"ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": map[string]string{"Mode": "OFF"}, "Target": c.Target})
			body = string(in)
		}
		r := httptest.NewRequest(method, "http://scheduler.test"+path, strings.NewReader(body))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), awstest.Callers[c.As], "request-1")))
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Errorf("%s %s: %v in %s", c.Do, body, err, w.Body)
			continue
		}
		if c.Type != "" {
			if c.Status == 0 {
				c.Status = 400
			}
			if w.Code != c.Status || w.Header().Get("X-Amzn-Errortype") != c.Type || c.Message != "" && got["Message"] != c.Message {
				t.Errorf("%s %s: %d %s %s\nwant %d %s %s", c.Do, body, w.Code, w.Header().Get("X-Amzn-Errortype"), got["Message"], c.Status, c.Type, c.Message)
			}
			continue
		}
		if w.Code != 200 {
			t.Errorf("%s %s: %d %s", c.Do, body, w.Code, w.Body)
			continue
		}
		for name, want := range c.Want {
			if !reflect.DeepEqual(got[name], want) {
				t.Errorf("%s: %s is %v, want %v", c.Do, name, got[name], want)
			}
		}
		for name := range got {
			if _, ok := c.Want[name]; slices.Contains(c.Lacks, name) || c.Exact && !ok {
				t.Errorf("%s: the answer has %s", c.Do, name)
			}
		}
		var names []string
		for _, list := range []string{"Schedules", "ScheduleGroups"} {
			entries, _ := got[list].([]any)
			for _, e := range entries {
				names = append(names, e.(map[string]any)["Name"].(string))
			}
		}
		if c.Names != nil && !slices.Equal(names, c.Names) {
			t.Errorf("%s: %v, want %v", c.Do, names, c.Names)
		}
		next, _ = got["NextToken"].(string)
		if c.Next != (next != "") {
			t.Errorf("%s: NextToken is %q", c.Do, next)
		}
	}
}
