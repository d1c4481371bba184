package logs

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

func readCases(t testing.TB, file string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPatterns holds patterns of testdata/patterns.json against messages: one pattern and many messages, or the other way round.
func TestPatterns(t *testing.T) {
	var groups []struct {
		About, Message string
		Match, Not     []string
		Cases          []struct {
			Pattern    string
			Match, Not []string
		}
	}
	readCases(t, "patterns.json", &groups)
	check := func(t *testing.T, text, message string, want bool) {
		t.Helper()
		p, err := parsePattern(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := p == nil || p([]byte(message)); got != want {
			t.Errorf("%s on %q: %v", text, message, got)
		}
	}
	for _, g := range groups {
		t.Run(g.About, func(t *testing.T) {
			for _, p := range g.Match {
				check(t, p, g.Message, true)
			}
			for _, p := range g.Not {
				check(t, p, g.Message, false)
			}
			for _, c := range g.Cases {
				for _, m := range c.Match {
					check(t, c.Pattern, m, true)
				}
				for _, m := range c.Not {
					check(t, c.Pattern, m, false)
				}
			}
		})
	}
}

func TestMalformedPatterns(t *testing.T) {
	var patterns []string
	readCases(t, "malformed.json", &patterns)
	patterns = append(patterns, "{"+strings.Repeat("(", 500)+"}")
	for _, text := range patterns {
		_, err := parsePattern(text)
		if hansom.KindOf(err) != hansom.Invalid || err == nil || !strings.HasPrefix(err.Error(), "Invalid filter pattern: ") {
			t.Errorf("%.50s: %v", text, err)
		}
	}
}

// FuzzPattern: whatever comes, a pattern is refused with a message or decides on messages; and it decides twice alike.
func FuzzPattern(f *testing.F) {
	var groups []struct {
		Message    string
		Match, Not []string
		Cases      []struct {
			Pattern    string
			Match, Not []string
		}
	}
	readCases(f, "patterns.json", &groups)
	var malformed []string
	readCases(f, "malformed.json", &malformed)
	for _, g := range groups {
		for _, p := range append(g.Match, g.Not...) {
			f.Add(p, g.Message)
		}
		for _, c := range g.Cases {
			for _, m := range append(c.Match, c.Not...) {
				f.Add(c.Pattern, m)
			}
		}
	}
	for _, p := range malformed {
		f.Add(p, "x")
	}
	f.Fuzz(func(t *testing.T, text, message string) {
		p, err := parsePattern(text)
		if err != nil {
			if hansom.KindOf(err) != hansom.Invalid || err.Error() == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if p == nil {
			return
		}
		first := p([]byte(message))
		if again := p([]byte(message)); again != first {
			t.Errorf("it decides %v, then %v", first, again)
		}
	})
}
