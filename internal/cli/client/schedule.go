package client

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Schedule is one entry of the schedules list.
type Schedule struct {
	Name       string      `json:"name"`
	Group      string      `json:"group"`
	App        string      `json:"app,omitempty"`
	Expression string      `json:"expression"`
	Timezone   string      `json:"timezone"`
	Enabled    bool        `json:"enabled"`
	Target     string      `json:"target"` // ARN
	Next       []time.Time `json:"next"`   // times to come
}

const defaultGroup = "default"

// Path names the schedule on a command line: GROUP/NAME, or NAME in the group default.
func (s *Schedule) Path() string {
	if s.Group == defaultGroup {
		return s.Name
	}
	return s.Group + "/" + s.Name
}

const schedulesPath = "/_hansom/v1/schedules"

// Schedules of an app; of all when app is "".
func (cl *Client) Schedules(ctx context.Context, app string) ([]Schedule, error) {
	var out struct{ Schedules []Schedule }
	path := schedulesPath
	if app != "" {
		path += "?app=" + url.QueryEscape(app)
	}
	err := cl.Call(ctx, "GET", path, nil, &out)
	return out.Schedules, err
}

// Schedule reads the one at a Path with its next times.
func (cl *Client) Schedule(ctx context.Context, path string, count int) (Schedule, error) {
	group, name, ok := strings.Cut(path, "/")
	if !ok {
		group, name = defaultGroup, path
	}
	var out Schedule
	err := cl.Call(ctx, "GET", schedulesPath+"/"+url.PathEscape(group)+"/"+url.PathEscape(name)+"?count="+strconv.Itoa(count), nil, &out)
	return out, err
}
