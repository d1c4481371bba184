package pattern

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// event is what EC2 tells, with a few members more, as the patterns of the benchmarks ask for them.
const benchEvent = `{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2",` +
	`"account":"123456789012","time":"2026-11-30T21:29:54Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],` +
	`"detail":{"instance-id":"i-abcd1111","state":"pending","n":5000,"address":"10.1.2.3","path":"dir/sub/photo-5000.png",` +
	`"tags":[{"key":"team","value":"blue"},{"key":"stage","value":"prod"}],"request":{"id":"q-99","parameters":{"count":3,"dry":false,"note":null}}}}`

// shapes are sets of n patterns each of which at most a few match benchEvent.
var shapes = []struct {
	name    string
	most    int // patterns; 0 for no limit
	pattern func(i int) string
}{
	{"other sources", 0, func(i int) string {
		return fmt.Sprintf(`{"source":["app.%d"],"detail-type":["order placed","order cancelled"],"detail":{"state":[{"anything-but":"done"}],"n":[{"numeric":[">",0]}]}}`, i)
	}},
	{"same source, other details", 0, func(i int) string {
		return fmt.Sprintf(`{"source":["aws.ec2"],"detail-type":[{"prefix":"EC2"}],"detail":{"instance-id":["i-%d"],"state":["pending","running"]}}`, i)
	}},
	{"same source, other members", 0, func(i int) string {
		return fmt.Sprintf(`{"source":["aws.ec2"],"detail":{"member-%d":[{"exists":true}]}}`, i)
	}},
	{"pairs", 0, func(i int) string {
		return fmt.Sprintf(`{"source":["aws.ec2","aws.s3"],"account":["123456789012","%d"],"detail":{"state":["pending","state-%d"],"request":{"id":["q-%d"]}}}`, i%100, i/100, 100+i)
	}},
	{"prefixes", 0, func(i int) string { return fmt.Sprintf(`{"detail":{"path":[{"prefix":"dir/sub/%d/"}]}}`, i) }},
	{"suffixes without case", 0, func(i int) string {
		return fmt.Sprintf(`{"detail":{"path":[{"suffix":{"equals-ignore-case":"-%d.jpg"}}]}}`, i)
	}},
	{"wildcards", 1000, func(i int) string { return fmt.Sprintf(`{"detail":{"path":[{"wildcard":"*/photo-%d*.jpg"}]}}`, i) }},
	{"numeric ranges", 0, func(i int) string { return fmt.Sprintf(`{"detail":{"n":[{"numeric":[">=",%d,"<",%d]}]}}`, i, i+1) }},
	{"networks", 0, func(i int) string {
		return fmt.Sprintf(`{"detail":{"address":[{"cidr":"10.%d.%d.0/24"}]}}`, 2+i/256, i%256)
	}},
	{"anything-but beside a value", 0, func(i int) string {
		return fmt.Sprintf(`{"detail":{"state":[{"anything-but":["done","x-%d"]}],"request":{"id":["q-%d"]}}}`, i, 100+i)
	}},
	{"anything-but alone", 0, func(i int) string {
		return fmt.Sprintf(`{"detail":{"state":[{"anything-but":["pending","x-%d"]}]}}`, i)
	}},
}

func (s *Set) fill(t testing.TB, n int, pattern func(i int) string) {
	for i := range n {
		s.Add(fmt.Sprint(i), parse(t, pattern(i)))
	}
}

// BenchmarkSet matches one event with 10 to 10,000 patterns.
func BenchmarkSet(b *testing.B) {
	for _, shape := range shapes {
		for n := 10; n <= 10_000 && (shape.most == 0 || n <= shape.most); n *= 10 {
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				var s Set
				s.fill(b, n, shape.pattern)
				event := []byte(benchEvent)
				b.ReportAllocs()
				for b.Loop() {
					if ids, err := s.Match(event); err != nil || len(ids) > 1 {
						b.Fatal(ids, err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkSetAdd replaces one pattern of 10,000.
func BenchmarkSetAdd(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			var s Set
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			from := time.Now()
			s.fill(b, 10_000, shape.pattern)
			filled := time.Since(from)
			runtime.GC()
			runtime.ReadMemStats(&after)
			p := parse(b, shape.pattern(77))
			b.ReportAllocs()
			for b.Loop() {
				s.Add("77", p)
			}
			b.ReportMetric(filled.Seconds(), "s-to-fill")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		})
	}
}
