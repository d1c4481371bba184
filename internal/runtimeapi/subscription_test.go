package runtimeapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// TestSubscriptions runs testdata/subscriptions.txt: a request, and below it what is wrong with it.
func TestSubscriptions(t *testing.T) {
	data, err := os.ReadFile("testdata/subscriptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		s, problem := parseSubscription([]byte(lines[i]), telemetryForms)
		if problem != lines[i+1] {
			t.Errorf("%s\n got %q\nwant %q", lines[i], problem, lines[i+1])
		}
		if problem == "" && s.port != 8080 {
			t.Errorf("%s: port %d", lines[i], s.port)
		}
	}
	s, _ := parseSubscription([]byte(lines[4]), telemetryForms)
	if s.path != "/a?b=c" || s.method != "POST" || s.maxItems != 1000 || s.timeout.Milliseconds() != 25 || s.form != telemetry20250129 {
		t.Errorf("%+v", s)
	}
}

func FuzzSubscription(f *testing.F) {
	data, err := os.ReadFile("testdata/subscriptions.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, problem := parseSubscription(data, logsForms)
		if problem == "" && (s.port < 1 || s.port > 65535 || s.port == 9001 || s.maxItems > 10_000 || s.maxBytes > 1<<20 || len(s.types) == 0 || s.timeout <= 0) {
			t.Errorf("%q is in order: %+v", data, s)
		}
	})
}

// TestEvents runs testdata/events: an event, and what each version of the schema makes of it. A form that is not named knows no
// such event.
func TestEvents(t *testing.T) {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	names := map[string]form{"2022-07-01": telemetry20220701, "2022-12-13": telemetry20221213, "2025-01-29": telemetry20250129, "2020-08-15": logs20200815, "2021-03-18": logs20210318}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Format string
				Event  sandbox.Event
				Want   map[string]json.RawMessage
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for list, value := range c.Want {
				for _, name := range strings.Split(list, " ") {
					want[name] = canonical(t, value)
				}
			}
			v := &hansom.Version{Function: "hello", Number: "3", Memory: 128, Logging: hansom.Logging{Format: c.Format}}
			if c.Event.Report != nil {
				c.Event.Report.Version = v
			}
			cfg := &sandbox.ExtensionConfig{Version: v, Instance: "abc"}
			for name, f := range names {
				got := ""
				if p := render(&c.Event, f, cfg); p != nil {
					got = canonical(t, p)
				}
				if got != want[name] {
					t.Errorf("%s:\n got %s\nwant %s", name, got, want[name])
				}
			}
		})
	}
}

func canonical(t *testing.T, p []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(p, &v); err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	out, _ := json.Marshal(v)
	return string(out)
}
