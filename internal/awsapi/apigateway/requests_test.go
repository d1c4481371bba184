package apigateway

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
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

// {api} in testdata/requests.json stands for an API with the stages $default and dev.
func TestRequests(t *testing.T) {
	var granted int64
	s, apiID := service(t, counted{&granted})
	s.now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	awstest.Requests(t, "testdata/requests.json", s, map[string]string{"api": apiID}, "item", "position")
	if granted != 12 {
		t.Errorf("%d requests were granted", granted)
	}
}

// Each operation of the model works or is refused by its name.
func TestOperations(t *testing.T) {
	s, _ := service(t, nil)
	refused := 0
	for _, op := range operations {
		if (op.Input >= 0) != (actions[op.Name] != nil) {
			t.Errorf("%s is in the table or has an action, not both", op.Name)
		}
		if actions[op.Name] != nil {
			continue
		}
		refused++
		var path strings.Builder
		for i, part := range strings.Split(op.Path, "{") {
			if i > 0 {
				_, part, _ = strings.Cut(part, "}")
				path.WriteString("x")
			}
			path.WriteString(part)
		}
		r := httptest.NewRequest(op.Method, "http://apigateway.test"+path.String()+"?"+op.Query, strings.NewReader("{}"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), awstest.Callers[""], "request-1")))
		if w.Code != 400 || w.Header().Get("X-Amzn-Errortype") != "BadRequestException" || !strings.Contains(w.Body.String(), op.Name+" is not supported by this server") {
			t.Errorf("%s: %d %s", op.Name, w.Code, w.Body)
		}
	}
	if refused+len(actions) != len(operations) || len(actions) != 20 {
		t.Errorf("%d operations work and %d are refused, of %d", len(actions), refused, len(operations))
	}
	r := httptest.NewRequest("GET", "http://apigateway.test/usageplans/x/usage?startDate=2026-01-01&endDate=2026-01-02", nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), awstest.Callers[""], "request-1")))
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
