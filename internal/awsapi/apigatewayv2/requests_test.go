package apigatewayv2

import (
	"encoding/json"
	"fmt"
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
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
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

func TestRequests(t *testing.T) {
	s, resets := service(t)
	awstest.Requests(t, "testdata/requests.json", s, map[string]string{}, "items", "nextToken")
	if !slices.Equal(*resets, []string{"$default"}) {
		t.Errorf("reset %q", *resets)
	}
}

// Each operation of the model works or is refused by its name.
func TestOperations(t *testing.T) {
	s, _ := service(t)
	for _, op := range operations {
		if actions[op.Name] != nil {
			continue
		}
		path := op.Path
		for _, name := range []string{"apiId", "routeId", "routeResponseId", "integrationId", "integrationResponseId", "modelId", "vpcLinkId"} {
			path = strings.ReplaceAll(path, "{"+name+"}", "x")
		}
		r := httptest.NewRequest(op.Method, "http://apigateway.test"+path, strings.NewReader("{}"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), awstest.Callers[""], "request-1")))
		if w.Code != 400 || w.Header().Get("X-Amzn-Errortype") != "BadRequestException" || !strings.Contains(w.Body.String(), op.Name+" is not supported: ") {
			t.Errorf("%s: %d %s", op.Name, w.Code, w.Body)
		}
	}
	if len(actions)+21 != len(operations) {
		t.Errorf("%d of %d operations work", len(actions), len(operations))
	}
}
