package cron

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	minYear = 1970
	maxYear = 2199
)

// Parse reads what EventBridge Scheduler takes: rate(5 minutes), of which the unit may be singular or plural, cron() with five fields or,
// with the year, six, and at(2030-12-31T23:59:00). Errors say what is wrong.
func Parse(text string) (Expression, error) {
	e := Expression{text: text}
	name, rest, _ := strings.Cut(text, "(")
	inner, closed := strings.CutSuffix(rest, ")")
	if !closed {
		return Expression{}, errors.New("a schedule is rate(VALUE UNIT), cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR) or at(YYYY-MM-DDTHH:MM:SS)")
	}
	var err error
	switch name {
	case "rate":
		e.kind = Rate
		e.period, err = parseRate(inner)
	case "cron":
		e.kind = Cron
		e.fields, err = parseCron(inner)
	case "at":
		e.kind = At
		const layout = "2006-01-02T15:04:05"
		var t time.Time
		if t, err = time.Parse(layout, inner); err != nil || len(inner) != len(layout) {
			err = fmt.Errorf("at(%s) is no time of the form at(2030-12-31T23:59:00)", inner)
		}
		e.at = wallOf(t)
	default:
		err = fmt.Errorf("%q is none of rate, cron and at", name)
	}
	if err != nil {
		return Expression{}, err
	}
	return e, nil
}

// ParseRule reads what a rule of EventBridge takes: rate(1 minute) and rate(5 minutes), with the unit in the singular for 1 and in the
// plural for all else, and cron() with six fields.
func ParseRule(text string) (Expression, error) {
	e, err := Parse(text)
	if err != nil {
		return Expression{}, err
	}
	_, inner, _ := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	parts := strings.Fields(inner)
	switch {
	case e.kind == At:
		return Expression{}, errors.New("a rule cannot have at(): use a schedule of EventBridge Scheduler")
	case e.kind == Cron && len(parts) != 6:
		return Expression{}, errors.New("the cron() of a rule has six fields, the last is the year")
	case e.kind == Rate && strings.HasSuffix(parts[1], "s") == (strings.TrimLeft(parts[0], "0") == "1"):
		return Expression{}, errors.New("the unit is singular after 1 and plural after other values: rate(1 minute), rate(5 minutes)")
	}
	return e, nil
}

var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

func parseRate(text string) (time.Duration, error) {
	parts := strings.Fields(text)
	if len(parts) != 2 {
		return 0, fmt.Errorf("rate(%s) is not of the form rate(5 minutes)", text)
	}
	value, ok := number(parts[0])
	unit := units[strings.TrimSuffix(parts[1], "s")]
	switch {
	case !ok || value < 1:
		return 0, fmt.Errorf("%s is not a positive whole number", parts[0])
	case unit == 0 || strings.HasSuffix(parts[1], "ss"):
		return 0, fmt.Errorf("%s is not one of minutes, hours and days", parts[1])
	case value > math.MaxInt64/int(unit):
		return 0, fmt.Errorf("rate(%s) is longer than 292 years", text)
	}
	return time.Duration(value) * unit, nil
}

// number reads digits alone.
func number(text string) (int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// field says what stands in a place of cron().
type field struct {
	name     string
	min, max int
	names    string // three letters each, from min
}

var (
	minutes  = field{"minutes", 0, 59, ""}
	hours    = field{"hours", 0, 23, ""}
	days     = field{"day-of-month", 1, 31, ""}
	months   = field{"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"}
	weekdays = field{"day-of-week", 1, 7, "SUNMONTUEWEDTHUFRISAT"}
	years    = field{"year", minYear, maxYear, ""}
)

func (f field) errorf(item string) error {
	return fmt.Errorf("%q is not valid as %s", item, f.name)
}

// value reads a number or a name.
func (f field) value(text string) (int, bool) {
	if len(text) == 3 {
		for i := 0; i < len(f.names); i += 3 {
			if f.names[i:i+3] == text {
				return f.min + i/3, true
			}
		}
	}
	n, ok := number(text)
	return n, ok && n >= f.min && n <= f.max
}

// each calls set with the values of one item of a list: *, a value, a range, and either of them with a step; after a value with a step all
// up to the greatest. A range may go over the end of its field (FRI-MON), but not one of years.
func (f field) each(item string, set func(int)) error {
	base, step, stepped := strings.Cut(item, "/")
	by := 1
	if stepped {
		var ok bool
		if by, ok = number(step); !ok || by < 1 || by > f.max || f.name == weekdays.name {
			return f.errorf(item)
		}
	}
	from, to := f.min, f.max
	if base != "*" {
		first, last, ranged := strings.Cut(base, "-")
		var ok bool
		if from, ok = f.value(first); !ok {
			return f.errorf(item)
		}
		switch {
		case ranged:
			if to, ok = f.value(last); !ok || to < from && f.name == years.name {
				return f.errorf(item)
			}
		case !stepped:
			to = from
		}
	}
	size := f.max - f.min + 1
	if to < from {
		to += size
	}
	for n := from; n <= to; n += by {
		set((n-f.min)%size + f.min)
	}
	return nil
}

// list reads a list of items into set, but for those that special takes.
func (f field) list(text string, set func(int), special func(item string) bool) error {
	for item := range strings.SplitSeq(text, ",") {
		if special != nil && special(item) {
			continue
		}
		if err := f.each(item, set); err != nil {
			return err
		}
	}
	return nil
}

func (f field) set(text string, bits *uint64, special func(item string) bool) error {
	return f.list(text, func(n int) { *bits |= 1 << n }, special)
}

func parseCron(text string) (fields, error) {
	var f fields
	parts := strings.Fields(strings.ToUpper(text))
	if len(parts) == 5 {
		parts = append(parts, "*")
	}
	if len(parts) != 6 {
		return f, fmt.Errorf("cron() has the fields minutes, hours, day-of-month, month, day-of-week and year; cron(%s) has %d", text, len(parts))
	}
	day, weekday := parts[2], parts[4]
	if (day == "?") == (weekday == "?") {
		return f, errors.New("one of day-of-month and day-of-week must be ?, and the other not")
	}
	f.anyDay = day == "?"
	err := errors.Join(minutes.set(parts[0], &f.minutes, nil), hours.set(parts[1], &f.hours, nil), months.set(parts[3], &f.months, nil),
		years.list(parts[5], func(n int) { f.years[(n-minYear)/64] |= 1 << ((n - minYear) % 64) }, nil))
	if f.anyDay {
		err = errors.Join(err, f.parseWeekdays(weekday))
	} else {
		err = errors.Join(err, f.parseDays(day))
	}
	return f, err
}

func (f *fields) parseDays(text string) error {
	return days.set(text, &f.days, func(item string) bool {
		switch day, near := strings.CutSuffix(item, "W"); {
		case item == "L":
			f.last = true
		case item == "LW":
			f.lastWeekday = true
		case near:
			n, ok := days.value(day)
			if !ok {
				return false
			}
			f.nearest |= 1 << n
		default:
			return false
		}
		return true
	})
}

func (f *fields) parseWeekdays(text string) error {
	if day, nth, ok := strings.Cut(text, "#"); ok {
		f.nthOf, ok = weekdays.value(day)
		if n, isNumber := number(nth); ok && isNumber && n >= 1 && n <= 5 {
			f.nth = n
			return nil
		}
		return weekdays.errorf(text)
	}
	return weekdays.set(text, &f.weekdays, func(item string) bool {
		day, last := strings.CutSuffix(item, "L")
		if !last {
			return false
		}
		if day == "" { // L alone is the last day of a week
			f.weekdays |= 1 << 7
			return true
		}
		n, ok := weekdays.value(day)
		f.lastOf |= 1 << n
		return ok
	})
}
