package hansomapi

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

func events(functions ...string) []hansom.LogEvent {
	var out []hansom.LogEvent
	for i, f := range functions {
		out = append(out, hansom.LogEvent{Time: time.UnixMilli(int64(i)).UTC(), Function: f, Message: "<" + f + ">"})
	}
	return out
}

// messages of a complete answer.
func messages(t *testing.T, body string) []string {
	t.Helper()
	out := []string{}
	for line := range strings.Lines(body) {
		var e hansom.LogEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e.Message)
	}
	return out
}

func TestLogs(t *testing.T) {
	f := newFixture(t)
	f.functions.list = []function.Function{
		{Version: hansom.Version{Function: "x-a", App: "x"}}, {Version: hansom.Version{Function: "x-b", App: "x"}}, {Version: hansom.Version{Function: "x-y-a", App: "x-y"}},
	}
	f.apps.apps = []app.App{{Name: "x"}, {Name: "x-y"}}
	f.logs.events = events("x-a", "x-y-a", "x-b", "x-gone", "x-a")
	for query, want := range map[string][]string{
		"":                {"<x-a>", "<x-y-a>", "<x-b>", "<x-gone>", "<x-a>"},
		"app=x":           {"<x-a>", "<x-b>", "<x-a>"},
		"app=x&limit=2":   {"<x-b>", "<x-a>"},
		"app=x&limit=1":   {"<x-a>"},
		"app=x-y&limit=9": {"<x-y-a>"},
	} {
		a := f.do(root, "GET", "logs?"+query, "")
		if a.status != http.StatusOK {
			t.Fatalf("%s: %+v", query, a)
		}
		if diff := cmp.Diff(want, messages(t, a.body)); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
	f.do(root, "GET", "logs?function=f&since=2026-11-23T10:00:00.5Z&until=2026-11-23T11:00:00Z&grep=a.b&requestId=r&limit=5", "")
	want := telemetry.LogQuery{Project: hansom.DefaultProject, Function: "f", Grep: "a.b", RequestID: "r", Limit: 5,
		Since: time.Date(2026, 11, 23, 10, 0, 0, 5e8, time.UTC), Until: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)}
	if diff := cmp.Diff(want, f.logs.query); diff != "" {
		t.Error(diff)
	}
	f.functions.list[0].Logging.Group = "shared"
	for name, group := range map[string]string{"x-a": "shared", "x-b": "/aws/lambda/x-b"} {
		if f.do(root, "GET", "logs?function="+name, ""); f.logs.query.Group != group {
			t.Errorf("%s logs to %q, looked for in %q", name, group, f.logs.query.Group)
		}
	}
	f.do(root, "GET", "logs?since=10m", "")
	if d := time.Since(f.logs.query.Since); d < 10*time.Minute || d > 11*time.Minute {
		t.Errorf("since 10m is %v ago", d)
	}
	for query, want := range map[string]string{
		"since=yesterday":        "since=yesterday is not valid",
		"limit=-1":               "limit=-1 is not valid",
		"follow=maybe":           "follow=maybe is not valid",
		"fnction=a":              `"fnction" is not a parameter`,
		"app=x&follow=1&limit=1": "limit does not go together",
	} {
		f.refused(root, "GET", "logs?"+query, "", 400, "Invalid", want)
	}
	f.logs.events = nil
	for query, want := range map[string]string{
		"function=nope":          `there is no function "nope" and no log of one`,
		"function=nope&follow=1": `there is no function "nope" and no log of one`,
		"function=x":             "x is an app, not a function",
		"app=nope":               `there is no app "nope"`,
	} {
		f.refused(root, "GET", "logs?"+query, "", 404, "NotFound", want)
	}
	if a := f.do(root, "GET", "logs?function=x-a", ""); a.status != http.StatusOK || a.body != "" {
		t.Errorf("a function that has not logged: %+v", a)
	}
	f.refused(hansom.Credentials{}, "GET", "logs", "", 403, "MissingAuthenticationTokenException", "")
}

// A query that fails at once is an error; one that breaks off later must not look complete.
func TestLogsBreakOff(t *testing.T) {
	f := newFixture(t)
	f.logs.err = hansom.Errorf(hansom.Invalid, "query", "bad pattern")
	f.refused(root, "GET", "logs?grep=(", "", 400, "Invalid", "bad pattern")
	f.logs.events = events("a")
	resp := f.send(t.Context(), root, "GET", "logs", "", "")
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer looks complete")
	}
}

func TestFollowLogs(t *testing.T) {
	f := newFixture(t)
	f.logs.events = events("a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp := f.send(ctx, root, "GET", "logs?follow=1", "", "")
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"<a>", "<b>"} { // they come although the answer goes on
		if !lines.Scan() || messages(t, lines.Text())[0] != want {
			t.Fatalf("%q, want %s", lines.Text(), want)
		}
	}
	cancel()
	select {
	case <-f.logs.left:
	case <-time.After(time.Minute):
		t.Error("the query goes on after the client has left")
	}
}
