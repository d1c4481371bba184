package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sample is what one round of load measured.
type sample struct {
	rate     float64       // requests per second
	p50, p99 time.Duration // latency
	cpu      time.Duration // processor time of the watched processes for each request
}

// load sends the same request over conns keep-alive connections for d, one at a time on each (a closed loop).
// Every answer must have the status 200. pids are the processes whose processor time counts; a tree each.
func load(addr string, request []byte, conns int, d time.Duration, pids func() []int) (sample, error) {
	before := cpuTime(pids())
	var (
		mu   sync.Mutex
		all  []time.Duration
		fail error
		wg   sync.WaitGroup
	)
	start := time.Now()
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
	elapsed := time.Since(start)
	if fail != nil {
		return sample{}, fail
	}
	if len(all) == 0 {
		return sample{}, fmt.Errorf("no request to %s was answered within %v", addr, d)
	}
	slices.Sort(all)
	return sample{
		rate: float64(len(all)) / elapsed.Seconds(),
		p50:  all[len(all)/2],
		p99:  all[len(all)*99/100],
		cpu:  (cpuTime(pids()) - before) / time.Duration(len(all)),
	}, nil
}

func closedLoop(addr string, request []byte, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 16<<10)
	latencies := make([]time.Duration, 0, 1<<16)
	for now, first := time.Now(), true; first || now.Before(until); first = false {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := readAnswer(r); err != nil {
			return nil, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(now))
		now = end
	}
	return latencies, nil
}

// readAnswer reads one HTTP/1.1 answer with as little work as possible, so that the generator is not what is measured.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(status) < 12 || string(status[9:12]) != "200" {
		return fmt.Errorf("answer %q", strings.TrimSpace(string(status)))
	}
	length, chunked := -1, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		switch http.CanonicalHeaderKey(name) {
		case "Content-Length":
			length, err = strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return err
			}
		case "Transfer-Encoding":
			chunked = true
		}
	}
	if !chunked {
		_, err = r.Discard(max(length, 0))
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(n) + 2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// cpuTime is the user and system time that the processes and all their descendants have used so far.
func cpuTime(pids []int) time.Duration {
	parents := map[int][]int{}
	ticks := map[int]int64{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name may hold spaces; the fields after its closing parenthesis do not.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		parents[parent] = append(parents[parent], pid)
		for _, f := range fields[11:13] {
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks[pid] += n
		}
	}
	var total int64
	for queue := slices.Clone(pids); len(queue) > 0; queue = queue[1:] {
		total += ticks[queue[0]]
		queue = append(queue, parents[queue[0]]...)
	}
	return time.Duration(total) * 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
}

// resident is the resident memory of one process in bytes.
func resident(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}
