// Package cron reads the schedule expressions of EventBridge, rate(), cron() and at(), and finds the times that they mean.
package cron

import (
	"math/bits"
	"time"
	_ "time/tzdata" // for hosts without a time zone database
)

// Kind of an expression.
type Kind int

const (
	Rate Kind = iota + 1 // every so many minutes, hours or days of 24 hours
	Cron                 // at times of the clock and the calendar
	At                   // once
)

// Expression is one that Parse or ParseRule has read. Two of the same text are equal.
type Expression struct {
	text   string
	kind   Kind
	period time.Duration // of Rate
	at     wall          // of At
	fields fields        // of Cron
}

// Kind says which form it has.
func (e Expression) Kind() Kind { return e.kind }

// String is the expression as it was written.
func (e Expression) String() string { return e.text }

// fields of a cron() as sets: bit n stands for the value n, of years for 1970 + n.
type fields struct {
	minutes, hours, days, months, weekdays uint64 // of weekdays 1 is Sunday
	years                                  [4]uint64
	anyDay                                 bool   // day-of-month is ?
	nearest                                uint64 // 15W: the weekday nearest to the day, in its month
	last, lastWeekday                      bool   // L and LW of a month
	lastOf                                 uint64 // 6L: the last Friday
	nth, nthOf                             int    // 6#3: the third (nth) Friday (nthOf)
}

// Times are those of an expression in a time zone.
type Times struct {
	Expression
	Zone  *time.Location // of cron() and at(); nil for UTC
	Start time.Time      // of a rate() the first time, of a cron() the earliest; at() ignores it, as Scheduler does
	End   time.Time      // the latest time of a rate() or cron(); zero for none
}

// Next is the first time later than after; false when there is none, and after the year 2199. Daylight saving is as the EventBridge Scheduler user guide has it
// ("Schedule types", "Daylight savings time"): a cron() time that the clocks jump over is left out, one that they show twice counts the
// first time alone, a rate() in days counts 24 hours. An at() in a gap, of which the guide says nothing, is as if the clocks had not jumped.
func (t Times) Next(after time.Time) (time.Time, bool) {
	zone := t.Zone
	if zone == nil {
		zone = time.UTC
	}
	switch t.kind {
	case Rate:
		next := t.Start
		if !next.After(after) {
			next = after.Add(t.period - after.Sub(next)%t.period)
		}
		return t.until(next)
	case Cron:
		if after.Before(t.Start) {
			after = t.Start.Add(-1)
		}
		next, ok := t.fields.next(after, zone)
		if !ok {
			return time.Time{}, false
		}
		return t.until(next)
	case At:
		next, _ := t.at.in(zone)
		return next, next.After(after)
	}
	return time.Time{}, false
}

func (t Times) until(next time.Time) (time.Time, bool) {
	if next.Year() > maxYear || !t.End.IsZero() && next.After(t.End) {
		return time.Time{}, false
	}
	return next, true
}

// Last is the latest time that is not after now and at most age before it; false when there is none. It is the one to make up for after
// a downtime, whatever was missed before it.
func (t Times) Last(now time.Time, age time.Duration) (time.Time, bool) {
	var last time.Time
	for back := min(time.Minute, age); ; back = min(4*back, age) {
		next, ok := t.Next(now.Add(-back - 1))
		for ok && !next.After(now) {
			last = next
			next, ok = t.Next(last)
		}
		if !last.IsZero() || back == age {
			return last, !last.IsZero()
		}
	}
}

// wall is what a clock shows.
type wall struct {
	year   int
	month  time.Month
	day    int
	hour   int
	minute int
	second int
}

// in is the first time at which the clocks of a zone show it. When they never do, it is the time at which they would have without the
// jump, and false.
func (w wall) in(zone *time.Location) (time.Time, bool) {
	t, utc := w.date(zone), w.date(time.UTC)
	start, end := t.ZoneBounds()
	shown := wallOf(t)
	if shown == w {
		if !start.IsZero() {
			if first := before(start, utc); first.Before(start) {
				return first, true
			}
		}
		return t, true
	}
	jump := start
	if shown.date(time.UTC).Before(utc) {
		jump = end
	}
	return before(jump, utc), false
}

func (w wall) date(zone *time.Location) time.Time {
	return time.Date(w.year, w.month, w.day, w.hour, w.minute, w.second, 0, zone)
}

// before is a wall time, given as of UTC, with the offset that is in force just before a change of it.
func before(change, utc time.Time) time.Time {
	_, offset := change.Add(-1).Zone()
	return utc.Add(-time.Duration(offset) * time.Second).In(change.Location())
}

func wallOf(t time.Time) wall {
	return wall{t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second()}
}

// next is the first time after after that all fields allow. Later walls have later first times, so the walls are tried in their order.
func (f *fields) next(after time.Time, zone *time.Location) (time.Time, bool) {
	from := wallOf(after.In(zone))
	for year := max(from.year, minYear); year <= maxYear; year++ {
		if f.years[(year-minYear)/64]>>((year-minYear)%64)&1 == 0 {
			continue
		}
		for months := f.months; months != 0; months &= months - 1 {
			month := time.Month(bits.TrailingZeros64(months))
			if year == from.year && month < from.month {
				continue
			}
			for days := f.daysOf(year, month); days != 0; days &= days - 1 {
				day := bits.TrailingZeros64(days)
				if year == from.year && month == from.month && day < from.day {
					continue
				}
				hour, minute := 0, 0
				if year == from.year && month == from.month && day == from.day {
					hour, minute = from.hour, from.minute
				}
				if t, ok := f.nextOf(wall{year, month, day, hour, minute, 0}, after, zone); ok {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// nextOf is the first time of a day, from a wall time on, that is after after.
func (f *fields) nextOf(from wall, after time.Time, zone *time.Location) (time.Time, bool) {
	for hours := f.hours >> from.hour << from.hour; hours != 0; hours &= hours - 1 {
		w := from
		w.hour = bits.TrailingZeros64(hours)
		minutes := f.minutes
		if w.hour == from.hour {
			minutes = minutes >> from.minute << from.minute
		}
		for ; minutes != 0; minutes &= minutes - 1 {
			w.minute = bits.TrailingZeros64(minutes)
			if t, exists := w.in(zone); exists && t.After(after) {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// daysOf is the set of the days of a month that day-of-month or day-of-week allow, whichever is not ?.
func (f *fields) daysOf(year int, month time.Month) uint64 {
	length := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	first := int(time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Weekday()) // 0 is Sunday
	weekday := func(day int) int { return (first+day-1)%7 + 1 }
	var set uint64
	for day := 1; day <= length; day++ {
		of := uint64(1) << weekday(day)
		switch {
		case !f.anyDay:
			if f.days>>day&1 == 1 || f.last && day == length {
				set |= 1 << day
			}
			if f.nearest>>day&1 == 1 || f.lastWeekday && day == length {
				set |= 1 << nearest(day, weekday(day), length)
			}
		case f.weekdays&of != 0, f.lastOf&of != 0 && day+7 > length, f.nthOf == weekday(day) && (day+6)/7 == f.nth:
			set |= 1 << day
		}
	}
	return set
}

// nearest is the day from Monday to Friday that is nearest to a day without leaving its month.
func nearest(day, weekday, length int) int {
	switch {
	case weekday == 7 && day == 1:
		return 3
	case weekday == 7:
		return day - 1
	case weekday == 1 && day == length:
		return day - 2
	case weekday == 1:
		return day + 1
	}
	return day
}
