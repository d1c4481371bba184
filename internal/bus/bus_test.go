package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, last bool) (*Log, func()) {
	t.Helper()
	b, err := Open(t.Context(), Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(b.Close)
	t.Cleanup(stop)
	l, err := b.Log(t.Context(), LogConfig{Name: "log", Subject: "log.>", Last: last})
	if err != nil {
		t.Fatal(err)
	}
	return l, stop
}

func add(t *testing.T, l *Log, records ...Record) []uint64 {
	t.Helper()
	seqs, err := l.Append(records...).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return seqs
}

// scan lists "subject meta data" of all records.
func scan(t *testing.T, l *Log, data bool) (list []string) {
	t.Helper()
	err := l.Scan(t.Context(), data, func(r Record) error {
		list = append(list, strings.TrimSpace(fmt.Sprint(r.Subject, " ", r.Meta, " ", string(r.Data))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	l, stop := open(t, dir, false)
	if list := scan(t, l, true); len(list) > 0 {
		t.Error(list)
	}
	seqs := add(t, l, Record{Subject: "log.a", Meta: `{"ß":"1"}`, Data: []byte("A\r\n\x00")}, Record{Subject: "log.b", Data: []byte("B")}, Record{Subject: "log.a"}, Record{Subject: "log.c.d", Data: []byte("C")})
	if !slices.IsSorted(seqs) || len(seqs) != 4 {
		t.Error(seqs)
	}
	if r, err := l.Read(t.Context(), seqs[0]); err != nil || r.Seq != seqs[0] || r.Subject != "log.a" || r.Meta != `{"ß":"1"}` || string(r.Data) != "A\r\n\x00" {
		t.Errorf("%+v %v", r, err)
	}
	for range 2 { // the second time it is not there
		if err := l.Delete(t.Context(), seqs[1]); err != nil {
			t.Error(err)
		}
	}
	if err := l.Delete(t.Context(), seqs[3]+100); err != nil {
		t.Error(err)
	}
	if _, err := l.Read(t.Context(), seqs[1]); hansom.KindOf(err) != hansom.NotFound {
		t.Error(err)
	}
	if err := l.Purge(t.Context(), "log.c.>"); err != nil {
		t.Error(err)
	}
	stop()
	l, _ = open(t, dir, false)
	if list := scan(t, l, false); !slices.Equal(list, []string{`log.a {"ß":"1"}`, "log.a"}) {
		t.Errorf("%q", list)
	}
	if more := add(t, l, Record{Subject: "log.e"}); more[0] <= seqs[3] {
		t.Errorf("the place %d was there before", more[0])
	}
	stopped := errors.New("stop")
	if err := l.Scan(t.Context(), false, func(Record) error { return stopped }); err != stopped {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Scan(ctx, false, func(Record) error { return nil }); hansom.KindOf(err) != hansom.Canceled {
		t.Error(err)
	}
}

func TestLastRecords(t *testing.T) {
	l, _ := open(t, t.TempDir(), true)
	for n := range 3 {
		add(t, l, Record{Subject: "log.a", Data: fmt.Append(nil, n)}, Record{Subject: "log.b", Data: fmt.Append(nil, n), TTL: time.Second})
	}
	if list := scan(t, l, true); !slices.Equal(list, []string{"log.a  2", "log.b  2"}) {
		t.Errorf("%q", list)
	}
	for end := time.Now().Add(time.Minute); len(scan(t, l, true)) == 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the record's time to live does not end it")
		}
	}
}

// A scan whose records do not come any more asks for them again.
func TestScanAsksAgain(t *testing.T) {
	l, _ := open(t, t.TempDir(), false)
	for range 3 * scanBatch / 500 {
		add(t, l, slices.Repeat([]Record{{Subject: "log.a"}}, 500)...)
	}
	count := 0
	var paused error
	err := l.Scan(t.Context(), false, func(Record) error {
		if count++; count == 1 {
			for c := range l.stream.ListConsumers(t.Context()).Info() {
				_, paused = l.stream.PauseConsumer(t.Context(), c.Name, time.Now().Add(time.Hour))
			}
		}
		return nil
	})
	if err != nil || paused != nil || count != 3*scanBatch/500*500 {
		t.Error(count, err, paused)
	}
}

// A log that is emptied again and again keeps one anchor, near its end.
func TestAnchor(t *testing.T) {
	l, _ := open(t, t.TempDir(), false)
	for range 2*anchorEvery/64 + 1 {
		records := make([]Record, 64)
		for i := range records {
			records[i].Subject = "log.a"
		}
		var wait sync.WaitGroup
		for _, seq := range add(t, l, records...) {
			wait.Go(func() {
				if err := l.Delete(t.Context(), seq); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		info, err := l.stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 1 && info.State.FirstSeq > anchorEvery {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", info.State)
		}
	}
	if list := scan(t, l, true); len(list) > 0 {
		t.Error(list)
	}
}

func TestErrors(t *testing.T) {
	if _, err := Open(t.Context(), Config{}, slog.Default()); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
	l, stop := open(t, t.TempDir(), false)
	if err := Check(&Record{Subject: "log.a", Data: make([]byte, MaxPayload)}); hansom.KindOf(err) != hansom.TooLarge {
		t.Error(err)
	}
	stop()
	if _, err := l.Append(Record{Subject: "log.a"}).Wait(); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
	if err := l.Delete(t.Context(), 1); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
}
