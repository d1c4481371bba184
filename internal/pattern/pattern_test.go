package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hansomcloud/hansom"
)

// cases reads testdata/match.txt.
func cases(t testing.TB) (list [][]string) {
	t.Helper()
	data, err := os.ReadFile("testdata/match.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(strings.TrimSpace(line), " | ")
		if len(c) != 4 {
			t.Fatal(line)
		}
		list = append(list, c)
	}
	return list
}

func TestMatch(t *testing.T) {
	for _, c := range cases(t) {
		p, err := Parse(c[1])
		if err != nil {
			t.Errorf("%s: %v", c[0], err)
			continue
		}
		if got, err := p.Match([]byte(c[2])); err != nil || got != (c[3] == "yes") {
			t.Errorf("%s: %s and %s: %v, %v", c[0], c[1], c[2], got, err)
		}
	}
}

func refused(t testing.TB) (list [][2]string) {
	t.Helper()
	data, err := os.ReadFile("testdata/refused.json")
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRefused(t *testing.T) {
	for _, c := range refused(t) {
		_, err := Parse(c[0])
		var e *hansom.Error
		if !errors.As(err, &e) || e.Kind != hansom.Invalid || e.Code != "InvalidEventPatternException" || e.Message != "Event pattern is not valid. Reason: "+c[1] {
			t.Errorf("%s\ngot  %v\nwant %s", c[0], err, c[1])
		}
	}
}

// A pattern may be large, but what it costs is limited.
func TestLimits(t *testing.T) {
	for _, text := range []string{
		`{"a":[` + strings.Repeat("[", 2000),
		strings.Repeat(`{"a":`, 2000),
		`{` + strings.Repeat(`"$or":[{"a":[1]},{"b":[1]}],`, 20) + `"c":[1]}`,
	} {
		if _, err := Parse(text); hansom.KindOf(err) != hansom.Invalid || len(err.Error()) > 1000 {
			t.Error(err)
		}
	}
	p, err := Parse(`{"a":{"b":[0],"c":[1],"d":[2]},"e":{"f":[3]},"g":{"h":[4]}}`)
	if err != nil {
		t.Fatal(err)
	}
	many := func(element string) string { return "[" + strings.Repeat(element+",", 9999) + element + "]" }
	event := fmt.Sprintf(`{"a":%s,"e":%s,"g":%s}`, many(`{"b":0},{"c":1,"d":2}`), many(`{"f":3}`), many(`{"h":5}`))
	from := time.Now()
	if ok, err := p.Match([]byte(event)); ok || err != nil {
		t.Error(ok, err)
	}
	event = strings.Replace(event, `{"h":5}]`, `{"h":4}]`, 1)
	if ok, err := p.Match([]byte(strings.Replace(event, `{"b":0}`, `{"b":0,"c":1,"d":2}`, 1))); !ok || err != nil {
		t.Error(ok, err)
	}
	if d := time.Since(from); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestNoEvent(t *testing.T) {
	p, err := Parse(`{"a":[1]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{``, `[{"a":1}]`, `1`, `{"a":1`, `{"a":1}x`, `{"a":1,}`, strings.Repeat("[", 1e6), `{"a":` + strings.Repeat("[", 1e6), strings.Repeat("\x8f", 1000)} {
		if ok, err := p.Match([]byte(event)); ok || hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%.20s: %v %v", event, ok, err)
		}
	}
}

func TestUnder(t *testing.T) {
	for text, want := range map[string]bool{`{"body":{"a":[1]}}`: true, `{"body":["x"]}`: false, `{"$or":[{"body":{"a":[1]}},{"x":[1]}]}`: true, `{"bodyguard":{"a":[1]}}`: false} {
		p, err := Parse(text)
		if err != nil || p.Under("body") != want || p.At("body") != (text == `{"body":["x"]}`) || p.String() != text {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever an event is, the pattern that names its values matches it, and one that excludes one of them does not.
func TestOwnValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scalar := rapid.OneOf(rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Int32(), func(n int32) any { return n }),
			rapid.SampledFrom([]any{true, false, nil}))
		key := rapid.StringMatching(`[a-e]`)
		event, pattern := map[string]any{}, map[string]any{}
		var fill func(event, pattern map[string]any, depth int)
		fill = func(event, pattern map[string]any, depth int) {
			for _, k := range rapid.SliceOfNDistinct(key, 1, 4, rapid.ID).Draw(t, "keys") {
				if depth < 3 && rapid.Bool().Draw(t, "object") {
					e, p := map[string]any{}, map[string]any{}
					fill(e, p, depth+1)
					event[k], pattern[k] = e, p
					if rapid.Bool().Draw(t, "array") {
						event[k] = []any{map[string]any{"z": 1}, e, 5}
					}
					continue
				}
				v := scalar.Draw(t, "value")
				event[k], pattern[k] = v, []any{v}
			}
		}
		fill(event, pattern, 0)
		check := func(pattern any, want bool) {
			text, err := json.Marshal(pattern)
			if err != nil {
				t.Fatal(err)
			}
			body, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Match(body); err != nil || got != want {
				t.Errorf("%s and %s: %v %v", text, body, got, err)
			}
		}
		check(pattern, true)
		check(map[string]any{"$or": []any{map[string]any{"none": []any{1}}, pattern}}, true)
		pattern["none"] = []any{map[string]any{"exists": true}}
		check(pattern, false)
	})
}

// Whatever comes, parsing ends in a pattern or in a reason, matching agrees with encoding/json on what is JSON, and a set with its pattern.
func FuzzParse(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c[1], []byte(c[2]))
	}
	for _, c := range refused(f) {
		f.Add(c[0], []byte(c[0]))
	}
	f.Fuzz(func(t *testing.T, text string, event []byte) {
		p, err := Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "Event pattern is not valid. Reason: ") {
				t.Error(err)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON", text)
		}
		ok, err := p.Match(event)
		var set Set
		set.Add("p", p)
		if ids, inSet := set.Match(event); len(ids) > 0 != ok || (inSet == nil) != (err == nil) {
			t.Errorf("%q of %q in a set: %v %v, alone %v %v", event, text, ids, inSet, ok, err)
		}
		trimmed := bytes.TrimSpace(event)
		object := json.Valid(event) && len(trimmed) > 0 && trimmed[0] == '{'
		if (err == nil) != object {
			if strings.Count(string(event), "[")+strings.Count(string(event), "{") < MaxDepth {
				t.Errorf("%q: %v", event, err)
			}
		}
	})
}
