package telemetry

import (
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func BenchmarkAppend(b *testing.B) {
	l := openLogs(b, b.TempDir(), func(c *LogsConfig) { c.Rate, c.Burst, c.Flush = 1<<40, 1<<40, 200*time.Millisecond })
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := line("hello", 0, "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 1.25 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 41 MB\t")
		for pb.Next() {
			l.Append(e)
		}
	})
	b.ReportMetric(float64(l.Dropped()), "dropped")
}

func BenchmarkRecord(b *testing.B) {
	m := NewMetrics(DefaultMetricsConfig())
	c := hansom.Completion{Version: &hansom.Version{Project: project, Function: "hello"}, Duration: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		m.Record(c)
	}
}

func TestAllocations(t *testing.T) {
	l := openLogs(t, t.TempDir(), func(c *LogsConfig) { c.Flush = time.Hour })
	e := line("hello", 0, "START RequestId: 00000000-0000-0000-0000-000000000000 Version: $LATEST")
	for range 4000 {
		l.Append(e)
	}
	if n := testing.AllocsPerRun(1000, func() { l.Append(e) }); n >= 1 {
		t.Errorf("Append allocates %v times", n)
	}
	m := NewMetrics(DefaultMetricsConfig())
	c := hansom.Completion{Version: &hansom.Version{Project: project, Function: "hello"}, Duration: time.Millisecond}
	if n := testing.AllocsPerRun(1000, func() { m.Record(c) }); n > 1 {
		t.Errorf("Record allocates %v times", n)
	}
}
