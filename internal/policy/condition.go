package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// values are what a condition compares with: one or an array of texts, numbers and booleans.
type values []string

func (v *values) UnmarshalJSON(data []byte) error {
	list := []json.RawMessage{data}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '[' {
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
	}
	*v = nil
	for _, raw := range list {
		raw = bytes.TrimSpace(raw)
		if raw[0] != '"' { // a number or a boolean, as it is written
			if raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
				return invalid("a condition compares with %.40s", raw)
			}
			*v = append(*v, string(raw))
			continue
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		*v = append(*v, text)
	}
	return nil
}

// condition compares what a request has under a key. See "IAM JSON policy elements: Condition operators".
type condition struct {
	key      string // lower case
	compare  func(have, want string) bool
	want     []string
	not      bool // none of them
	ifExists bool // holds when the request has nothing
	null     bool // whether the request has something
}

// operators are the comparisons, by their names in lower case. check says whether something can be compared with; nil for anything.
var operators = map[string]struct {
	compare func(have, want string) bool
	check   func(want string) bool
}{
	"stringequals":             {compare: func(have, want string) bool { return have == want }},
	"stringequalsignorecase":   {compare: strings.EqualFold},
	"stringlike":               {compare: func(have, want string) bool { return Match(want, have) }},
	"arnequals":                {compare: func(have, want string) bool { return Match(want, have) }},
	"arnlike":                  {compare: func(have, want string) bool { return Match(want, have) }},
	"bool":                     {compare: strings.EqualFold, check: isBool},
	"ipaddress":                {compare: within, check: func(want string) bool { _, err := network(want); return err == nil }},
	"numericequals":            {compare: number(func(c int) bool { return c == 0 }), check: isNumber},
	"numericlessthan":          {compare: number(func(c int) bool { return c < 0 }), check: isNumber},
	"numericlessthanequals":    {compare: number(func(c int) bool { return c <= 0 }), check: isNumber},
	"numericgreaterthan":       {compare: number(func(c int) bool { return c > 0 }), check: isNumber},
	"numericgreaterthanequals": {compare: number(func(c int) bool { return c >= 0 }), check: isNumber},
	"dateequals":               {compare: date(func(c int) bool { return c == 0 }), check: isDate},
	"datelessthan":             {compare: date(func(c int) bool { return c < 0 }), check: isDate},
	"datelessthanequals":       {compare: date(func(c int) bool { return c <= 0 }), check: isDate},
	"dategreaterthan":          {compare: date(func(c int) bool { return c > 0 }), check: isDate},
	"dategreaterthanequals":    {compare: date(func(c int) bool { return c >= 0 }), check: isDate},
}

// negated are the operators that hold when another does not.
var negated = map[string]string{
	"stringnotequals": "stringequals", "stringnotequalsignorecase": "stringequalsignorecase", "stringnotlike": "stringlike",
	"arnnotequals": "arnequals", "arnnotlike": "arnlike", "notipaddress": "ipaddress", "numericnotequals": "numericequals", "datenotequals": "dateequals",
}

// conditions reads the Condition of a statement.
func conditions(written map[string]map[string]values) ([]condition, error) {
	var list []condition
	for _, name := range slices.Sorted(maps.Keys(written)) {
		operator, ifExists := strings.CutSuffix(strings.ToLower(name), "ifexists")
		other, not := negated[operator]
		if not {
			operator = other
		}
		op, ok := operators[operator]
		null := operator == "null" && !ifExists
		if !ok && !null {
			return nil, invalid("the condition operator %.60q is not supported", name)
		}
		if null {
			op.check = isBool
		}
		for _, key := range slices.Sorted(maps.Keys(written[name])) {
			want := written[name][key]
			if len(want) == 0 {
				return nil, invalid("the condition on %.60q compares with nothing", key)
			}
			for _, w := range want {
				if strings.Contains(w, "${") {
					return nil, invalid("policy variables, as in %.100q, are not supported", w)
				}
				if op.check != nil && !op.check(w) {
					return nil, invalid("the condition operator %s cannot compare with %.60q", name, w)
				}
			}
			list = append(list, condition{key: strings.ToLower(key), compare: op.compare, want: want, not: not, ifExists: ifExists, null: null})
		}
	}
	return list, nil
}

func (c *condition) holds(value func(string) (string, bool)) bool {
	have, ok := value(c.key)
	if c.null {
		return slices.ContainsFunc(c.want, func(want string) bool { return strings.EqualFold(want, "true") != ok })
	}
	if !ok {
		return c.ifExists || c.not
	}
	return slices.ContainsFunc(c.want, func(want string) bool { return c.compare(have, want) }) != c.not
}

func isBool(text string) bool {
	return strings.EqualFold(text, "true") || strings.EqualFold(text, "false")
}

// network reads an address or a block of them.
func network(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func within(have, want string) bool {
	a, err := netip.ParseAddr(have)
	block, bad := network(want)
	return err == nil && bad == nil && block.Contains(a.Unmap().WithZone(""))
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

func number(holds func(int) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, err := strconv.ParseFloat(have, 64)
		w, bad := strconv.ParseFloat(want, 64)
		return err == nil && bad == nil && holds(cmp.Compare(h, w))
	}
}

// moment reads a time of ISO 8601, or seconds since 1970.
func moment(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(n, 0), err == nil
}

func isDate(text string) bool {
	_, ok := moment(text)
	return ok
}

func date(holds func(int) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, ok := moment(have)
		w, good := moment(want)
		return ok && good && holds(h.Compare(w))
	}
}
