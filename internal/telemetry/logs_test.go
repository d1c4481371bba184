package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const project = "000000000000"

func openLogs(t testing.TB, dir string, change func(*LogsConfig)) *Logs {
	t.Helper()
	cfg := DefaultLogsConfig()
	cfg.Now = func() time.Time { return day }
	cfg.Flush = time.Millisecond
	if change != nil {
		change(&cfg)
	}
	l, err := NewLogs(cfg, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func line(function string, i int, message string) hansom.LogEvent {
	return hansom.LogEvent{Time: day.Add(time.Duration(i) * time.Second), Project: project, Function: function, Version: "$LATEST",
		Instance: "i1", RequestID: fmt.Sprintf("r%d", i), Message: message}
}

func collect(t testing.TB, l *Logs, q LogQuery) []hansom.LogEvent {
	t.Helper()
	if q.Project == "" {
		q.Project = project
	}
	var list []hansom.LogEvent
	for e, err := range l.Query(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func messages(list []hansom.LogEvent) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(e.Message + "\n")
	}
	return b.String()
}

func TestQuery(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	for i, m := range []string{"START RequestId: r0", "hello, wörld", "a.b [x]", "", "ERROR boom", "END RequestId: r5"} {
		e := line("hello", i, m)
		if i == 0 {
			e.Source = "async"
		}
		l.Append(e)
	}
	l.Append(hansom.LogEvent{Time: day.Add(2500 * time.Millisecond), Project: project, Function: "other", Message: "other"})
	l.Append(hansom.LogEvent{Time: day, Project: "111111111111", Function: "hello", Message: "foreign"})
	at := func(s int) time.Time { return day.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name string
		q    LogQuery
		want string
	}{
		{"all", LogQuery{Function: "hello"}, "START RequestId: r0\nhello, wörld\na.b [x]\n\nERROR boom\nEND RequestId: r5\n"},
		{"since", LogQuery{Function: "hello", Since: at(4)}, "ERROR boom\nEND RequestId: r5\n"},
		{"until", LogQuery{Function: "hello", Until: at(1)}, "START RequestId: r0\n"},
		{"between", LogQuery{Function: "hello", Since: at(1), Until: at(3)}, "hello, wörld\na.b [x]\n"},
		{"word", LogQuery{Function: "hello", Grep: "boom"}, "ERROR boom\n"},
		{"expression", LogQuery{Function: "hello", Grep: `^(?i)error|w.rld$`}, "hello, wörld\nERROR boom\n"},
		{"request", LogQuery{Function: "hello", RequestID: "r2"}, "a.b [x]\n"},
		{"newest", LogQuery{Function: "hello", Limit: 2}, "ERROR boom\nEND RequestId: r5\n"},
		{"newest that match", LogQuery{Function: "hello", Limit: 1, Grep: "RequestId"}, "END RequestId: r5\n"},
		{"limit above", LogQuery{Function: "hello", Limit: 100, Grep: "RequestId"}, "START RequestId: r0\nEND RequestId: r5\n"},
		{"project", LogQuery{}, "START RequestId: r0\nhello, wörld\na.b [x]\nother\n\nERROR boom\nEND RequestId: r5\n"},
		{"project newest", LogQuery{Limit: 4}, "other\n\nERROR boom\nEND RequestId: r5\n"},
		{"no such function", LogQuery{Function: "none"}, ""},
		{"other project", LogQuery{Project: "222222222222"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := messages(collect(t, l, c.q)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
	if l.group(groupID{project: project, function: "none"}, false) != nil {
		t.Error("a query for what is not there was kept in memory")
	}
	want := line("hello", 1, "hello, wörld")
	if got := collect(t, l, LogQuery{Function: "hello", RequestID: "r1"}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = line("hello", 0, "START RequestId: r0")
	want.Source = "async"
	if got := collect(t, l, LogQuery{Function: "hello", RequestID: "r0"}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, q := range []LogQuery{{Project: project, Grep: "("}, {Project: "../x"}, {Project: project, Function: "../x"}, {Project: project, Limit: -1}, {Project: project, Limit: 1 << 30}} {
		var got error
		for _, err := range l.Query(t.Context(), q) {
			got = err
		}
		if hansom.KindOf(got) != hansom.Invalid {
			t.Errorf("%+v: error is %v", q, got)
		}
	}
	for range l.Query(t.Context(), LogQuery{Project: project, Function: "hello"}) {
		break // stopping early is fine
	}
	l.Append(hansom.LogEvent{Project: "..", Function: "x", Message: "outside"})
	l.Append(hansom.LogEvent{Project: project, Function: "../../x", Message: "outside"})
	l.Close()
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "x")); err == nil {
		t.Error("a name led out of the folder")
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	for i := range 10 {
		l.Append(line("hello", i, fmt.Sprint("line ", i)))
	}
	l.Close()
	l.Append(line("hello", 99, "after close"))
	l = openLogs(t, dir, nil)
	l.Append(line("hello", 10, "line 10"))
	got := collect(t, l, LogQuery{Function: "hello"})
	if len(got) != 11 || got[0] != line("hello", 0, "line 0") || got[10].Message != "line 10" {
		t.Errorf("got %d lines:\n%s", len(got), messages(got))
	}
}

// What has been flushed needs no Close to be found by another process: it survives kill -9.
func TestFlushedWithoutClose(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	l.Append(line("hello", 0, "hello"))
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		files, _ := filepath.Glob(filepath.Join(dir, project, "hello", "*.log"))
		if len(files) == 1 {
			if b, err := os.ReadFile(files[0]); err == nil && bytes.Contains(b, []byte("hello")) {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the line was not written")
		}
	}
}

// A record that a crash has cut short, at whatever byte, costs itself and nothing else.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	l.Append(line("hello", 0, "first"))
	l.Append(line("hello", 1, "second"))
	l.Close()
	files, _ := filepath.Glob(filepath.Join(dir, project, "hello", "*.log"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	first := line("", 0, "first") // the group's own function is not repeated
	second := len(segmentHeader) + recordSize(&first)
	var cases [][]byte
	for n := range whole {
		cases = append(cases, whole[:n])
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	cases = append(cases, flipped, append(slices.Clone(whole), "garbage"...), append(slices.Clone(whole), make([]byte, 4096)...))
	for i, b := range cases {
		want := "first\nsecond\nthird\n"
		switch {
		case len(b) < second:
			want = "third\n"
		case len(b) < len(whole) || i == len(whole):
			want = "first\nthird\n"
		}
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLogs(t, dir, nil)
		l.Append(line("hello", 2, "third"))
		l.Close()
		l = openLogs(t, dir, nil)
		if got := messages(collect(t, l, LogQuery{Function: "hello"})); got != want {
			t.Fatalf("%d bytes: got %q, want %q", len(b), got, want)
		}
		l.Close()
		left, _ := filepath.Glob(filepath.Join(dir, project, "hello", "*.log"))
		for _, f := range left {
			os.Remove(f)
		}
	}
}

func diskSize(t *testing.T, dir string) (size int64, files int) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size, len(list)
}

// One function writes 100 MB at once, others go on: it is limited and says so, nothing of theirs is lost.
func TestFlood(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, func(c *LogsConfig) { c.FunctionSize = 8 << 20; c.Burst = 4 << 20; c.Rate = 1 << 20 })
	var wg sync.WaitGroup
	const each = 2000
	wg.Go(func() {
		noise := strings.Repeat("x", 1000)
		l.Append(line("flood", 0, "START RequestId: r0 Version: $LATEST"))
		for i := range 100_000 {
			e := line("flood", 0, noise)
			e.Time = day.Add(time.Duration(i) * 10 * time.Microsecond) // 100 MB in a second
			l.Append(e)
		}
		l.Append(line("flood", 1, "END RequestId: r0"))
		l.Append(line("flood", 1, "REPORT RequestId: r0"))
	})
	for g := range 4 {
		wg.Go(func() {
			for i := range each {
				l.Append(line(fmt.Sprint("calm-", g), i, "calm"))
			}
		})
	}
	wg.Wait()
	for g := range 4 {
		if n := len(collect(t, l, LogQuery{Function: fmt.Sprint("calm-", g)})); n != each {
			t.Errorf("calm-%d has %d lines of %d", g, n, each)
		}
	}
	got := collect(t, l, LogQuery{Function: "flood"})
	kept, dropped := 0, 0
	for _, e := range got {
		var n int
		if _, err := fmt.Sscanf(e.Message, "%d line", &n); err == nil && strings.Contains(e.Message, " dropped: ") {
			dropped += n
		} else {
			kept++
		}
	}
	if kept+dropped != 100_003 || int64(dropped) != l.Dropped() {
		t.Errorf("%d kept and %d dropped of 100,003; the counter says %d", kept, dropped, l.Dropped())
	}
	if kept < 3000 || kept > 8000 {
		t.Errorf("%d lines of 1 KB were kept; 4 MB and 1 MB/s are allowed", kept)
	}
	for _, want := range []string{"START RequestId: r0 Version: $LATEST", "END RequestId: r0", "REPORT RequestId: r0"} {
		if !slices.ContainsFunc(got, func(e hansom.LogEvent) bool { return e.Message == want }) {
			t.Errorf("%q was dropped", want)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, func(c *LogsConfig) { c.FunctionSize = 1 << 20 })
	l.Append(line("small", 0, "stays"))
	l.Append(line("big", -1, "first"))
	began, err := l.Group(t.Context(), project, "/aws/lambda/big")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("y", 1000)
	for i := range 5000 {
		l.Append(line("big", i, fmt.Sprintf("%d %s", i, text)))
		if i%50 == 0 {
			if err := l.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	size, files := diskSize(t, filepath.Join(dir, project, "big"))
	if size > 1<<20+100 || size < 1<<19 || files < 8 {
		t.Errorf("%d bytes in %d files are kept of a limit of 1 MB", size, files)
	}
	if g, err := l.Group(t.Context(), project, "/aws/lambda/big"); err != nil || !g.Created.Equal(began.Created) {
		t.Errorf("it was made at %s and now at %s, %v", began.Created, g.Created, err)
	}
	got := collect(t, l, LogQuery{Function: "big"})
	for i, e := range got {
		if want := 5000 - len(got) + i; !strings.HasPrefix(e.Message, fmt.Sprint(want, " ")) {
			t.Fatalf("line %d of %d is %.20q, want %d", i, len(got), e.Message, want)
		}
	}
	if newest := collect(t, l, LogQuery{Function: "big", Limit: 100}); len(newest) != 100 || newest[0] != got[len(got)-100] {
		t.Errorf("the newest 100 are %d", len(newest))
	}
	if got := messages(collect(t, l, LogQuery{Function: "small"})); got != "stays\n" {
		t.Errorf("the other function has %q", got)
	}
	long := collect(t, l, LogQuery{Function: "big", Limit: 1})
	l.Append(line("big", 9999, strings.Repeat("ü", maxLine)))
	if cut := collect(t, l, LogQuery{Function: "big", Limit: 1}); len(cut[0].Message) != maxLine || cut[0].Time.Equal(long[0].Time) {
		t.Errorf("a message of 512 KB is kept with %d bytes", len(cut[0].Message))
	}
}

func TestAgeLimit(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	cfg := func(c *LogsConfig) { c.Now = func() time.Time { return now } }
	l := openLogs(t, dir, cfg)
	for _, f := range []string{"old", "unused", "young"} {
		l.Append(line(f, 0, "x"))
	}
	l.Close()
	past := now.Add(-15 * 24 * time.Hour)
	for _, f := range []string{"old", "unused"} {
		files, _ := filepath.Glob(filepath.Join(dir, project, f, "*.log"))
		if err := os.Chtimes(files[0], past, past); err != nil {
			t.Fatal(err)
		}
	}
	l = openLogs(t, dir, cfg)
	if n := len(collect(t, l, LogQuery{Function: "old"})); n != 1 {
		t.Fatal(n)
	}
	l.sweep()
	for f, want := range map[string]int{"old": 0, "unused": 0, "young": 1} {
		if n := len(collect(t, l, LogQuery{Function: f})); n != want {
			t.Errorf("%s has %d lines, want %d", f, n, want)
		}
	}
	for f, want := range map[string]bool{"old": false, "unused": false, "young": true} {
		if _, err := os.Stat(filepath.Join(dir, project, f)); (err == nil) != want {
			t.Errorf("folder of %s: %v", f, err)
		}
	}
	l.Append(line("old", 1, "again"))
	if got := messages(collect(t, l, LogQuery{Function: "old"})); got != "again\n" {
		t.Errorf("after the sweep: %q", got)
	}
}

func TestManyFunctions(t *testing.T) {
	l := openLogs(t, t.TempDir(), nil)
	before := runtime.NumGoroutine()
	for round := range 2 {
		for i := range 1000 {
			l.Append(line(fmt.Sprint("f", i), round, "x"))
		}
		if err := l.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	if n := len(l.open); n > openFiles {
		t.Errorf("%d files are open", n)
	}
	if got := collect(t, l, LogQuery{}); len(got) != 2000 {
		t.Errorf("%d lines of 2,000", len(got))
	}
}

// A disk that refuses costs lines, which are counted, and heals.
func TestWriteFailure(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir, nil)
	if err := os.WriteFile(filepath.Join(dir, project), nil, 0o600); err != nil { // a file where a folder has to be
		t.Fatal(err)
	}
	l.Append(line("hello", 0, "lost"))
	l.Append(line("hello", 0, "lost too"))
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, project)); err != nil {
		t.Fatal(err)
	}
	l.Append(line("hello", 1, "kept"))
	if got, want := messages(collect(t, l, LogQuery{Function: "hello"})), "kept\n2 lines lost: they could not be written to the log's files\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// A segment removed by hand does not stop the log.
	if err := os.RemoveAll(filepath.Join(dir, project)); err != nil {
		t.Fatal(err)
	}
	for s := range slices.Values(l.groups(project)) {
		l.release(s) // as if many others had been written to since
	}
	l.Append(line("hello", 2, "new"))
	if got := messages(collect(t, l, LogQuery{Function: "hello"})); got != "new\n" {
		t.Errorf("got %q", got)
	}
}

func TestSyncStops(t *testing.T) {
	l := openLogs(t, t.TempDir(), nil)
	l.Close()
	if err := l.Sync(context.Background()); err != nil {
		t.Errorf("Sync after Close: %v", err)
	}
}

func TestConfig(t *testing.T) {
	if _, err := NewLogs(LogsConfig{}, t.TempDir(), slog.New(slog.DiscardHandler)); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("error is %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	e := line("hello", 1, "message")
	good := appendRecord(nil, &e, 1)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add(append(slices.Clone(good), good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = parseRecord(segmentHeader1, b)
		r, n, err := parseRecord(segmentHeader, b)
		if err != nil {
			return
		}
		e := r.event(groupID{project: project})
		if again := appendRecord(nil, &e, r.ingested); !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x is written as %x", b[:n], again)
		}
	})
}

// FuzzSegment opens a file of any content: it must be readable and writable after.
func FuzzSegment(f *testing.F) {
	e := line("hello", 1, "message")
	f.Add(appendRecord([]byte(segmentHeader), &e, 1))
	f.Add([]byte(segmentHeader))
	f.Add([]byte("HANSLOG"))
	f.Add(appendRecord([]byte(segmentHeader+"x"), &e, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, project, "hello", "0000000000000001.log")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLogs(t, dir, nil)
		before := collect(t, l, LogQuery{Function: "hello"})
		l.Append(line("hello", 7, "seventh"))
		after := collect(t, l, LogQuery{Function: "hello"})
		if len(after) != len(before)+1 || after[len(before)].Message != "seventh" {
			t.Fatalf("%d lines, then %d", len(before), len(after))
		}
		l.Close()
	})
}

func TestPlatformLines(t *testing.T) {
	for message, want := range map[string]bool{
		"START RequestId: r Version: 1":                                            true,
		`{"time":"2026-11-25T12:00:00.000Z","type":"platform.report","record":{}}`: true,
		`{"time":"2026-11-25T12:00:00.000Z","level":"INFO","message":"platform."}`: false,
		`{"time":"`:          false,
		"a REPORT RequestId": false,
	} {
		if isPlatform(message) != want {
			t.Errorf("%s: %v", message, !want)
		}
	}
}
