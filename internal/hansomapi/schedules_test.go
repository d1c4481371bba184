package hansomapi

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/schedule"
)

// fakeSchedules are those of a project.
type fakeSchedules struct{ list []*schedule.Schedule }

func (f *fakeSchedules) List(_ context.Context, _ string, filter schedule.Filter) (list []*schedule.Schedule, err error) {
	for _, c := range f.list {
		if c.Key() > filter.After && (filter.Group == "" || filter.Group == c.Group) && len(list) < filter.Limit {
			list = append(list, c)
		}
	}
	return list, nil
}

func (f *fakeSchedules) Get(_ context.Context, _, group, name string) (*schedule.Schedule, error) {
	for _, c := range f.list {
		if c.Group == group && c.Name == name {
			return c, nil
		}
	}
	return nil, hansom.Errorf(hansom.NotFound, "get", "Schedule %s does not exist.", name)
}

func TestSchedules(t *testing.T) {
	f := newFixture(t)
	_, acme := f.tenant("acme")
	add := func(group, name, app string, enabled bool) {
		f.schedules.list = append(f.schedules.list, &schedule.Schedule{Group: group, Name: name, App: app, Expression: "cron(0 9 * * ? 2199)", Zone: "Europe/Berlin", Enabled: enabled})
	}
	add("default", "a", "shop", true)
	add("default", "b", "", false)
	add("g", "c", "", true)
	names := func(path string, want ...string) []scheduleSummary {
		t.Helper()
		list := must[struct{ Schedules []scheduleSummary }](f, acme, "GET", path, "").Schedules
		var got []string
		for _, s := range list {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		return list
	}
	all := names("schedules", "a", "b", "c")
	first := time.Date(2199, 1, 1, 8, 0, 0, 0, time.UTC)
	if a := all[0]; a.App != "shop" || a.Timezone != "Europe/Berlin" || !a.Enabled || len(a.Next) != 1 || !a.Next[0].Equal(first) {
		t.Errorf("%+v", a)
	}
	if b := all[1]; b.Enabled || len(b.Next) != 0 {
		t.Errorf("%+v", b)
	}
	names("schedules?app=shop", "a")
	names("schedules?group=g", "c")
	if a := must[scheduleSummary](f, acme, "GET", "schedules/default/a?count=2", ""); len(a.Next) != 2 || !a.Next[1].Equal(first.Add(24*time.Hour)) {
		t.Errorf("%+v", a)
	}
	for _, count := range []string{"0", "101", "x"} {
		f.refused(acme, "GET", "schedules/default/a?count="+count, "", 400, "Invalid", "1 to 100")
	}
	f.refused(acme, "GET", "schedules/default/c", "", 404, "NotFound", `there is no schedule "c" in the group "default"`)

	// More than a page are all listed.
	for i := range pageOfSchedules {
		add("h", fmt.Sprintf("%04d", i), "", false)
	}
	if list := must[struct{ Schedules []scheduleSummary }](f, acme, "GET", "schedules", "").Schedules; len(list) != pageOfSchedules+3 {
		t.Errorf("%d schedules are listed, want %d", len(list), pageOfSchedules+3)
	}
}
