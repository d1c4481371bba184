// Package load drives HTTP servers from as little code as possible, so that the generator is not what is measured, and
// reads what processes used meanwhile.
package load

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Sample is what one round of load measured.
type Sample struct {
	Latencies []time.Duration // of every request, sorted
	Elapsed   time.Duration
	CPU       time.Duration   // processor time of the watched processes, all requests together
	Lag       []time.Duration // open loop: how late the generator itself sent while a connection was free, sorted
}

// Rate is answers per second.
func (s Sample) Rate() float64 { return float64(len(s.Latencies)) / s.Elapsed.Seconds() }

// CPUPerRequest is the processor time that the watched processes used for each request.
func (s Sample) CPUPerRequest() time.Duration { return s.CPU / time.Duration(max(len(s.Latencies), 1)) }

// Closed sends the same request over conns keep-alive connections for d, one at a time on each: a closed loop.
// Every answer must have the status 200 or 202. pids names the processes whose processor time counts, each with its descendants.
func Closed(addr string, request []byte, conns int, d time.Duration, pids func() []int) (Sample, error) {
	var (
		mu   sync.Mutex
		all  []time.Duration
		fail error
		wg   sync.WaitGroup
	)
	before, start := CPUTime(pids()), time.Now()
	for range conns {
		wg.Go(func() {
			latencies, err := closedLoop(addr, request, start.Add(d))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			if err != nil {
				fail = err
			}
		})
	}
	wg.Wait()
	s := Sample{Elapsed: time.Since(start), CPU: CPUTime(pids()) - before, Latencies: all}
	if fail != nil {
		return Sample{}, fail
	}
	slices.Sort(s.Latencies)
	return s, nil
}

// Once sends a request on a new connection and returns the time from its first byte to the answer's last.
func Once(addr string, request []byte) (time.Duration, error) {
	latencies, err := closedLoop(addr, request, time.Time{})
	if err != nil {
		return 0, err
	}
	return latencies[0], nil
}

// closedLoop sends at least one request.
func closedLoop(addr string, request []byte, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(max(time.Until(until), 0) + patience)); err != nil {
		return nil, err
	}
	latencies := make([]time.Duration, 0, 1<<14)
	buf := make([]byte, 0, 16<<10)
	for now := time.Now(); len(latencies) == 0 || now.Before(until); {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		buf = buf[:0]
		for size := 0; size == 0; {
			if len(buf) == cap(buf) {
				buf = slices.Grow(buf, len(buf))
			}
			n, err := conn.Read(buf[len(buf):cap(buf)])
			if err != nil {
				return nil, fmt.Errorf("%w after %d requests", err, len(latencies))
			}
			buf = buf[:len(buf)+n]
			if size, err = answerSize(buf); err != nil {
				return nil, err
			}
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(now))
		now = end
	}
	return latencies, nil
}
