// Package plot draws the few charts that docs/benchmarks.md shows, as SVG without any library. A chart brings its own
// background and follows the reader's preference for light or dark.
package plot

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

const (
	width    = 760
	margin   = 24
	fontSize = 13
)

// style holds the two palettes; .s0 is the colour of the first series, and so on.
const style = `
.bg{fill:#fcfcfb;stroke:#dddcd8}.t{fill:#1b1b19}.m{fill:#63625d}.g{stroke:#e4e3df}.a{stroke:#a3a29c}
.s0{fill:#2a6fd6;stroke:#2a6fd6}.s1{fill:#d9622b;stroke:#d9622b}.s2{fill:#1d8f6b;stroke:#1d8f6b}.s3{fill:#8a5fd0;stroke:#8a5fd0}.s4{fill:#b5891b;stroke:#b5891b}.s5{fill:#77766f;stroke:#77766f}.s6{fill:#c2478b;stroke:#c2478b}.s7{fill:#2f9bb3;stroke:#2f9bb3}
@media (prefers-color-scheme:dark){
.bg{fill:#191918;stroke:#3a3936}.t{fill:#f2f1ed}.m{fill:#a8a79f}.g{stroke:#2f2e2c}.a{stroke:#66655f}
.s0{fill:#5b9bf0;stroke:#5b9bf0}.s1{fill:#ee8150;stroke:#ee8150}.s2{fill:#3dbb91;stroke:#3dbb91}.s3{fill:#ad8cea;stroke:#ad8cea}.s4{fill:#d6ad45;stroke:#d6ad45}.s5{fill:#9b9a92;stroke:#9b9a92}.s6{fill:#e274b0;stroke:#e274b0}.s7{fill:#58bfd6;stroke:#58bfd6}
}`

// colours is how many series have a colour of their own.
const colours = 8

// canvas is a chart while it is drawn.
type canvas struct{ strings.Builder }

func (c *canvas) text(x, y float64, class, anchor, s string) {
	fmt.Fprintf(c, `<text x="%s" y="%s" class="%s" text-anchor="%s">%s</text>`+"\n", num(x), num(y), class, anchor, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(c, `<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>`+"\n", num(x1), num(y1), num(x2), num(y2), class)
}

// path draws connected points; strong marks the series that the chart is about.
func (c *canvas) path(points [][2]float64, class string, strong bool) {
	c.WriteString(`<polyline points="`)
	for i, p := range points {
		if i > 0 {
			c.WriteByte(' ')
		}
		c.WriteString(num(p[0]) + "," + num(p[1]))
	}
	w := "1.75"
	if strong {
		w = "3"
	}
	fmt.Fprintf(c, `" class="%s" style="fill:none" stroke-width="%s" stroke-linejoin="round"/>`+"\n", class, w)
}

func (c *canvas) dot(x, y, r float64, class string) {
	fmt.Fprintf(c, `<circle cx="%s" cy="%s" r="%s" class="%s"/>`+"\n", num(x), num(y), num(r), class)
}

// title writes the heading and the line below it, and returns the next free y.
func (c *canvas) title(title, sub string) float64 {
	fmt.Fprintf(c, `<text x="%d" y="34" class="t" font-size="16" font-weight="600">%s</text>`+"\n", margin, html.EscapeString(title))
	c.text(margin, 54, "m", "start", sub)
	return 66
}

// legend writes a row of names with their colours, wrapped, and returns the next free y.
func (c *canvas) legend(y float64, names []string) float64 {
	x := float64(margin)
	y += 16
	for i, name := range names {
		w := 20 + textWidth(name) + 18
		if x+w > width-margin && x > margin {
			x, y = margin, y+20
		}
		c.dot(x+6, y-4.5, 5, class(i))
		c.text(x+18, y, "t", "start", name)
		x += w
	}
	return y + 14
}

// svg is the finished chart.
func (c *canvas) svg(title string, height float64) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %s" width="%d" height="%s" role="img" aria-label="%s" font-family="system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif" font-size="%d">
<style>%s
</style>
<rect x="0.5" y="0.5" width="%d" height="%s" rx="8" class="bg"/>
%s</svg>
`, width, num(height), width, num(height), html.EscapeString(title), fontSize, style, width-1, num(height-1), c.String())
}

func class(series int) string { return "s" + strconv.Itoa(series%colours) }

func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// textWidth is about how wide a text is, on the wide side.
func textWidth(s string) float64 { return float64(len([]rune(s))) * fontSize * 0.56 }

// short writes a number with two significant digits at least where they say something, and thousands apart.
func short(f float64) string {
	switch a := math.Abs(f); {
	case a >= 1000:
		s := strconv.FormatFloat(f, 'f', 0, 64)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 10 || f == 0:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 1:
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	default:
		return strconv.FormatFloat(f, 'g', 2, 64)
	}
}

// steps are round values from 0 to at least top, at most six.
func steps(top float64) []float64 {
	if top <= 0 {
		top = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(top)))
	for _, f := range []float64{0.2, 0.5, 1, 2} {
		if top/(step*f) <= 5 {
			step *= f
			break
		}
	}
	var all []float64
	for i := 0.0; ; i++ {
		all = append(all, i*step)
		if i*step >= top {
			return all
		}
	}
}

// logScale maps positive values to lo..hi of the picture, with a little room at both ends.
type logScale struct{ min, max, lo, hi float64 }

func newLogScale(values []float64, lo, hi float64) logScale {
	s := logScale{min: math.Inf(1), max: math.Inf(-1), lo: lo, hi: hi}
	for _, v := range values {
		if v > 0 {
			s.min, s.max = min(s.min, v), max(s.max, v)
		}
	}
	if s.min > s.max {
		s.min, s.max = 1, 10
	}
	s.min, s.max = s.min*0.85, s.max*1.15
	return s
}

func (s logScale) at(v float64) float64 {
	v = max(v, s.min)
	return s.lo + (s.hi-s.lo)*math.Log(v/s.min)/math.Log(s.max/s.min)
}

// ticks are round values within the scale, as many as have room.
func (s logScale) ticks() []float64 {
	var all []float64
	for _, factors := range [][]float64{{1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5, 9, 9.5}, {1, 1.5, 2, 3, 4, 5, 7}, {1, 2, 5}, {1}} {
		all = all[:0]
		for e := math.Floor(math.Log10(s.min)); e <= math.Ceil(math.Log10(s.max)); e++ {
			for _, f := range factors {
				if v := f * math.Pow(10, e); v >= s.min && v <= s.max {
					all = append(all, v)
				}
			}
		}
		if len(all) <= 9 {
			break
		}
	}
	return all
}
