package server

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"
)

// An idle server gives the memory of its garbage back to the system.
func TestTidy(t *testing.T) {
	const size = 64 << 20
	resident := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	garbage := bytes.Repeat([]byte{1}, size)
	before := resident()
	runtime.KeepAlive(garbage)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tidy(ctx) }()
	for deadline := time.Now().Add(time.Minute); resident()+size*3/4 > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of the heap are resident, %d before", resident(), before)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
