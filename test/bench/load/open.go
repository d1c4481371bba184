package load

import (
	"fmt"
	"slices"
	"time"
)

// patience is how long a generator waits for one answer.
const patience = 30 * time.Second

// lanes are connections that carry one request at a time each.
type lanes interface {
	// send starts a request on a lane that has none.
	send(lane int) error
	// wait returns the lanes whose answers have come since; at the latest at the given time, with none.
	wait(until time.Time) ([]int, error)
}

// open sends requests at a fixed rate for d whatever the answers do: an open loop. A request that finds no lane free waits
// for one. Its latency counts from when it was to be sent, so that a stall of the server is charged to every request that it
// kept waiting and not only to those on the way (no coordinated omission).
func open(l lanes, count int, rate float64, d time.Duration) (Sample, error) {
	n := int(rate * d.Seconds())
	s := Sample{Latencies: make([]time.Duration, 0, n)}
	free := make([]int, count)
	for i := range free {
		free[i] = i
	}
	start := time.Now()
	due := func(i int) time.Time { return start.Add(time.Duration(float64(i) / rate * float64(time.Second))) }
	intended, blocked := make([]time.Time, count), start
	for sent := 0; len(s.Latencies) < n; {
		for sent < n && len(free) > 0 {
			now, at := time.Now(), due(sent)
			if now.Before(at) {
				break
			}
			lane := free[0]
			free = free[1:]
			if !at.Before(blocked) {
				s.Lag = append(s.Lag, now.Sub(at))
			}
			if err := l.send(lane); err != nil {
				return Sample{}, err
			}
			intended[lane] = at
			sent++
		}
		until, timeout := time.Now().Add(patience), true
		if sent < n && len(free) > 0 {
			until, timeout = due(sent), false
		}
		none := len(free) == 0
		done, err := l.wait(until)
		if err != nil {
			return Sample{}, err
		}
		if len(done) == 0 && timeout {
			return Sample{}, fmt.Errorf("no answer within %v", patience)
		}
		now := time.Now()
		if none {
			blocked = now
		}
		for _, lane := range done {
			s.Latencies = append(s.Latencies, now.Sub(intended[lane]))
			free = append(free, lane)
		}
	}
	s.Elapsed = time.Since(start)
	slices.Sort(s.Latencies)
	slices.Sort(s.Lag)
	return s, nil
}
