package usage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const (
	project = hansom.DefaultProject
	other   = "111111111111"
	secret  = "a-value-of-twenty-characters"
)

// apis has each API live in the project that it is in.
type apis map[string]string

func (a apis) Live(id string) *api.Live {
	if a[id] == "" {
		return nil
	}
	return &api.Live{API: &api.API{Project: a[id], ID: id}}
}

func (a apis) HasStage(_ context.Context, _ db.Querier, project, id, stage string) (bool, error) {
	return a[id] == project && stage != "none", nil
}

var world = apis{"pets": project, "cars": project, "theirs": other}

func open(t *testing.T, database *db.DB, key byte) *Service {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Key = []byte(strings.Repeat(string(key), 32))
	cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	s, err := New(t.Context(), cfg, database, world, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](t *testing.T) func(x T, err error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

func refused(t *testing.T, what string, err error, kind hansom.Kind, says string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v (kind %d), want kind %d with %q", what, err, hansom.KindOf(err), kind, says)
	}
}

// look is what Key finds: the name of the key, "-" when it is disabled, and the name of the plan.
func look(s *Service, value, apiID, stage string) string {
	k, p, ok := s.Key(value, apiID, stage)
	switch {
	case !ok:
		return "none"
	case !k.Enabled:
		return "-"
	case p == nil:
		return k.Name
	}
	return k.Name + " " + p.Name
}

func TestKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		s := open(t, database, 'k')
		k := must[*api.Key](t)(s.CreateKey(t.Context(), api.Key{Project: project, Name: "one", Value: secret, Enabled: true}))
		must[*api.Key](t)(s.CreateKey(t.Context(), api.Key{Project: other, Name: "theirs", Value: secret, Enabled: true})) // in another project a value may be there
		_, err := s.CreateKey(t.Context(), api.Key{Project: project, Value: secret})
		refused(t, "value twice", err, hansom.Conflict, "API Key already exists")
		p := must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: "gold", Stages: []api.PlanStage{{API: "pets", Stage: "prod"}}}))
		want := func(when, value, apiID, stage, found string) {
			t.Helper()
			if got := look(s, value, apiID, stage); got != found {
				t.Errorf("%s: %s of %s:%s is %q, want %q", when, value, apiID, stage, got, found)
			}
		}
		want("before it is in a plan", secret, "pets", "prod", "one")
		must[*api.Key](t)(s.AddKey(t.Context(), project, p.ID, k.ID))
		want("in a plan", secret, "pets", "prod", "one gold")
		want("another stage", secret, "pets", "test", "one")
		want("another project's API", secret, "theirs", "prod", "theirs")
		want("no API", secret, "nothing", "prod", "none")
		want("no key", secret+"x", "pets", "prod", "none")
		want("no value", "", "pets", "prod", "none")
		must[*api.Key](t)(s.UpdateKey(t.Context(), project, k.ID, func(k *api.Key) error { k.Enabled, k.Name = false, "two"; return nil }))
		want("disabled", secret, "pets", "prod", "-")
		must[*api.Key](t)(s.UpdateKey(t.Context(), project, k.ID, func(k *api.Key) error { k.Enabled = true; return nil }))
		must[*api.Plan](t)(s.UpdatePlan(t.Context(), project, p.ID, func(p *api.Plan) error { p.Name = "silver"; return nil }))
		want("changed", secret, "pets", "prod", "two silver")
		if got := must[*api.Key](t)(s.APIKey(t.Context(), project, k.ID, true)); got.Value != secret || got.Name != "two" {
			t.Errorf("%+v", got)
		}
		if got := must[*api.Key](t)(s.APIKey(t.Context(), project, k.ID, false)); got.Value != "" {
			t.Errorf("%+v", got)
		}
		_, err = s.APIKey(t.Context(), other, k.ID, false)
		refused(t, "another project's key", err, hansom.NotFound, "Invalid API Key identifier specified")
		// At rest nothing of the value is there.
		var sealed, document, digest string
		if err := database.Read().QueryRowContext(t.Context(), `SELECT sealed, document, digest FROM usage_keys WHERE id = ?`, k.ID).Scan(&sealed, &document, &digest); err != nil {
			t.Fatal(err)
		}
		if all := sealed + document + digest; strings.Contains(all, secret) {
			t.Errorf("the value is stored as it is: %s", all)
		}
		// After a restart all is as before; with another key nothing is found.
		again := open(t, database, 'k')
		if got := look(again, secret, "pets", "prod"); got != "two silver" {
			t.Errorf("after a restart: %q", got)
		}
		stranger := open(t, database, 'x')
		if got := look(stranger, secret, "pets", "prod"); got != "none" {
			t.Errorf("with another master key: %q", got)
		}
		if _, err := stranger.APIKey(t.Context(), project, k.ID, true); hansom.KindOf(err) != hansom.Internal {
			t.Errorf("with another master key: %v", err)
		}
		if err := s.RemoveKey(t.Context(), project, p.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		want("out of the plan", secret, "pets", "prod", "two")
		must[*api.Key](t)(s.AddKey(t.Context(), project, p.ID, k.ID))
		if err := s.DeleteKey(t.Context(), project, k.ID); err != nil {
			t.Fatal(err)
		}
		want("deleted", secret, "pets", "prod", "none")
		if got := must[*api.Plan](t)(s.Plan(t.Context(), project, p.ID)); len(got.Keys) != 0 {
			t.Errorf("a deleted key is in %+v", got)
		}
	})
}

func TestPlans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		s := open(t, database, 'k')
		rate, burst, negative := 5.0, 10, -1.0
		gold := api.Plan{Project: project, Name: "gold", Description: "d", Rate: &rate, Burst: &burst, Quota: &api.Quota{Limit: 5, Period: Month, Offset: 27},
			Stages: []api.PlanStage{{API: "pets", Stage: "prod", Settings: map[string]api.Settings{"GET /pets": {Rate: &rate}}}}, Tags: map[string]string{"a": "b"}}
		p := must[*api.Plan](t)(s.CreatePlan(t.Context(), gold))
		got := must[*api.Plan](t)(s.Plan(t.Context(), project, p.ID))
		if diff := cmp.Diff(gold, *got, cmpopts.IgnoreFields(api.Plan{}, "ID")); diff != "" {
			t.Error(diff)
		}
		for what, c := range map[string]struct {
			plan api.Plan
			kind hansom.Kind
			says string
		}{
			"name":      {api.Plan{}, hansom.Invalid, "name must be set"},
			"rate":      {api.Plan{Name: "x", Rate: &negative}, hansom.Invalid, "rate limit"},
			"period":    {api.Plan{Name: "x", Quota: &api.Quota{Limit: 1, Period: "YEAR"}}, hansom.Invalid, "period"},
			"limit":     {api.Plan{Name: "x", Quota: &api.Quota{Period: Day}}, hansom.Invalid, "limit"},
			"offset":    {api.Plan{Name: "x", Quota: &api.Quota{Limit: 9, Period: Day, Offset: 1}}, hansom.Invalid, "between zero and 0 inclusive in the DAY period"},
			"week":      {api.Plan{Name: "x", Quota: &api.Quota{Limit: 9, Period: Week, Offset: 7}}, hansom.Invalid, "between zero and 6 inclusive in the WEEK period"},
			"stage":     {api.Plan{Name: "x", Stages: []api.PlanStage{{API: "pets", Stage: "none"}}}, hansom.NotFound, "API Stage not found: pets:none"},
			"API":       {api.Plan{Name: "x", Stages: []api.PlanStage{{API: "theirs", Stage: "prod"}}}, hansom.NotFound, "API Stage not found: theirs:prod"},
			"twice":     {api.Plan{Name: "x", Stages: []api.PlanStage{{API: "pets", Stage: "a"}, {API: "pets", Stage: "a"}}}, hansom.Conflict, "already"},
			"tag":       {api.Plan{Name: "x", Tags: map[string]string{"aws:a": "b"}}, hansom.Invalid, "tag key"},
			"of method": {api.Plan{Name: "x", Stages: []api.PlanStage{{API: "pets", Stage: "a", Settings: map[string]api.Settings{"GET /": {Rate: &negative}}}}}, hansom.Invalid, "rate limit"},
		} {
			c.plan.Project = project
			_, err := s.CreatePlan(t.Context(), c.plan)
			refused(t, what, err, c.kind, c.says)
		}
		// A key has one plan for a stage.
		k := must[*api.Key](t)(s.CreateKey(t.Context(), api.Key{Project: project, Enabled: true, Value: secret}))
		must[*api.Key](t)(s.AddKey(t.Context(), project, p.ID, k.ID))
		_, err := s.AddKey(t.Context(), project, p.ID, k.ID)
		refused(t, "key twice", err, hansom.Conflict, "already")
		same := must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: "same", Stages: []api.PlanStage{{API: "pets", Stage: "prod"}}}))
		_, err = s.AddKey(t.Context(), project, same.ID, k.ID)
		refused(t, "stage twice", err, hansom.Conflict, "one Usage Plan only")
		cars := must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: "cars", Stages: []api.PlanStage{{API: "cars", Stage: "prod"}}}))
		must[*api.Key](t)(s.AddKey(t.Context(), project, cars.ID, k.ID))
		_, err = s.UpdatePlan(t.Context(), project, cars.ID, func(p *api.Plan) error {
			p.Stages = append(p.Stages, api.PlanStage{API: "pets", Stage: "prod"})
			return nil
		})
		refused(t, "stage twice after an update", err, hansom.Conflict, "one Usage Plan only")
		for stage, want := range map[string]string{"pets": " gold", "cars": " cars"} {
			if got := look(s, secret, stage, "prod"); got != want {
				t.Errorf("plan of %s is %q", stage, got)
			}
		}
		if list := must[[]*api.Plan](t)(s.Plans(t.Context(), project, k.ID, "", 10)); len(list) != 2 {
			t.Errorf("%d plans of the key", len(list))
		}
		if list := must[[]*api.Plan](t)(s.Plans(t.Context(), project, "", "", 10)); len(list) != 3 {
			t.Errorf("%d plans", len(list))
		}
		for n := range MaxPlansOfKey - 2 {
			more := must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: fmt.Sprint(n)}))
			must[*api.Key](t)(s.AddKey(t.Context(), project, more.ID, k.ID))
		}
		_, err = s.AddKey(t.Context(), project, must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: "last"})).ID, k.ID)
		refused(t, "plans of a key", err, hansom.Throttled, "Maximum number of Usage Plans for this API Key")
		// Stages that go are in no plan.
		refused(t, "delete", s.DeletePlan(t.Context(), project, p.ID), hansom.Invalid, "because there are API Stages associated with it, including pets:prod")
		if err := database.Write(t.Context(), func(tx *db.Tx) error { return s.RemoveStage(t.Context(), tx, project, "pets", "prod") }); err != nil {
			t.Fatal(err)
		}
		if got := look(s, secret, "pets", "prod"); got != "" {
			t.Errorf("the plan of a stage that is gone is %q", got)
		}
		if err := s.DeletePlan(t.Context(), project, p.ID); err != nil {
			t.Error(err)
		}
		_, err = s.Plan(t.Context(), project, p.ID)
		refused(t, "deleted", err, hansom.NotFound, "Invalid Usage Plan ID specified")
		if err := database.Write(t.Context(), func(tx *db.Tx) error { return s.RemoveProject(t.Context(), tx, project) }); err != nil {
			t.Fatal(err)
		}
		if got := look(s, secret, "cars", "prod"); got != "none" || len(s.plans)+len(s.keys)+len(s.byKey)+len(s.values) != 0 {
			t.Errorf("after the project is gone: %q", got)
		}
	})
}

func TestListKeys(t *testing.T) {
	s := open(t, dbtest.Open(t, dbtest.SQLite(t)), 'k')
	for _, name := range []string{"ab", "abc", "b", "Ab"} {
		must[*api.Key](t)(s.CreateKey(t.Context(), api.Key{Project: project, Name: name}))
	}
	for prefix, want := range map[string]int{"": 4, "a": 2, "abc": 1, "A": 1, "c": 0, "bc": 0} {
		if list := must[[]*api.Key](t)(s.APIKeys(t.Context(), project, KeyFilter{Name: prefix, Limit: 10})); len(list) != want {
			t.Errorf("%d keys begin with %q, want %d", len(list), prefix, want)
		}
	}
	list := must[[]*api.Key](t)(s.APIKeys(t.Context(), project, KeyFilter{Limit: 3, Values: true}))
	rest := must[[]*api.Key](t)(s.APIKeys(t.Context(), project, KeyFilter{After: list[2].ID, Limit: 3}))
	if len(list) != 3 || len(rest) != 1 || len(list[0].Value) != 40 || rest[0].Value != "" {
		t.Errorf("pages %v and %v", list, rest)
	}
	for value, says := range map[string]string{"short": "at least 20 characters", strings.Repeat("x", 129): "maximum size of 128 characters", "with a space in the value": "visible ASCII"} {
		_, err := s.CreateKey(t.Context(), api.Key{Project: project, Value: value})
		refused(t, value, err, hansom.Invalid, says)
	}
}

func TestImport(t *testing.T) {
	s := open(t, dbtest.Open(t, dbtest.SQLite(t)), 'k')
	p := must[*api.Plan](t)(s.CreatePlan(t.Context(), api.Plan{Project: project, Name: "gold", Stages: []api.PlanStage{{API: "pets", Stage: "prod"}}}))
	keys := []Imported{
		{api.Key{Project: project, Name: "one", Value: secret, Enabled: true}, []string{p.ID}},
		{api.Key{Project: project, Name: "short", Value: "x"}, nil},
		{api.Key{Project: project, Name: "twice", Value: secret}, nil},
		{api.Key{Project: project, Name: "two", Value: secret + "2", Enabled: true}, []string{"nothing"}},
	}
	_, _, err := s.ImportKeys(t.Context(), keys, true)
	refused(t, "strict", err, hansom.Invalid, "Row 2: API Key value should be at least 20 characters; Row 3: API Key already exists; Row 4: Invalid Usage Plan ID specified")
	if got := look(s, secret, "pets", "prod"); got != "none" {
		t.Errorf("a refused import left %q", got)
	}
	ids, warnings, err := s.ImportKeys(t.Context(), keys, false)
	if err != nil || len(ids) != 2 || len(warnings) != 3 {
		t.Errorf("%q %q %v", ids, warnings, err)
	}
	if a, b := look(s, secret, "pets", "prod"), look(s, secret+"2", "pets", "prod"); a != "one gold" || b != "two" {
		t.Errorf("%q %q", a, b)
	}
}
