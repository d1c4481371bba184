package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func grouped(group, function string, i int, message string) hansom.LogEvent {
	e := line(function, i, message)
	e.Group = group
	return e
}

func page(t testing.TB, l *Logs, q EventQuery) ([]StoredEvent, bool) {
	t.Helper()
	if q.Project == "" {
		q.Project = project
	}
	if q.Limit == 0 {
		q.Limit = 10_000
	}
	if q.Bytes == 0 {
		q.Bytes = 1 << 20
	}
	list, more, err := l.Events(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return list, more
}

func texts(list []StoredEvent) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Message)
	}
	return strings.Join(out, " ")
}

func groupNames(t testing.TB, l *Logs, project string) string {
	t.Helper()
	list, err := l.Groups(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, g := range list {
		out = append(out, g.Name)
	}
	return strings.Join(out, " ")
}

// Lines go to their group, whatever it is called; a function's lines are found wherever it logs.
func TestGroups(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	l.Append(line("hello", 0, "own"))
	l.Append(grouped("shared", "hello", 1, "shared 1"))
	l.Append(grouped("shared", "other", 2, "foreign"))
	l.Append(grouped("shared", "hello", 3, "shared 2"))
	l.Append(line("hello", 4, "own again"))
	l.Append(grouped("/aws/lambda/named", "hello", 5, "in another function's"))
	for _, g := range []string{"hello", "/aws/lambda/hello/x", "%hello", "Shared", "shared/", strings.Repeat("g", 512), strings.Repeat("g", 511) + "/"} {
		l.Append(grouped(g, "x", 6, "<"+g+">"))
	}
	for range 2 {
		for _, c := range []struct {
			q    LogQuery
			want string
		}{
			{LogQuery{Function: "hello"}, "own\nown again\n"},
			{LogQuery{Function: "hello", Group: "/aws/lambda/hello"}, "own\nown again\n"},
			{LogQuery{Function: "hello", Group: "shared"}, "own\nshared 1\nshared 2\nown again\n"},
			{LogQuery{Function: "hello", Group: "shared", Limit: 2}, "shared 2\nown again\n"},
			{LogQuery{Function: "other", Group: "shared"}, "foreign\n"},
			{LogQuery{Group: "shared"}, "shared 1\nforeign\nshared 2\n"},
			{LogQuery{Group: "/aws/lambda/named"}, "in another function's\n"},
			{LogQuery{Group: "hello"}, "<hello>\n"},
			{LogQuery{Group: "Shared"}, "<Shared>\n"},
			{LogQuery{Group: strings.Repeat("g", 512)}, "<" + strings.Repeat("g", 512) + ">\n"},
			{LogQuery{Group: "none"}, ""},
		} {
			if got := messages(collect(t, l, c.q)); got != c.want {
				t.Errorf("%+v: got\n%swant\n%s", c.q, got, c.want)
			}
		}
		want := strings.Join([]string{"/aws/lambda/hello", "/aws/lambda/hello/x", "/aws/lambda/named", "Shared",
			strings.Repeat("g", 511) + "/", strings.Repeat("g", 512), "hello", "shared", "shared/"}, " ")
		if got := groupNames(t, l, project); got != want {
			t.Errorf("groups: %s", got)
		}
		if got := len(collect(t, l, LogQuery{})); got != 12 {
			t.Errorf("the project has %d lines", got)
		}
		l.Close()
		l = openLogs(t, dir, nil)
	}
}

// A follower of a function sees what it logs to a group that others use too.
func TestFollowGroup(t *testing.T) {
	l := openLogs(t, t.TempDir(), nil)
	pull, stop := iter.Pull2(l.Query(t.Context(), LogQuery{Project: project, Function: "hello", Group: "shared", Follow: true}))
	defer stop()
	one := make(chan hansom.LogEvent, 1)
	go func() { e, _, _ := pull(); one <- e }()
	for { // until the follower is there
		if s := l.group(groupOf(project, "shared"), false); s != nil {
			s.mu.Lock()
			n := len(s.followers)
			s.mu.Unlock()
			if n > 0 {
				break
			}
		}
		runtime.Gosched()
	}
	l.Append(grouped("shared", "other", 0, "foreign"))
	l.Append(grouped("shared", "hello", 1, "mine"))
	if e := <-one; e.Message != "mine" || e.Function != "hello" {
		t.Errorf("got %+v", e)
	}
}

// Folders of the first version are read, indexed and appended to.
func TestOldData(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/v1")); err != nil {
		t.Fatal(err)
	}
	l := openLogs(t, dir, func(c *LogsConfig) { c.Now = func() time.Time { return day.Add(25 * time.Hour) } })
	old := "START RequestId: r0 Version: $LATEST\nhello, wörld\nEND RequestId: r0\nnext day\n"
	got := collect(t, l, LogQuery{Function: "hello"})
	if messages(got) != old || got[1] != line("hello", 1, "hello, wörld") {
		t.Errorf("got %+v", got)
	}
	l.Append(line("hello", 90_000, "new"))
	if got := messages(collect(t, l, LogQuery{Function: "hello"})); got != old+"new\n" {
		t.Errorf("got %s", got)
	}
	if list, _ := page(t, l, EventQuery{Group: "/aws/lambda/hello"}); len(list) != 5 || list[0].Stream != "2026/11/23/[$LATEST]i1" || !list[0].Time.Equal(day) {
		t.Errorf("events %+v", list)
	}
	g, err := l.Group(t.Context(), project, "/aws/lambda/hello")
	if err != nil || !g.Created.Equal(day) || g.Size < 200 {
		t.Errorf("%+v, %v", g, err)
	}
	if err := l.DeleteStream(t.Context(), project, "/aws/lambda/hello", "2026/11/24/[7]i2"); err != nil {
		t.Fatal(err)
	}
	if got := messages(collect(t, l, LogQuery{Function: "hello"})); got != strings.TrimSuffix(old, "next day\n")+"new\n" {
		t.Errorf("after the deletion of a stream: %s", got)
	}
}

func TestCreateAndDeleteGroup(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	ctx := t.Context()
	l.Append(line("hello", 0, "x")) // not in a file yet
	for group, want := range map[string]hansom.Kind{"/aws/lambda/hello": hansom.Conflict, "/mine": 255, "bad name": hansom.Invalid} {
		if err := l.CreateGroup(ctx, project, group, map[string]string{"a": "b"}); (err == nil) != (want == 255) || err != nil && hansom.KindOf(err) != want {
			t.Errorf("%s: %v", group, err)
		}
	}
	if err := l.CreateGroup(ctx, project, "/mine", nil); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("made again: %v", err)
	}
	if err := l.SetRetention(ctx, project, "/mine", 3); err != nil {
		t.Fatal(err)
	}
	if err := l.Tag(ctx, project, "/mine", func(tags map[string]string) error { tags["c"] = "d"; return nil }); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = openLogs(t, dir, nil)
	g, err := l.Group(ctx, project, "/mine")
	if err != nil || g.Retention != 3 || fmt.Sprint(g.Tags) != "map[a:b c:d]" || !g.Created.Equal(day) || g.Size != 0 {
		t.Errorf("%+v, %v", g, err)
	}
	l.sweep()
	if got := groupNames(t, l, project); got != "/aws/lambda/hello /mine" {
		t.Errorf("groups: %s", got)
	}
	l.Append(line("hello", 1, "waits in memory"))
	for _, group := range []string{"/mine", "/aws/lambda/hello"} {
		if err := l.DeleteGroup(ctx, project, group); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteGroup(ctx, project, group); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("deleted again: %v", err)
		}
	}
	if got := groupNames(t, l, project); got != "" {
		t.Errorf("groups: %s", got)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, project)); len(left) != 0 || len(l.groups(project)) != 0 {
		t.Errorf("left behind: %v, %d in memory", left, len(l.groups(project)))
	}
	l.Append(line("hello", 2, "again"))
	if got := messages(collect(t, l, LogQuery{Function: "hello"})); got != "again\n" {
		t.Errorf("after the deletion: %q", got)
	}
	if err := os.Mkdir(filepath.Join(dir, project, ".old-1"), 0o700); err != nil { // a crash while deleting
		t.Fatal(err)
	}
	if got := groupNames(t, l, project); got != "/aws/lambda/hello" {
		t.Errorf("groups: %s", got)
	}
	l.sweep()
	if _, err := os.Stat(filepath.Join(dir, project, ".old-1")); err == nil {
		t.Error("what a deletion left is still there")
	}
}

// A group's retention goes before the server's age limit, in what is removed and in what is shown.
func TestRetention(t *testing.T) {
	now := day
	l := openLogs(t, t.TempDir(), func(c *LogsConfig) { c.Now = func() time.Time { return now } })
	ctx := t.Context()
	for _, f := range []string{"long", "short", "plain"} {
		l.Append(line(f, 0, "old"))
	}
	if err := l.SetRetention(ctx, project, "/aws/lambda/long", 30); err != nil {
		t.Fatal(err)
	}
	if err := l.SetRetention(ctx, project, "/aws/lambda/short", 1); err != nil {
		t.Fatal(err)
	}
	later := func(d time.Duration, want map[string]string) {
		t.Helper()
		if err := l.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		now = day.Add(d)
		for f, want := range want {
			got := messages(collect(t, l, LogQuery{Function: f}))
			list, _ := page(t, l, EventQuery{Group: "/aws/lambda/" + f})
			if got != want || strings.Join(strings.Fields(want), " ") != texts(list) {
				t.Errorf("after %v %s has %q and %q, want %q", d, f, got, texts(list), want)
			}
		}
	}
	later(23*time.Hour, map[string]string{"long": "old\n", "short": "old\n", "plain": "old\n"})
	l.Append(line("short", 23*3600, "new"))
	later(25*time.Hour, map[string]string{"long": "old\n", "short": "new\n", "plain": "old\n"})
	if files, _ := filepath.Glob(filepath.Join(l.dir, project, "short", "*.log")); len(files) != 2 {
		t.Errorf("old and new lines are in %v", files)
	}
	if err := l.SetRetention(ctx, project, "/aws/lambda/short", 0); err != nil {
		t.Fatal(err)
	}
	later(25*time.Hour, map[string]string{"short": "old\nnew\n"})
}

func TestStreams(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, func(c *LogsConfig) { c.FunctionSize = 1 << 20 })
	ctx := t.Context()
	const group = "/aws/lambda/hello"
	text := strings.Repeat("x", 1000)
	for i := range 300 { // several segments
		e := line("hello", i, text)
		if i%2 == 1 {
			e.Version, e.Instance = "3", "i2"
		}
		l.Append(e)
		if i%20 == 0 {
			l.Sync(ctx)
		}
	}
	e := line("hello", 12*3600, "tomorrow")
	l.Append(e)
	if err := l.CreateStream(ctx, project, group, "mine"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"mine", "2026/11/23/[3]i2"} {
		if err := l.CreateStream(ctx, project, group, s); hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("%s again: %v", s, err)
		}
	}
	if err := l.CreateStream(ctx, project, "none", "mine"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("in no group: %v", err)
	}
	show := func() string {
		list, err := l.Streams(ctx, project, group)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range list {
			span := ""
			if !s.First.IsZero() {
				span = fmt.Sprint(" ", s.First.Sub(day), " ", s.Last.Sub(day), " ", s.LastIngestion.Sub(day))
			}
			out = append(out, s.Name+span)
		}
		return strings.Join(out, "\n")
	}
	want := "2026/11/23/[$LATEST]i1 0s 4m58s 0s\n2026/11/23/[3]i2 1s 4m59s 0s\n2026/11/24/[$LATEST]i1 12h0m0s 12h0m0s 0s\nmine"
	if got := show(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	indexes, _ := filepath.Glob(filepath.Join(dir, project, "hello", "*.idx"))
	segments, _ := filepath.Glob(filepath.Join(dir, project, "hello", "*.log"))
	if len(segments) < 3 || len(indexes) != len(segments)-1 {
		t.Errorf("%d segments, %d indexes", len(segments), len(indexes))
	}
	// The index is what is read: one that says something else is believed while it fits its segment, and made again when not.
	var x index
	text1, _ := os.ReadFile(indexes[0])
	if err := json.Unmarshal(text1, &x); err != nil {
		t.Fatal(err)
	}
	x.Streams["made up"] = span{1, 2, 3}
	for i, has := range []bool{true, false} {
		x.Size += int64(i)
		text, _ := json.Marshal(x)
		if err := os.WriteFile(indexes[0], text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(show(), "made up"); got != has {
			t.Errorf("%d: an altered index is used: %v", i, got)
		}
	}
	before, _ := page(t, l, EventQuery{Group: group, Stream: func(s string) bool { return s == "2026/11/23/[$LATEST]i1" }})
	for _, s := range []string{"2026/11/23/[3]i2", "mine"} {
		if err := l.DeleteStream(ctx, project, group, s); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteStream(ctx, project, group, s); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("%s deleted again: %v", s, err)
		}
	}
	l.Append(line("hello", 13*3600, "goes on"))
	l.Close()
	l = openLogs(t, dir, nil)
	if got, want := show(), "2026/11/23/[$LATEST]i1 0s 4m58s 0s\n2026/11/24/[$LATEST]i1 12h0m0s 13h0m0s 0s"; got != want {
		t.Errorf("after the deletion:\n%s", got)
	}
	after, _ := page(t, l, EventQuery{Group: group, Stream: func(s string) bool { return s == "2026/11/23/[$LATEST]i1" }})
	if !slices.Equal(before, after) {
		t.Error("the ids of other events have changed")
	}
	left := 0
	for _, f := range segments {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		left += strings.Count(string(b), text)
	}
	if left != 150 {
		t.Errorf("%d of 150 lines are in the files after the deletion of as many", left)
	}
}

// Pages, in whatever size and direction, make up all events in the order of time; ids are stable and unique.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, func(c *LogsConfig) { c.FunctionSize = 1 << 20; c.Burst = 1 << 30 })
	ctx := t.Context()
	if err := l.CreateGroup(ctx, project, "g", nil); err != nil {
		t.Fatal(err)
	}
	var want []string
	const events = 600
	for i := range events {
		want = append(want, fmt.Sprintf("%04d", i))
	}
	pad := strings.Repeat("p", 1500)
	for k := range events { // in an order that is not that of time, over several segments
		i := (k * 7919) % events
		in := []InputEvent{{Time: day.Add(time.Duration(i/2) * time.Second), Message: fmt.Sprintf("%04d%s", i, pad)}}
		if err := l.Put(ctx, project, "g", fmt.Sprint("s", i%3), in); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*.log")); len(files) < 5 {
		t.Fatalf("only %d segments", len(files))
	}
	number := func(e StoredEvent) string { return e.Message[:4] }
	for _, backward := range []bool{false, true} {
		for _, limit := range []int{1000, 7} {
			q := EventQuery{Project: project, Group: "g", Limit: limit, Bytes: 20_000, Backward: backward}
			var got []StoredEvent
			for more := true; more && len(got) <= events; {
				var list []StoredEvent
				list, more = page(t, l, q)
				if len(list) == 0 || len(list) > limit || len(list) > 13 {
					t.Fatalf("a page of %d", len(list))
				}
				at := list[len(list)-1].Position
				if backward {
					at = list[0].Position
					got = append(slices.Clone(list), got...)
				} else {
					got = append(got, list...)
				}
				q.From = &at
			}
			ids := map[string]bool{}
			var numbers []string
			for i, e := range got {
				ids[e.ID] = true
				numbers = append(numbers, number(e))
				if i > 0 && e.Compare(got[i-1].Position) <= 0 {
					t.Fatal("not in order")
				}
			}
			slices.Sort(numbers)
			if len(ids) != events || !slices.Equal(numbers, want) {
				t.Errorf("backward %v, limit %d: %d events, %d ids", backward, limit, len(got), len(ids))
			}
		}
	}
	list, more := page(t, l, EventQuery{Group: "g", Since: day.Add(10 * time.Second), Until: day.Add(13 * time.Second),
		Stream: func(s string) bool { return s != "s0" }, Match: func(b []byte) bool { return string(b[:4]) != "0023" }})
	var got []string
	for _, e := range list {
		got = append(got, number(e))
	}
	slices.Sort(got)
	if fmt.Sprint(got) != "[0020 0022 0025]" || more {
		t.Errorf("selected %v, %v", got, more)
	}
	if _, _, err := l.Events(ctx, EventQuery{Project: project, Group: "none", Limit: 1, Bytes: 1}); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("no such group: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := l.Events(canceled, EventQuery{Project: project, Group: "g", Limit: 1, Bytes: 1}); err == nil {
		t.Error("a query that was canceled ended well")
	}
}

// What Put has acknowledged needs no Close; what it could not write it does not acknowledge.
func TestPut(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, func(c *LogsConfig) { c.Flush = time.Hour; c.Burst = 4 << 20; c.Rate = 1 })
	ctx := t.Context()
	if err := l.Put(ctx, project, "g", "s", []InputEvent{{day, "x"}}); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("without a group: %v", err)
	}
	if err := l.CreateGroup(ctx, project, "g", nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Put(ctx, project, "g", "s", []InputEvent{{day, "one"}, {day.Add(time.Millisecond), "two"}}); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, project, "*", "*.log"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	if b, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(b), "one") || !strings.Contains(string(b), "two") {
		t.Errorf("%q, %v", b, err)
	}
	if got := messages(collect(t, l, LogQuery{})); got != "" {
		t.Errorf("lines of no function are among the functions' lines: %q", got)
	}
	if got := messages(collect(t, l, LogQuery{Group: "g"})); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	big := []InputEvent{{day, strings.Repeat("b", maxMessage)}}
	for range 3 {
		if err := l.Put(ctx, project, "g", "s", big); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Put(ctx, project, "g", "s", big); hansom.KindOf(err) != hansom.Throttled {
		t.Errorf("too fast: %v", err)
	}
	list, _ := page(t, l, EventQuery{Group: "g", Bytes: 4 << 20})
	if len(list) != 5 || len(list[3].Message) != maxMessage || list[4].Message != "two" {
		t.Errorf("%d events", len(list))
	}
	s := l.group(groupOf(project, "g"), false)
	if err := l.change(ctx, func() error { l.release(s); return os.RemoveAll(s.dir) }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir, nil, 0o600); err != nil { // a file where a folder has to be
		t.Fatal(err)
	}
	if err := l.Put(ctx, project, "g", "s", []InputEvent{{day, "x"}}); err == nil {
		t.Error("what was not written was acknowledged")
	}
}
