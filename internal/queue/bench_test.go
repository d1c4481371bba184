package queue

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkManyQueues reports what 10,000 queues with a message each take: memory, and time until a service that was stopped is there again.
func BenchmarkManyQueues(b *testing.B) {
	const queues = 10_000
	for range b.N {
		r := newRig(b, "sqlite:"+b.TempDir()+"/queues.db", nil, nil)
		heap := func() float64 {
			runtime.GC()
			runtime.GC() // pools are emptied by the second one
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc)
		}
		r.create("first")
		before, begin := heap(), time.Now()
		for n := range queues {
			r.create(fmt.Sprintf("queue-%d", n), "VisibilityTimeout", "60")
		}
		b.ReportMetric(time.Since(begin).Seconds()*1e6/queues, "us/create")
		empty := heap()
		for n := range queues {
			r.send(fmt.Sprintf("queue-%d", n), "hello")
		}
		b.ReportMetric((empty-before)/queues, "B/queue")
		b.ReportMetric((heap()-empty)/queues, "B/first-message")
		r.end()
		begin = time.Now()
		r.start()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/restart")
		begin = time.Now()
		if err := r.load(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "of-which-ms/definitions")
		if list, err := r.ReceiveMessages(context.Background(), project, "queue-77", ReceiveInput{}); err != nil || len(list) != 1 {
			b.Fatal(list, err)
		}
	}
}

// BenchmarkMessage is a message's life, one at a time: sent, received, deleted.
func BenchmarkMessage(b *testing.B) {
	r := newRig(b, "sqlite:"+b.TempDir()+"/queues.db", nil, nil)
	r.create("q")
	for b.Loop() {
		r.send("q", "hello")
		list := r.receive("q", 1)
		if len(list) != 1 {
			b.Fatal("no message")
		}
		if err := r.DeleteMessage(context.Background(), project, "q", list[0].Handle); err != nil {
			b.Fatal(err)
		}
	}
}
