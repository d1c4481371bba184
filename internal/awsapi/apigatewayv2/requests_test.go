package apigatewayv2

import (
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
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, UserID: "AIDA", ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", UserID: "AIDB", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, UserID: "AROA:f", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

// service is a Service whose clock stands at 2026-03-01T12:00:00Z, with the caches that were reset.
func service(t *testing.T) (s *Service, resets *[]string) {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	cfg.Import = func(doc []byte, o api.ImportOptions) (*api.API, []string, error) {
		var in struct{ Title, Route string }
		if err := json.Unmarshal(doc, &in); err != nil {
			return nil, nil, hansom.Errorf(hansom.Invalid, "import", "Invalid OpenAPI input.")
		}
		return &api.API{Name: in.Title, Routes: []api.Route{{ID: o.ID(), Key: in.Route}}}, []string{"a warning"}, nil
	}
	cfg.Export = func(a *api.API, s *api.Snapshot, o api.ExportOptions) ([]byte, error) {
		return fmt.Appendf(nil, `{"title": %q, "routes": %d, "as": %q, "yaml": %v, "extensions": %v, "stage": %q}`, a.Name, len(s.Routes), o.Specification, o.YAML, o.Extensions, o.Stage), nil
	}
	logger := slog.New(slog.DiscardHandler)
	apis, err := api.New(t.Context(), cfg, dbtest.Open(t, dbtest.SQLite(t)), logger)
	if err != nil {
		t.Fatal(err)
	}
	resets = new([]string)
	return New(Config{Region: hansom.DefaultRegion, Domain: "localhost", Endpoint: func(id string) string { return "http://" + id + ".execute-api.localhost:8080" },
		Reset: func(api, stage string) { *resets = append(*resets, stage) }}, apis, logger), resets
}

// TestRequests sends the requests of testdata/requests.json one after the other. {name} in them stands for what "save" kept of an answer before.
func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Do, As  string
		In      json.RawMessage
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
	s, resets := service(t)
	saved := map[string]string{}
	fill := func(in string) string {
		for name, v := range saved {
			in = strings.ReplaceAll(in, "{"+name+"}", v)
		}
		return in
	}
	for _, c := range cases {
		method, path, _ := strings.Cut(fill(c.Do), " ")
		r := httptest.NewRequest(method, "http://apigateway.test"+path, strings.NewReader(fill(string(c.In))))
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
			list, _ := got["items"].([]any)
			for _, x := range list {
				items = append(items, fmt.Sprint(x.(map[string]any)[c.By]))
			}
			slices.Sort(items)
			if !slices.Equal(items, c.Items) {
				t.Errorf("%s: %q, want %q", c.Do, items, c.Items)
			}
			if next := got["nextToken"] != nil; next != c.Next {
				t.Errorf("%s: another page: %v", c.Do, next)
			}
		}
	}
	if !slices.Equal(*resets, []string{"$default"}) {
		t.Errorf("reset %q", *resets)
	}
}

// Each operation of the model works or is refused by its name.
func TestOperations(t *testing.T) {
	s, _ := service(t)
	for _, op := range operations {
		if actions[op.name] != nil {
			continue
		}
		path := op.path
		for _, name := range []string{"apiId", "routeId", "routeResponseId", "integrationId", "integrationResponseId", "modelId", "vpcLinkId"} {
			path = strings.ReplaceAll(path, "{"+name+"}", "x")
		}
		r := httptest.NewRequest(op.method, "http://apigateway.test"+path, strings.NewReader("{}"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), callers[""], "request-1")))
		if w.Code != 400 || w.Header().Get("X-Amzn-Errortype") != "BadRequestException" || !strings.Contains(w.Body.String(), op.name+" is not supported: ") {
			t.Errorf("%s: %d %s", op.name, w.Code, w.Body)
		}
	}
	if len(actions)+21 != len(operations) {
		t.Errorf("%d of %d operations work", len(actions), len(operations))
	}
}
