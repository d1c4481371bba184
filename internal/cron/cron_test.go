package cron

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// cases reads a file of rows, with their columns.
func cases(t testing.TB, file string) (list [][]string) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, strings.Split(strings.TrimSuffix(line, "\n"), " | "))
		}
	}
	return list
}

func TestValid(t *testing.T) {
	for _, c := range cases(t, "valid.txt") {
		e, err := Parse(c[0])
		if err != nil || e.String() != c[0] {
			t.Errorf("%s: %v, %v", c[0], e, err)
		}
		if _, err := ParseRule(c[0]); (err == nil) != (c[1] == "rule") {
			t.Errorf("%s for a rule: %v", c[0], err)
		}
	}
}

func TestInvalid(t *testing.T) {
	for _, c := range cases(t, "invalid.txt") {
		_, err := Parse(c[0])
		if (err == nil) != (c[1] == "rule") {
			t.Errorf("%s: %v", c[0], err)
		}
		if _, err = ParseRule(c[0]); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v, want %s", c[0], err, c[2])
		}
	}
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func times(t testing.TB, text, zone string) Times {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return Times{Expression: e, Zone: location}
}

func TestNext(t *testing.T) {
	for _, c := range cases(t, "next.txt") {
		x, after := times(t, c[0], c[1]), instant(t, c[2])
		if x.Kind() == Rate {
			x.Start = after
		}
		for want := range strings.FieldsSeq(c[3]) {
			got, ok := x.Next(after)
			if ok != (want != "-") || ok && !got.Equal(instant(t, want)) {
				t.Errorf("%s in %s after %s: got %v, %v, want %s", c[0], c[1], after, got, ok, want)
			}
			after = got
		}
	}
}

func TestStartAndEnd(t *testing.T) {
	noon := instant(t, "2026-01-01T12:00:00Z")
	for _, c := range []struct {
		text  string
		after time.Duration
		want  time.Duration // 0 for none
	}{
		{"rate(1 hour)", -time.Hour, 30 * time.Minute},
		{"rate(1 hour)", 30*time.Minute - 1, 30 * time.Minute},
		{"rate(1 hour)", 30 * time.Minute, 90 * time.Minute},
		{"rate(1 hour)", 90 * time.Minute, 150 * time.Minute},
		{"rate(1 hour)", 150 * time.Minute, 0},
		{"cron(0/30 * * * ? *)", -time.Hour, 30 * time.Minute},
		{"cron(0/30 * * * ? *)", 30 * time.Minute, time.Hour},
		{"cron(0/30 * * * ? *)", 150 * time.Minute, 0},
		{"at(2026-01-01T12:10:00)", 0, 10 * time.Minute},
		{"at(2026-01-01T19:00:00)", 0, 7 * time.Hour},
	} {
		x := times(t, c.text, "UTC")
		x.Start, x.End = noon.Add(30*time.Minute), noon.Add(150*time.Minute)
		got, ok := x.Next(noon.Add(c.after))
		if ok != (c.want != 0) || ok && got.Sub(noon) != c.want {
			t.Errorf("%s after %s: got %v, %v, want %s", c.text, c.after, got, ok, c.want)
		}
	}
}

// What was missed counts once, the latest of it, unless it is too old.
func TestLast(t *testing.T) {
	start := instant(t, "2026-01-01T00:00:30Z")
	for _, c := range []struct{ text, now, age, want string }{
		{"rate(5 minutes)", "2026-01-01T10:03:00Z", "24h", "2026-01-01T10:00:30Z"},
		{"rate(5 minutes)", "2026-01-01T10:00:30Z", "1m", "2026-01-01T10:00:30Z"},
		{"rate(5 minutes)", "2026-01-01T10:03:00Z", "2m", ""},
		{"rate(5 minutes)", "2026-01-01T00:00:00Z", "24h", ""},
		{"cron(0 9 * * ? *)", "2026-01-05T08:00:00Z", "24h", "2026-01-04T09:00:00Z"},
		{"cron(0 9 * * ? *)", "2026-01-05T09:00:59Z", "1m", "2026-01-05T09:00:00Z"},
		{"cron(0 9 * * ? *)", "2026-01-05T09:01:01Z", "1m", ""},
		{"cron(* * * * ? *)", "2026-01-05T09:01:01Z", "24h", "2026-01-05T09:01:00Z"},
		{"at(2026-01-05T09:00:00)", "2026-01-05T20:00:00Z", "24h", "2026-01-05T09:00:00Z"},
		{"at(2026-01-05T09:00:00)", "2026-01-05T09:00:00Z", "0s", "2026-01-05T09:00:00Z"},
		{"at(2026-01-05T09:00:00)", "2026-01-07T20:00:00Z", "24h", ""},
	} {
		x := times(t, c.text, "UTC")
		x.Start = start
		age, _ := time.ParseDuration(c.age)
		got, ok := x.Last(instant(t, c.now), age)
		if ok != (c.want != "") || ok && !got.Equal(instant(t, c.want)) {
			t.Errorf("%s at %s, %s back: got %v, %v, want %s", c.text, c.now, c.age, got, ok, c.want)
		}
	}
}

// in says whether one of the items of a list of numbers, ranges and steps has n.
func in(list string, n, first, last int) bool {
	for item := range strings.SplitSeq(list, ",") {
		base, step, by := strings.Cut(item, "/")
		from, to, every := first, last, 1
		if by {
			fmt.Sscan(step, &every)
		}
		if base != "*" {
			if k, _ := fmt.Sscanf(base, "%d-%d", &from, &to); k < 2 && !by {
				to = from
			}
		}
		for k := from; k <= to; k += every {
			if k == n {
				return true
			}
		}
	}
	return false
}

// shows says whether an expression that oneExpression drew means the minute that clocks show at t, by the words of the user guide.
func shows(text string, t time.Time) bool {
	f := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(text, "cron("), ")"))
	day := false
	switch dom, dow := f[2], f[4]; {
	case dom == "L":
		day = t.AddDate(0, 0, 1).Month() != t.Month()
	case strings.HasSuffix(dom, "W"):
		var n int // the day that is meant
		if dom == "LW" {
			n = time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
		} else {
			fmt.Sscan(dom, &n)
		}
		target := time.Date(t.Year(), t.Month(), n, 0, 0, 0, 0, time.UTC)
		if target.Month() != t.Month() {
			break
		}
		for _, off := range []int{0, -1, 1, -2, 2} { // the nearest that is no weekend and in the month
			near := target.AddDate(0, 0, off)
			if near.Month() == t.Month() && near.Weekday() != time.Saturday && near.Weekday() != time.Sunday {
				day = near.Day() == t.Day()
				break
			}
		}
	case dom != "?":
		day = in(dom, t.Day(), 1, 31)
	case strings.Contains(dow, "#"):
		var weekday, n int
		fmt.Sscanf(dow, "%d#%d", &weekday, &n)
		seen := 0
		for d := 1; d <= t.Day(); d++ {
			if int(time.Date(t.Year(), t.Month(), d, 0, 0, 0, 0, time.UTC).Weekday())+1 == weekday {
				seen++
			}
		}
		day = int(t.Weekday())+1 == weekday && seen == n
	case strings.HasSuffix(dow, "L"):
		var weekday int
		fmt.Sscanf(dow, "%dL", &weekday)
		day = int(t.Weekday())+1 == weekday && t.AddDate(0, 0, 7).Month() != t.Month()
	default:
		day = in(dow, int(t.Weekday())+1, 1, 7)
	}
	return day && in(f[0], t.Minute(), 0, 59) && in(f[1], t.Hour(), 0, 23) && in(f[3], int(t.Month()), 1, 12) && in(f[5], t.Year(), 1970, 2199)
}

func oneExpression(t *rapid.T) string {
	item := func(first, last int) string {
		a, b := rapid.IntRange(first, last).Draw(t, "a"), rapid.IntRange(first, last).Draw(t, "b")
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 0:
			return fmt.Sprint(a)
		case 1:
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case 2:
			return fmt.Sprintf("*/%d", max(1, min(b, 12)))
		case 3:
			return fmt.Sprintf("%d/%d", a, max(1, min(b, 12)))
		}
		return fmt.Sprintf("%d,%d", a, b)
	}
	dom, dow := "?", "?"
	switch rapid.IntRange(0, 7).Draw(t, "day") {
	case 0:
		dom = "*"
	case 1:
		dom = item(1, 31)
	case 2:
		dom = rapid.SampledFrom([]string{"L", "LW"}).Draw(t, "L")
	case 3:
		dom = fmt.Sprintf("%dW", rapid.IntRange(1, 31).Draw(t, "W"))
	case 4:
		dow = fmt.Sprintf("%d#%d", rapid.IntRange(1, 7).Draw(t, "weekday"), rapid.IntRange(1, 5).Draw(t, "nth"))
	case 5:
		dow = fmt.Sprintf("%dL", rapid.IntRange(1, 7).Draw(t, "weekday"))
	case 6:
		dow = fmt.Sprintf("%d-7", rapid.IntRange(1, 7).Draw(t, "weekday"))
	default:
		dow = "*"
	}
	month := rapid.SampledFrom([]string{"*", "*", "3,4", "10-11"}).Draw(t, "month")
	year := rapid.SampledFrom([]string{"*", "2026", "2025-2027/2"}).Draw(t, "year")
	return fmt.Sprintf("cron(%s %s %s %s %s %s)", item(0, 59), item(0, 23), dom, month, dow, year)
}

// Next is what a search minute by minute finds, over the changes of daylight saving too.
func TestSearch(t *testing.T) {
	around := []string{"2026-03-08T09:00:00Z", "2026-11-01T07:30:00Z", "2026-03-29T00:10:00Z", "2026-10-25T00:00:00Z", "2026-04-04T14:00:00Z",
		"2026-10-03T14:00:00Z", "2025-12-30T00:00:00Z", "2028-02-28T12:00:00Z", "2026-06-15T12:34:56Z"}
	rapid.Check(t, func(r *rapid.T) {
		text := oneExpression(r)
		zone := rapid.SampledFrom([]string{"UTC", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"}).Draw(r, "zone")
		x := times(t, text, zone)
		after := instant(t, rapid.SampledFrom(around).Draw(r, "around")).Add(time.Duration(rapid.IntRange(-86400, 86400).Draw(r, "seconds")) * time.Second)
		got, ok := x.Next(after)
		end := after.Add(10 * 24 * time.Hour)
		for m := after.Truncate(time.Minute).Add(time.Minute); m.Before(end); m = m.Add(time.Minute) {
			local := m.In(x.Zone)
			if !shows(text, local) {
				continue
			}
			again := false // the clocks have shown it before
			for back := time.Minute; back <= 2*time.Hour; back += time.Minute {
				again = again || m.Add(-back).In(x.Zone).Format("02 15:04") == local.Format("02 15:04")
			}
			if again {
				continue
			}
			if !ok || !got.Equal(m) {
				r.Fatalf("%s in %s after %s: got %v, %v, want %s", text, zone, after, got, ok, m)
			}
			return
		}
		if ok && got.Before(end) {
			r.Fatalf("%s in %s after %s: got %v, want none before %s", text, zone, after, got, end)
		}
	})
}

// Whatever is read has times that are later than asked for, in their order, and is found again by Last.
func FuzzParse(f *testing.F) {
	for _, c := range append(cases(f, "valid.txt"), cases(f, "invalid.txt")...) {
		f.Add(c[0])
	}
	now := time.Date(2026, 3, 8, 9, 30, 30, 0, time.UTC)
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		x := Times{Expression: e, Zone: zone, Start: now}
		at := now
		for range 3 {
			next, ok := x.Next(at)
			if !ok {
				return
			}
			if !next.After(at) {
				t.Fatalf("%s after %s: %s", text, at, next)
			}
			if last, ok := x.Last(next, time.Second); !ok || !last.Equal(next) {
				t.Fatalf("%s: the last time at %s is %s", text, next, last)
			}
			at = next
		}
	})
}

func BenchmarkNext(b *testing.B) {
	e, err := Parse("cron(0 9 ? * MON-FRI *)")
	if err != nil {
		b.Fatal(err)
	}
	x, now := Times{Expression: e}, time.Date(2026, 3, 6, 9, 30, 30, 0, time.UTC)
	for b.Loop() {
		x.Next(now)
	}
}
