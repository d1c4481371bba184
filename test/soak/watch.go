package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// watch reads what a server holds on its host.
type watch struct {
	server *rig.Server
	run    string   // its run directory
	ids    []string // of the server: names below the run directory, and of its cgroups
	start  time.Time
	before int // links that were there before the server, in a network namespace that nobody else uses; else 0
}

// follow begins to watch a server that has started.
func (w *watch) follow(s *rig.Server) {
	w.server = s
	entries, _ := os.ReadDir(w.run)
	for _, e := range entries {
		w.ids = append(w.ids, e.Name())
	}
}

// links are network interfaces, and tables of nftables.
func (w *watch) links() int {
	interfaces, _ := net.Interfaces()
	tables, _ := filters()
	return len(interfaces) + tables
}

// sample is what the server held at one time, by quantity.
type sample struct {
	at     float64 // seconds
	values map[string]float64
}

func (s sample) String() string {
	var out []string
	for _, q := range quantities {
		out = append(out, fmt.Sprintf("%s %.4g", q.name, s.values[q.name]))
	}
	return strings.Join(out, ", ")
}

// idle is how long the server rests before it is looked at. JetStream holds the ends of its logs in memory, up to 12 MB a shard (see
// docs/adr/0008-backlog.md), until they have not been used for 10 s.
const idle = 14 * time.Second

// rest waits until the server has no instance, no blank that boots, and no more processes than in the moment before; and then idle.
func (w *watch) rest(ctx context.Context) error {
	deadline, steady, last := time.Now().Add(time.Minute), 0, -1
	for time.Now().Before(deadline) {
		instances, ok := w.server.Metric(ctx, "hansom_instances")
		if !ok {
			return errors.Join(ctx.Err(), errors.New("the server tells no metrics; has it ended?"))
		}
		booting, _ := w.server.Metric(ctx, "hansom_blanks", `"booting"`)
		processes := len(load.Tree(w.server.Pids()))
		if steady++; instances+booting > 0 || processes != last {
			steady = 0
		}
		if last = processes; steady == 5 {
			return sleep(ctx, idle)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("instances were still there a minute after the last call")
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *watch) sample(ctx context.Context) sample {
	// The profile's side effect is a garbage collection, without which memory says little. The first puts buffers that nobody uses
	// into pools, two more empty these.
	for range 3 {
		_ = w.profile(ctx, "?gc=1", io.Discard)
	}
	// What is free the Go runtime gives back in its own time, and takes again first.
	unused, _ := w.server.Metric(ctx, "go_memstats_heap_idle_bytes")
	released, _ := w.server.Metric(ctx, "go_memstats_heap_released_bytes")
	pid := w.server.Pid()
	// The next collection is due at twice what the last one found, stacks included. Garbage since then does not count.
	heap, _ := w.server.Metric(ctx, "go_memstats_next_gc_bytes")
	goroutines, _ := w.server.Metric(ctx, "hansom_goroutines")
	descriptors, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	var database int64
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(filepath.Join(w.server.Data, "hansom.db"+suffix)); err == nil {
			database += info.Size()
		}
	}
	interfaces, _ := net.Interfaces()
	_, elements := filters()
	return sample{at: time.Since(w.start).Seconds(), values: map[string]float64{
		"resident MB":    float64(load.Status(pid, "VmRSS"))/1024 - (unused-released)/(1<<20),
		"heap MB":        heap / 2 / (1 << 20),
		"goroutines":     goroutines,
		"descriptors":    float64(len(descriptors)),
		"threads":        float64(load.Status(pid, "Threads")),
		"processes":      float64(len(load.Tree(w.server.Pids()))),
		"mounts":         float64(w.mounts()),
		"cgroups":        float64(w.cgroups()),
		"interfaces":     float64(len(interfaces)),
		"nft elements":   float64(elements),
		"database MB":    float64(database) / (1 << 20),
		"run files":      float64(files(w.run)),
		"code and blobs": float64(files(filepath.Join(w.server.Data, "code")) + files(filepath.Join(w.server.Data, "blob"))),
	}}
}

func (w *watch) profile(ctx context.Context, query string, to io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.server.API+"/_hansom/debug/pprof/heap"+query, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(to, answer.Body)
	return err
}

// heap writes a heap profile to a file.
func (w *watch) heap(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(w.profile(ctx, "?gc=1", f), f.Close())
}

// mounts are those of this mount namespace below the run directory.
func (w *watch) mounts() int {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.Contains(lines.Text(), w.run+"/") {
			n++
		}
	}
	return n
}

// cgroups are the groups of the server, in all hierarchies.
func (w *watch) cgroups() int {
	n := 0
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.ContainsFunc(w.ids, func(id string) bool { return strings.Contains(path, "/"+id) }) {
			n++
		}
		return nil
	})
	return n
}

// files are all entries below a folder.
func files(dir string) int {
	n := -1
	_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil })
	return max(n, 0)
}

// left says what a server that has ended did not take along.
func (w *watch) left() string {
	var all []string
	if n := w.mounts(); n > 0 {
		all = append(all, fmt.Sprintf("%d mounts", n))
	}
	if n := w.cgroups(); n > 0 {
		all = append(all, fmt.Sprintf("%d cgroups", n))
	}
	if n := w.links() - w.before; w.before > 0 && n > 0 {
		all = append(all, fmt.Sprintf("%d network interfaces and tables", n))
	}
	for _, id := range w.ids {
		if _, err := os.Stat(filepath.Join(w.run, id, "root")); err == nil {
			all = append(all, "the run directory "+id)
		}
	}
	return strings.Join(all, ", ")
}
