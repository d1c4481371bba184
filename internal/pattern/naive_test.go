package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fact is a value of an event, its path, and the elements of arrays that it is in.
type fact struct {
	path  string
	value any
	in    map[int]int
}

// naive decides by trying every choice of one element for each array, on what encoding/json reads. It shares no code with the package.
// A path may be asked for once only.
func naive(t testing.TB, pattern, event string) bool {
	decode := func(text string) (v any) {
		d := json.NewDecoder(bytes.NewReader([]byte(text)))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return v
	}
	var facts []fact
	var lengths []int // of arrays
	var flatten func(path string, v any, in map[int]int)
	flatten = func(path string, v any, in map[int]int) {
		switch v := v.(type) {
		case map[string]any:
			for k, member := range v {
				flatten(path+"."+k, member, in)
			}
		case []any:
			array := len(lengths)
			lengths = append(lengths, len(v))
			for i, e := range v {
				inside := in
				switch e.(type) {
				case map[string]any, []any:
					inside = map[int]int{array: i}
					for k, v := range in {
						inside[k] = v
					}
				}
				flatten(path, e, inside)
			}
		default:
			facts = append(facts, fact{path, v, in})
		}
	}
	flatten("", decode(event), nil)
	choice := make([]int, len(lengths))
	var ask func(path string, pattern any) bool
	ask = func(path string, pattern any) bool {
		if tests, ok := pattern.([]any); ok {
			return slices.ContainsFunc(tests, func(test any) bool {
				some, passed := false, false
				for _, f := range facts {
					if f.path != path {
						continue
					}
					some = true
					chosen := true
					for array, i := range f.in {
						chosen = chosen && choice[array] == i
					}
					passed = passed || chosen && passes(test, f.value)
				}
				if m, ok := test.(map[string]any); ok && m["exists"] == false {
					return !some
				}
				return passed
			})
		}
		for k, v := range pattern.(map[string]any) {
			if k == "$or" {
				if !slices.ContainsFunc(v.([]any), func(of any) bool { return ask(path, of) }) {
					return false
				}
			} else if !ask(path+"."+k, v) {
				return false
			}
		}
		return true
	}
	wanted := decode(pattern)
	var try func(array int) bool
	try = func(array int) bool {
		if array == len(lengths) {
			return ask("", wanted)
		}
		for choice[array] = 0; choice[array] < max(1, lengths[array]); choice[array]++ {
			if try(array + 1) {
				return true
			}
		}
		return false
	}
	return try(0)
}

func passes(test, value any) bool {
	texts := func(v any, f func(string) bool) bool {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		return slices.ContainsFunc(list, func(v any) bool { return f(v.(string)) })
	}
	s, isText := value.(string)
	number := func(v any) (float64, bool) {
		n, ok := v.(json.Number)
		f, err := n.Float64()
		return math.Round(f * 1e6), ok && err == nil && math.Abs(f) <= 5e9
	}
	equal := func(a, b any) bool {
		x, ok := number(a)
		y, ok2 := number(b)
		if ok && ok2 {
			return x == y
		}
		return a == b
	}
	m, ok := test.(map[string]any)
	if !ok {
		if text, ok := test.(string); ok && isText {
			x, err := netip.ParseAddr(text)
			y, err2 := netip.ParseAddr(s)
			if err == nil && err2 == nil {
				return x == y
			}
		}
		return equal(test, value)
	}
	for op, v := range m {
		switch op {
		case "exactly":
			return isText && s == v
		case "exists":
			return v == true
		case "equals-ignore-case":
			return isText && texts(v, func(v string) bool { return strings.EqualFold(v, s) })
		case "prefix", "suffix":
			if o, ok := v.(map[string]any); ok {
				word := o["equals-ignore-case"].(string)
				for i := range len(s) + 1 {
					part := s[:i]
					if op == "suffix" {
						part = s[i:]
					}
					if isText && strings.EqualFold(part, word) {
						return true
					}
				}
				return false
			}
			return isText && texts(v, func(v string) bool {
				return op == "prefix" && strings.HasPrefix(s, v) || op == "suffix" && strings.HasSuffix(s, v)
			})
		case "wildcard":
			return isText && texts(v, func(v string) bool {
				re := `(?s)\A`
				for i := 0; i < len(v); i++ {
					switch {
					case v[i] == '*':
						re += ".*"
						continue
					case v[i] == '\\':
						i++
					}
					re += regexp.QuoteMeta(v[i : i+1])
				}
				return regexp.MustCompile(re + `\z`).MatchString(s)
			})
		case "cidr":
			a, err := netip.ParseAddr(s)
			return isText && err == nil && netip.MustParsePrefix(v.(string)).Contains(a)
		case "numeric":
			n, ok := number(value)
			for list := v.([]any); len(list) > 0 && ok; list = list[2:] {
				with, _ := number(list[1])
				ok = map[string]bool{"=": n == with, "<": n < with, "<=": n <= with, ">": n > with, ">=": n >= with}[list[0].(string)]
			}
			return ok
		case "anything-but":
			if o, ok := v.(map[string]any); ok {
				return !passes(o, value)
			}
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			return !slices.ContainsFunc(list, func(v any) bool { return equal(v, value) })
		}
	}
	panic(fmt.Sprint("no such test: ", test))
}
