package apigateway

import (
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, UserID: "AIDA", ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", UserID: "AIDB", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, UserID: "AROA:f", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

// counted is one request a day, and what was granted.
type counted struct{ granted *int64 }

func (c counted) Grant(_ context.Context, _ *api.Plan, _ string, n int64) error {
	*c.granted = n
	return nil
}

func (c counted) Usage(_ context.Context, p *api.Plan, _ string, from, to time.Time) (days [][2]int64, err error) {
	for day := from; !day.After(to); day = day.AddDate(0, 0, 1) {
		days = append(days, [2]int64{1, int64(p.Quota.Limit) - 1})
	}
	return days, nil
}

func service(t *testing.T, quotas Quotas) (s *Service, apiID string) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	database := dbtest.Open(t, dbtest.SQLite(t))
	apis, err := api.New(t.Context(), api.DefaultConfig(), database, logger)
	if err != nil {
		t.Fatal(err)
	}
	cfg := usage.DefaultConfig()
	cfg.Key = []byte(strings.Repeat("k", 32))
	cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	plans, err := usage.New(t.Context(), cfg, database, apis, logger)
	if err != nil {
		t.Fatal(err)
	}
	apis.OnRemove(plans.RemoveStage)
	a, err := apis.CreateAPI(t.Context(), api.API{Project: hansom.DefaultProject, Name: "pets"}, &api.Quick{Target: "https://backend.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apis.CreateStage(t.Context(), hansom.DefaultProject, a.ID, api.Stage{Name: "dev"}); err != nil {
		t.Fatal(err)
	}
	return New(hansom.DefaultRegion, plans, quotas, logger), a.ID
}

// TestRequests sends the requests of testdata/requests.json one after the other. {name} in them stands for what "save" kept of an answer before, {api} for an
// API with the stages $default and dev.
func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Do, As  string
		In      json.RawMessage
		Raw     string // the body, in place of In
		Status  int
		Want    map[string]any    // members of the answer
		Lacks   []string          // members
		Save    map[string]string // name -> member
		By      string            // member of the items
		Items   []string          // its values
		Next    bool              // there is another page
		Type    string            // of an error
		Message string            // of an error, or its beginning when it ends with "..."
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	var granted int64
	s, apiID := service(t, counted{&granted})
	s.now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	saved := map[string]string{"api": apiID}
	fill := func(in string) string {
		for name, v := range saved {
			in = strings.ReplaceAll(in, "{"+name+"}", v)
		}
		return in
	}
	for _, c := range cases {
		method, path, _ := strings.Cut(fill(c.Do), " ")
		r := httptest.NewRequest(method, "http://apigateway.test"+path, strings.NewReader(fill(string(c.In)+c.Raw)))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[c.As], "request-1")))
		got := map[string]any{}
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v in %s", c.Do, err, w.Body)
			}
		}
		if w.Code != c.Status || w.Header().Get("X-Amzn-Errortype") != c.Type {
			t.Errorf("%s %s: %d %s %s\nwant %d %s", c.Do, c.In, w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body, c.Status, c.Type)
			continue
		}
		message, _ := got["message"].(string)
		if begin, ok := strings.CutSuffix(fill(c.Message), "..."); ok && !strings.HasPrefix(message, begin) || !ok && message != begin {
			t.Errorf("%s %s: %q, want %q", c.Do, c.In, message, c.Message)
		}
		want, _ := json.Marshal(c.Want)
		var filled map[string]any
		if err := json.Unmarshal([]byte(fill(string(want))), &filled); err != nil {
			t.Fatal(err)
		}
		for name, v := range filled {
			if !reflect.DeepEqual(got[name], v) {
				t.Errorf("%s: %s is %v, want %v", c.Do, name, got[name], v)
			}
		}
		for name := range got {
			if slices.Contains(c.Lacks, name) {
				t.Errorf("%s: the answer has %s", c.Do, name)
			}
		}
		for name, member := range c.Save {
			saved[name], _ = got[member].(string)
		}
		if c.By != "" {
			var items []string
			list, _ := got["item"].([]any)
			for _, x := range list {
				items = append(items, fmt.Sprint(x.(map[string]any)[c.By]))
			}
			slices.Sort(items)
			if !slices.Equal(items, c.Items) {
				t.Errorf("%s: %q, want %q", c.Do, items, c.Items)
			}
			if next := got["position"] != nil; next != c.Next {
				t.Errorf("%s: another page: %v", c.Do, next)
			}
		}
	}
	if granted != 12 {
		t.Errorf("%d requests were granted", granted)
	}
}

// Each operation of the model works or is refused by its name.
func TestOperations(t *testing.T) {
	s, _ := service(t, nil)
	refused := 0
	for _, op := range operations {
		if (op.input >= 0) != (actions[op.name] != nil) {
			t.Errorf("%s is in the table or has an action, not both", op.name)
		}
		if actions[op.name] != nil {
			continue
		}
		refused++
		var path strings.Builder
		for i, part := range strings.Split(op.path, "{") {
			if i > 0 {
				_, part, _ = strings.Cut(part, "}")
				path.WriteString("x")
			}
			path.WriteString(part)
		}
		r := httptest.NewRequest(op.method, "http://apigateway.test"+path.String()+"?"+op.query, strings.NewReader("{}"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[""], "request-1")))
		if w.Code != 400 || w.Header().Get("X-Amzn-Errortype") != "BadRequestException" || !strings.Contains(w.Body.String(), op.name+" is not supported by this server") {
			t.Errorf("%s: %d %s", op.name, w.Code, w.Body)
		}
	}
	if refused+len(actions) != len(operations) || len(actions) != 20 {
		t.Errorf("%d operations work and %d are refused, of %d", len(actions), refused, len(operations))
	}
	r := httptest.NewRequest("GET", "http://apigateway.test/usageplans/x/usage?startDate=2026-01-01&endDate=2026-01-02", nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[""], "request-1")))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "GetUsage is not supported by this server.") {
		t.Errorf("GetUsage without quotas: %d %s", w.Code, w.Body)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("name,key,description,enabled,usageplanIds\na,b,c,TRUE,\"d,e\"\n"))
	f.Add([]byte("\xef\xbb\xbfKey,Name\nx,y\n"))
	f.Add([]byte("key,key\n"))
	f.Add([]byte("name,key\n\"a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err != nil && hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%q: %v", text, err)
		}
		for _, k := range keys {
			if k.Value == "" || slices.Contains(k.Plans, "") {
				t.Errorf("%q: %+v", text, k)
			}
		}
	})
}
