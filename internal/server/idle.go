package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The memory of a server that has nothing to do is what keeps it small beside others: garbage of the start or of the last deployment
// waits for a collection that an idle server comes to after minutes only, and its pages longer still.
const (
	idleEvery = 250 * time.Millisecond
	idleBytes = 128 << 10 // allocated in idleEvery by a server with next to nothing to do
	idleWorth = 4 << 20   // allocated since the last time: less is not worth a collection
	idleLong  = 120       // times idleEvery without work: what has a short pause only needs its memory again
)

// tidy collects garbage and gives memory back to the system once the server has started, and whenever it has been idle for long, until
// ctx ends.
func tidy(ctx context.Context) error {
	ticker := time.NewTicker(idleEvery)
	defer ticker.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, tidied uint64
	idle, long := 0, 1
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		if idle++; now-last >= idleBytes {
			idle = 0
		}
		last = now
		if idle >= long && now-tidied > idleWorth {
			debug.FreeOSMemory()
			tidied, long = now, idleLong
		}
	}
}
