package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
)

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// smallDisk is a folder on a file system of 24 MB; fill takes what is free of it until it is called again.
func smallDisk(t *testing.T) (dir string, fill, free func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("a small disk cannot be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	fill = func() {
		t.Helper()
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := io.Copy(f, zeros{}); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	return dir, fill, func() {
		t.Helper()
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}

// Something else fills the disk while records are written and deleted: they are refused. When there is room again the same Log goes
// on; what was accepted is there, what was deleted is not, before and after a restart.
func TestFullDisk(t *testing.T) {
	disk, fill, free := smallDisk(t)
	var full sync.Mutex
	isFull := false
	room := func() error {
		full.Lock()
		defer full.Unlock()
		if isFull {
			return hansom.Errorf(hansom.Unavailable, "look", "full")
		}
		return nil
	}
	cfg := Config{Dir: filepath.Join(disk, "bus"), Room: room}
	b, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	list := LogConfig{Name: "log", Subject: "log.>"}
	l, err := b.Log(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	accepted := map[string]uint64{}
	unsure := map[string]bool{} // their deletion failed
	last := 0
	// write appends and deletes a few from several goroutines, and returns an error of an append and one of a deletion.
	write := func() (put, deleted error) {
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range 20 {
					mu.Lock()
					last++
					name := fmt.Sprint("r", last)
					mu.Unlock()
					seqs, err := l.Append(Record{Subject: "log.a", Meta: name, Data: bytes.Repeat([]byte(name[:1]), 3000)}).Wait()
					mu.Lock()
					if err != nil {
						put = err
						mu.Unlock()
						return
					}
					accepted[name] = seqs[0]
					mu.Unlock()
					if seqs[0]%5 != 0 {
						continue
					}
					err = l.Delete(t.Context(), seqs[0])
					mu.Lock()
					if delete(accepted, name); err != nil {
						deleted, unsure[name] = err, true
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		return put, deleted
	}
	same := func() {
		t.Helper()
		have := map[string]uint64{}
		if err := l.Scan(t.Context(), true, func(r Record) error {
			if !unsure[r.Meta] {
				have[r.Meta] = r.Seq
			}
			if len(r.Data) != 3000 || r.Data[0] != 'r' {
				t.Errorf("%s is damaged", r.Meta)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(have, accepted) {
			t.Errorf("there are %d records, and %d were accepted", len(have), len(accepted))
		}
	}
	for round := range 3 {
		if put, deleted := write(); put != nil || deleted != nil {
			t.Fatal(put, deleted)
		}
		full.Lock()
		isFull = true
		full.Unlock()
		fill()
		if round == 1 { // the first that finds the disk full is a deletion
			err := error(nil)
			for name, seq := range accepted { // there is room for some in the last page
				delete(accepted, name)
				if err = l.Delete(t.Context(), seq); err != nil {
					unsure[name] = true
					break
				}
			}
			if hansom.KindOf(err) != hansom.Unavailable {
				t.Error(err)
			}
		}
		start := time.Now()
		for put := error(nil); put == nil; put, _ = write() {
		}
		if took := time.Since(start); took > ackTimeout/2 {
			t.Errorf("it took %s to refuse", took)
		}
		start = time.Now()
		if _, err := l.Append(Record{Subject: "log.a"}).Wait(); hansom.KindOf(err) != hansom.Unavailable || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		for name, seq := range accepted {
			if r, err := l.Read(t.Context(), seq); err != nil || r.Meta != name {
				t.Errorf("on a full disk %s cannot be read: %q %v", name, r.Meta, err)
			}
		}
		free()
		full.Lock()
		isFull = false
		full.Unlock()
		for end := time.Now().Add(time.Minute); b.Writable("look") != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it is not opened anew")
			}
		}
		same()
	}
	if put, deleted := write(); put != nil || deleted != nil {
		t.Fatal(put, deleted)
	}
	same()
	b.Close()
	if b, err = Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if l, err = b.Log(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	same()
}

// A stream of a client that met a full disk goes on too, and the platform's logs with it.
func TestFullDiskOfClients(t *testing.T) {
	disk, fill, free := smallDisk(t)
	b := serve(t, Config{Dir: filepath.Join(disk, "bus")})
	l, err := b.Log(t.Context(), LogConfig{Name: "log", Subject: "log.>"})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, Record{Subject: "log.a", Meta: "before"})
	_, js := login(t, b, one)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	accepted := uint64(0)
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "s", make([]byte, 5000), jetstream.WithRetryAttempts(0))
		if err == nil {
			accepted++
		}
		return err
	}
	for range 10 {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	for publish() == nil {
	}
	free()
	until(t, "messages are accepted again", func() bool { return publish() == nil })
	if s, err := js.Stream(t.Context(), "S"); err != nil || s.CachedInfo().State.Msgs != accepted {
		t.Errorf("%d were accepted: %+v %v", accepted, s.CachedInfo().State, err)
	}
	until(t, "the platform's log is open", func() bool {
		_, err := l.Append(Record{Subject: "log.a", Meta: "after"}).Wait()
		return err == nil
	})
	if list := scan(t, l, false); len(list) != 2 {
		t.Errorf("%q", list)
	}
}
