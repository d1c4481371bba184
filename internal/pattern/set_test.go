package pattern

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hansomcloud/hansom"
)

func parse(t testing.TB, text string) *Pattern {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func found(t testing.TB, s *Set, event string) []string {
	t.Helper()
	ids, err := s.Match([]byte(event))
	if err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	slices.Sort(ids)
	return ids
}

// A set finds the same as each of its patterns, and a naive matcher agrees with both.
func TestSetCases(t *testing.T) {
	var s Set
	list := cases(t)
	patterns := map[string]*Pattern{}
	for _, c := range list {
		patterns[c[1]] = parse(t, c[1])
		s.Add(c[1], patterns[c[1]])
	}
	for _, c := range list {
		if got := naive(t, c[1], c[2]); got != (c[3] == "yes") {
			t.Errorf("%s: the naive matcher says %v", c[0], got)
		}
		var want []string
		for text, p := range patterns {
			if ok, err := p.Match([]byte(c[2])); ok && err == nil {
				want = append(want, text)
			}
		}
		slices.Sort(want)
		if got := found(t, &s, c[2]); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", c[2], got, want)
		}
	}
}

func TestSetChanges(t *testing.T) {
	var s Set
	if got := found(t, &s, `{"a":1}`); got != nil {
		t.Error(got)
	}
	s.Remove("1")
	s.Add("1", parse(t, `{"a":["x"]}`))
	s.Add("2", parse(t, `{"a":["x","x"],"b":[{"exists":false}]}`))
	if got := found(t, &s, `{"a":"x"}`); !slices.Equal(got, []string{"1", "2"}) {
		t.Error(got)
	}
	s.Add("1", parse(t, `{"a":["y"]}`))
	s.Remove("3")
	if got := found(t, &s, `{"a":["y","x"],"b":1}`); !slices.Equal(got, []string{"1"}) {
		t.Error(got)
	}
	s.Remove("2")
	s.Remove("1")
	if got := found(t, &s, `{"a":["y","x"]}`); got != nil {
		t.Error(got)
	}
	if _, err := s.Match([]byte(`[]`)); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
}

var (
	words     = []string{"", "a", "A", "ab", "aB", "abab", "b", "ba", "é", "É", "k", "\u212a", "a*b", `a\b`, "true", "1", "10.0.0.1", "10.0.0.130", "::1", "0:0::0001", "10.0.1.0/x"}
	numbers   = []string{"0", "-0.0", "1", "1.0", "10e-1", "1.0000001", "1.000001", "2", "-3", "5000000000", "5000000001", "5000000001.0", "300", "3.0e2"}
	wildcards = []string{"*", "a*", "*a", "*a*", "a*b", "ab*ab", "*b*a", `a\**`, `a\\*`, "ab", "", "*é"}
	networks  = []string{"10.0.0.0/24", "10.0.0.128/25", "0.0.0.0/0", "::/0", "::/127", "10.0.0.1/32"}
)

// drawPattern makes a pattern of all there is, which asks for a path once only.
func drawPattern(t *rapid.T) string {
	quoted := rapid.Map(rapid.SampledFrom(words), func(s string) string { return quote(s) })
	filled := rapid.Map(rapid.SampledFrom(words[1:]), func(s string) string { return quote(s) })
	wild := rapid.Map(rapid.SampledFrom(wildcards), func(s string) string { return quote(s) })
	small := rapid.SampledFrom([]string{"0", "1", "1.000001", "2", "-3", "5e9"})
	one := func(g *rapid.Generator[string]) string { return g.Draw(t, "one") }
	several := func(g *rapid.Generator[string]) string {
		list := rapid.SliceOfN(g, 1, 3).Draw(t, "several")
		if len(list) == 1 && rapid.Bool().Draw(t, "alone") {
			return list[0]
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	test := func() string {
		switch rapid.IntRange(0, 19).Draw(t, "test") {
		default:
			return one(quoted)
		case 1:
			return one(rapid.SampledFrom(numbers))
		case 2:
			return one(rapid.SampledFrom([]string{"null", "true", "false"}))
		case 3:
			return `{"exactly":` + one(quoted) + `}`
		case 4:
			return `{"prefix":` + one(quoted) + `}`
		case 5:
			return `{"suffix":` + one(quoted) + `}`
		case 6:
			return `{"prefix":{"equals-ignore-case":` + one(quoted) + `}}`
		case 7:
			return `{"suffix":{"equals-ignore-case":` + one(quoted) + `}}`
		case 8:
			return `{"equals-ignore-case":` + one(quoted) + `}`
		case 9:
			return `{"wildcard":` + one(wild) + `}`
		case 10:
			return `{"cidr":"` + one(rapid.SampledFrom(networks)) + `"}`
		case 11:
			return `{"numeric":["` + one(rapid.SampledFrom([]string{"=", "<", "<=", ">", ">="})) + `",` + one(small) + `]}`
		case 12:
			return `{"numeric":["` + one(rapid.SampledFrom([]string{">", ">="})) + `",-1,"` + one(rapid.SampledFrom([]string{"<", "<="})) + `",` + one(rapid.SampledFrom([]string{"0", "1", "2"})) + `]}`
		case 13:
			return `{"exists":` + one(rapid.SampledFrom([]string{"true", "false"})) + `}`
		case 14:
			return `{"anything-but":` + several(quoted) + `}`
		case 15:
			return `{"anything-but":` + several(small) + `}`
		case 16:
			return `{"anything-but":{"prefix":` + several(filled) + `}}`
		case 17:
			return `{"anything-but":{"suffix":` + several(filled) + `}}`
		case 18:
			return `{"anything-but":{"equals-ignore-case":` + several(quoted) + `}}`
		case 19:
			return `{"anything-but":{"wildcard":` + several(wild) + `}}`
		}
	}
	var object func(keys []string, depth int) string
	object = func(keys []string, depth int) string {
		var members []string
		for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, 3, rapid.ID).Draw(t, "names") {
			switch what := rapid.IntRange(0, 5).Draw(t, "member"); {
			case what == 0 && depth < 2:
				members = append(members, quote(k)+":"+object([]string{"a", "b", "c"}, depth+1))
			case what == 1 && depth < 2 && !slices.Contains(keys, "x"):
				var of []string
				for range rapid.IntRange(2, 3).Draw(t, "alternatives") {
					of = append(of, object([]string{"x", "y"}, depth+1))
				}
				if or := `"$or":[` + strings.Join(of, ",") + `]`; !slices.ContainsFunc(members, func(m string) bool { return strings.HasPrefix(m, `"$or"`) }) {
					members = append(members, or)
				}
			default:
				var tests []string
				for range rapid.IntRange(1, 3).Draw(t, "tests") {
					tests = append(tests, test())
				}
				members = append(members, quote(k)+":["+strings.Join(tests, ",")+"]")
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	return object([]string{"a", "b", "c", "d.a"}, 0)
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `\`, `\\`) + `"` }

func drawEvent(t *rapid.T) string {
	var value func(depth int) string
	object := func(depth int) string {
		var members []string
		for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "a.b", "d.a", "x", "y"}), 0, 4, rapid.ID).Draw(t, "members") {
			members = append(members, quote(k)+":"+value(depth+1))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	value = func(depth int) string {
		switch what := rapid.IntRange(0, 9).Draw(t, "value"); {
		case what < 2 && depth < 4:
			return object(depth)
		case what == 2 && depth < 4:
			var list []string
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				list = append(list, value(depth+1))
			}
			return "[" + strings.Join(list, ",") + "]"
		case what < 5:
			return rapid.SampledFrom(numbers).Draw(t, "number")
		case what == 5:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal")
		}
		return quote(rapid.SampledFrom(words).Draw(t, "text"))
	}
	return object(0)
}

// Whatever is added, replaced and removed, a set finds what its patterns match one by one, and that is what a naive matcher says.
func TestSetProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s Set
		texts := map[string]string{}
		for range rapid.IntRange(1, 40).Draw(rt, "changes") {
			id := fmt.Sprint(rapid.IntRange(0, 20).Draw(rt, "id"))
			if rapid.IntRange(0, 3).Draw(rt, "what") == 0 {
				delete(texts, id)
				s.Remove(id)
			} else {
				texts[id] = drawPattern(rt)
				s.Add(id, parse(t, texts[id]))
			}
		}
		for range 3 {
			event := drawEvent(rt)
			var want []string
			for id, text := range texts {
				ok, err := parse(t, text).Match([]byte(event))
				if err != nil {
					rt.Fatal(err)
				}
				if ok != naive(t, text, event) {
					rt.Fatalf("%s and %s: %v", text, event, ok)
				}
				if ok {
					want = append(want, id)
				}
			}
			slices.Sort(want)
			if got := found(t, &s, event); !slices.Equal(got, want) {
				rt.Fatalf("%s of %v: got %v, want %v", event, texts, got, want)
			}
		}
		for id := range texts {
			s.Remove(id)
		}
		if len(s.root.fields) > 0 || len(s.root.ends) > 0 || len(s.root.absent) > 0 || len(s.paths.root.next) > 0 ||
			len(s.marks.free) != int(s.marks.next) || len(s.paths.free) != int(s.paths.slots) {
			rt.Fatal("something is left of an empty set")
		}
	})
}

// Matching goes on beside changes, and always finds what does not change.
func TestSetConcurrently(t *testing.T) {
	var s Set
	s.Add("always", parse(t, `{"a":[{"wildcard":"*x*"}],"b":[{"exists":false}]}`))
	stop := make(chan struct{})
	var matching sync.WaitGroup
	for range 4 {
		matching.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if ids, err := s.Match([]byte(`{"a":"axe","c":[{"d":1},{"d":"7"}]}`)); err != nil || !slices.Contains(ids, "always") {
					t.Error(ids, err)
					return
				}
			}
		})
	}
	for i := range 2000 {
		s.Add(fmt.Sprint(i%50), parse(t, fmt.Sprintf(`{"c":{"d":["%d",{"prefix":"%d"}]},"f%d":[{"exists":false}]}`, i%7, i%9, i%3)))
		if i%3 == 0 {
			s.Remove(fmt.Sprint(i % 31))
		}
	}
	close(stop)
	matching.Wait()
}

// What an event costs does not grow with the patterns that it cannot match: as many states are reached and as many patterns confirmed.
func TestSetLevel(t *testing.T) {
	for _, shape := range shapes {
		if shape.name == "anything-but alone" {
			continue
		}
		var first string
		for n := 10; n <= 1000; n *= 10 {
			var s Set
			s.fill(t, n, shape.pattern)
			w := &walk{}
			if err := s.walk(w, []byte(benchEvent)); err != nil {
				t.Fatal(err)
			}
			reached := 0
			for _, epoch := range w.been {
				if epoch == w.event {
					reached++
				}
			}
			got := fmt.Sprint(reached, " states, ", len(w.ends), " patterns")
			if first == "" {
				first = got
			}
			if got != first || reached > 10 {
				t.Errorf("%s: %s with %d, %s with 10", shape.name, got, n, first)
			}
		}
	}
}

// Patterns that list the same values in other ways lead to the same, however many ways there are.
func TestSetSplit(t *testing.T) {
	var s Set
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf(`"%d"`, i)
	}
	list := "[" + strings.Join(many, ",") + "]"
	s.Add("long", parse(t, `{"a":`+list+`,"b":`+list+`,"c":["1","2"]}`))
	s.Add("short", parse(t, `{"a":["7","8"],"b":["7",{"exists":false}]}`))
	for event, want := range map[string][]string{
		`{"a":"7","b":"99","c":"2"}`:              {"long"},
		`{"a":"7","b":["98","99","7"],"c":"2"}`:   {"long", "short"},
		`{"a":"8"}`:                               {"short"},
		`{"a":"100","b":"99","c":"2"}`:            nil,
		`{"a":[{"x":1},"7"],"b":["7"],"c":["1"]}`: {"long", "short"},
	} {
		if got := found(t, &s, event); !slices.Equal(got, want) {
			t.Errorf("%s: %v", event, got)
		}
	}
}
