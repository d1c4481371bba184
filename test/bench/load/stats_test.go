package load

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 99.9, 7},
		{[]time.Duration{1, 2}, 50, 1},
		{[]time.Duration{1, 2, 3}, 50, 2},
		{hundred, 0, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.1, 100},
		{hundred, 100, 100},
	} {
		if got := Percentile(c.sorted, c.p); got != c.want {
			t.Errorf("p%g of %d values is %d, want %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 4}, 4}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(c.values)
		if got := Median(c.values); got != c.want || !slices.Equal(before, c.values) {
			t.Errorf("median of %v is %g, want %g; values after: %v", before, got, c.want, c.values)
		}
	}
}

func TestSlope(t *testing.T) {
	x := []float64{0, 1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name string
		y    []float64
		want float64
	}{
		{"level", []float64{5, 5, 5, 5, 5, 5, 5}, 0},
		{"rising", []float64{1, 3, 5, 7, 9, 11, 13}, 2},
		{"level but for one", []float64{5, 5, 90, 5, 5, 5, 5}, 0},
		{"falling", []float64{6, 5, 4, 3, 2, 1, 0}, -1},
	} {
		if got := Slope(x, c.y); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
	if got := Slope([]float64{1}, []float64{4}); got != 0 {
		t.Errorf("of one point: %g", got)
	}
}

func TestAnswerSize(t *testing.T) {
	whole := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\ncontent-length:0\r\nX: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n",
	}
	for _, answer := range whole {
		for n := range len(answer) {
			if size, err := answerSize([]byte(answer[:n])); size != 0 || err != nil {
				t.Errorf("%d bytes of %q: %d, %v; want that it is not complete", n, answer, size, err)
			}
		}
		if size, err := answerSize([]byte(answer + "HTTP/1.1 200")); size != len(answer) || err != nil {
			t.Errorf("%q: %d, %v; want %d", answer, size, err, len(answer))
		}
	}
	for _, answer := range []string{
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	} {
		if _, err := answerSize([]byte(answer)); err == nil {
			t.Errorf("%q is taken", answer)
		}
	}
}
