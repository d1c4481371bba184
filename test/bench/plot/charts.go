package plot

import (
	"math"
	"slices"
)

// Series is a named row of values.
type Series struct {
	Name   string
	Values []float64
}

// Bars draws horizontal bars: a group for each of the names, in it a bar for each series. The first group is what the chart
// is about. A value of 0 or less is left out.
func Bars(title, sub string, groups []string, series []Series) string {
	c := &canvas{}
	y := c.title(title, sub)
	names := make([]string, len(series))
	top, left := 0.0, 0.0
	for i, s := range series {
		names[i] = s.Name
		top = max(top, slices.Max(s.Values))
	}
	for _, g := range groups {
		left = max(left, textWidth(g))
	}
	if len(series) > 1 {
		y = c.legend(y, names)
	}
	const bar, gap = 16, 12
	ticks := steps(top)
	x0, x1 := margin+left+10, float64(width-margin-64)
	x := func(v float64) float64 { return x0 + (x1-x0)*v/ticks[len(ticks)-1] }
	y += 6
	bottom := y + float64(len(groups)*(len(series)*bar+gap))
	for _, t := range ticks {
		c.line(x(t), y, x(t), bottom, "g")
		c.text(x(t), bottom+18, "m", "middle", short(t))
	}
	for g, name := range groups {
		at := y + gap/2 + float64(g*(len(series)*bar+gap))
		c.text(x0-8, at+float64(len(series)*bar)/2+4.5, "t", "end", name)
		for i, s := range series {
			v := s.Values[g]
			if v <= 0 {
				continue
			}
			bw := max(x(v)-x0, 1)
			c.WriteString(`<rect x="` + num(x0) + `" y="` + num(at+float64(i*bar)+1) + `" width="` + num(bw) + `" height="` + num(bar-2) + `" rx="2" style="stroke:none" class="` + class(i) + "\"/>\n")
			c.text(x0+bw+6, at+float64(i*bar)+bar/2+4.5, "t", "start", short(v))
		}
	}
	c.line(x0, y, x0, bottom, "a")
	return c.svg(title, bottom+34)
}

// head draws the title and the legend; below y there is room. all are the values of all series.
func (c *canvas) head(title, sub string, series []Series) (y float64, all []float64) {
	y = c.title(title, sub)
	names := make([]string, len(series))
	for i, s := range series {
		names[i] = s.Name
		all = append(all, s.Values...)
	}
	return c.legend(y, names) + 4, all
}

// Lines draws a line for each series over equidistant positions with the given labels, the values on a logarithmic axis.
// The first series is what the chart is about.
func Lines(title, sub string, labels []string, series []Series) string {
	c := &canvas{}
	y, all := c.head(title, sub, series)
	const tall = 250
	x0, x1 := float64(margin+48), float64(width-margin-30)
	scale := newLogScale(all, y+tall, y)
	for _, t := range scale.ticks() {
		c.line(x0, scale.at(t), x1, scale.at(t), "g")
		c.text(x0-8, scale.at(t)+4.5, "m", "end", short(t))
	}
	x := func(i int) float64 { return x0 + 20 + (x1-x0-40)*float64(i)/float64(max(len(labels)-1, 1)) }
	for i, l := range labels {
		c.text(x(i), y+tall+18, "m", "middle", l)
	}
	c.line(x0, y+tall, x1, y+tall, "a")
	for i := len(series) - 1; i >= 0; i-- { // the first on top
		var points [][2]float64
		for p, v := range series[i].Values {
			points = append(points, [2]float64{x(p), scale.at(v)})
		}
		c.path(points, class(i), i == 0)
		for _, p := range points {
			c.dot(p[0], p[1], 3.5, class(i))
		}
	}
	return c.svg(title, y+tall+34)
}

// CDF draws for each series which part of its values is at most x, over a logarithmic axis. The first series is what the
// chart is about. Values need not be sorted.
func CDF(title, sub string, series []Series) string {
	c := &canvas{}
	y, all := c.head(title, sub, series)
	const tall = 240
	x0, x1 := float64(margin+48), float64(width-margin-30)
	scale := newLogScale(all, x0, x1)
	at := func(part float64) float64 { return y + tall*(1-part) }
	for _, p := range []float64{0, 0.25, 0.5, 0.75, 1} {
		c.line(x0, at(p), x1, at(p), "g")
		c.text(x0-8, at(p)+4.5, "m", "end", num(p*100)+"%")
	}
	for _, t := range scale.ticks() {
		c.line(scale.at(t), at(1), scale.at(t), at(0), "g")
		c.text(scale.at(t), at(0)+18, "m", "middle", short(t))
	}
	c.line(x0, at(0), x1, at(0), "a")
	for i := len(series) - 1; i >= 0; i-- {
		values := slices.Sorted(slices.Values(series[i].Values))
		if len(values) == 0 {
			continue
		}
		points := [][2]float64{{scale.at(values[0]), at(0)}}
		for n, v := range values {
			points = append(points,
				[2]float64{scale.at(v), at(float64(n) / float64(len(values)))},
				[2]float64{scale.at(v), at(float64(n+1) / float64(len(values)))})
		}
		c.path(points, class(i), i == 0)
	}
	return c.svg(title, at(0)+34)
}

// Pair is one row of Pairs.
type Pair struct {
	Name          string
	Before, After float64
}

// Pairs draws a row for each pair, two dots on a logarithmic axis with a line between them and the ratio beside it.
func Pairs(title, sub, before, after string, pairs []Pair) string {
	c := &canvas{}
	y := c.title(title, sub)
	y = c.legend(y, []string{before, after}) + 4
	var all []float64
	left := 0.0
	for _, p := range pairs {
		all = append(all, p.Before, p.After)
		left = max(left, textWidth(p.Name))
	}
	const row = 30
	x0, x1 := margin+left+12, float64(width-margin-64)
	scale := newLogScale(all, x0+8, x1)
	bottom := y + float64(len(pairs)*row)
	for _, t := range scale.ticks() {
		c.line(scale.at(t), y, scale.at(t), bottom, "g")
		c.text(scale.at(t), bottom+18, "m", "middle", short(t))
	}
	c.line(x0, y, x0, bottom, "a")
	for i, p := range pairs {
		at := y + float64(i*row) + row/2
		c.text(x0-8, at+4.5, "t", "end", p.Name)
		c.line(scale.at(p.Before), at, scale.at(p.After), at, "a")
		c.dot(scale.at(p.Before), at, 5.5, class(0))
		c.dot(scale.at(p.After), at, 5.5, class(1))
		if p.Before > 0 && !math.IsInf(p.After/p.Before, 0) {
			c.text(width-margin, at+4.5, "t", "end", short(p.After/p.Before)+" x")
		}
	}
	return c.svg(title, bottom+34)
}
