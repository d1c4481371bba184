package hansomapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/schedule"
)

// Schedules of a project; see package schedule for the errors.
type Schedules interface {
	Get(ctx context.Context, project, group, name string) (*schedule.Schedule, error)
	List(ctx context.Context, project string, f schedule.Filter) ([]*schedule.Schedule, error)
}

// maxUpcoming is the most times of a schedule that a request shows.
const maxUpcoming = 100

// pageOfSchedules is how many are read at a time.
const pageOfSchedules = 500

type scheduleSummary struct {
	Name       string      `json:"name"`
	Group      string      `json:"group"`
	App        string      `json:"app,omitempty"`
	Expression string      `json:"expression"`
	Timezone   string      `json:"timezone"`
	Enabled    bool        `json:"enabled"`
	Target     string      `json:"target"` // ARN
	Next       []time.Time `json:"next"`   // times to come, without the delay of a flexible window
}

func summaryOf(c *schedule.Schedule, now time.Time, count int) (scheduleSummary, error) {
	next, err := c.Upcoming(now, count)
	return scheduleSummary{c.Name, c.Group, c.App, c.Expression, c.Zone, c.Enabled, c.Target.ARN, append([]time.Time{}, next...)}, err
}

func (h *Handler) listSchedules(r *http.Request, p hansom.Principal) (any, error) {
	out := []scheduleSummary{}
	f := schedule.Filter{Group: r.URL.Query().Get("group"), Limit: pageOfSchedules}
	app, now := r.URL.Query().Get("app"), time.Now()
	for {
		list, err := h.Schedules.List(r.Context(), p.Project, f)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if app != "" && c.App != app {
				continue
			}
			s, err := summaryOf(c, now, 1)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		if len(list) < pageOfSchedules {
			return map[string]any{"schedules": out}, nil
		}
		f.After = list[len(list)-1].Key()
	}
}

func (h *Handler) getSchedule(r *http.Request, p hansom.Principal) (any, error) {
	count := 5
	if text := r.URL.Query().Get("count"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 || count > maxUpcoming {
			return nil, hansom.Errorf(hansom.Invalid, "get schedule", "count must be a number from 1 to %d", maxUpcoming)
		}
	}
	c, err := h.Schedules.Get(r.Context(), p.Project, r.PathValue("group"), r.PathValue("name"))
	if hansom.KindOf(err) == hansom.NotFound {
		return nil, hansom.Errorf(hansom.NotFound, "get schedule", "there is no schedule %q in the group %q; `hansom schedule ls` lists them", r.PathValue("name"), r.PathValue("group"))
	}
	if err != nil {
		return nil, err
	}
	return summaryOf(c, time.Now(), count)
}
