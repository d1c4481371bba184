package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

var counters = fstest.MapFS{"00001_counters.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counters (name TEXT PRIMARY KEY, n BIGINT NOT NULL);\n")}}

func migrate(t *testing.T, d *db.DB, files fstest.MapFS) {
	t.Helper()
	if err := d.Migrate(context.Background(), "counters", files); err != nil {
		t.Fatal(err)
	}
}

func TestWriteSerialises(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := context.Background()
		// Two handles stand for two processes on one database.
		handles := []*db.DB{dbtest.Open(t, url), dbtest.Open(t, url)}
		migrate(t, handles[0], counters)
		if err := handles[0].Write(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO counters (name, n) VALUES (?, ?)`, "a", 0)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		const writers, each = 8, 10
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for range each {
					err := handles[i%2].Write(ctx, func(tx *db.Tx) error {
						var n int64
						if err := tx.QueryRowContext(ctx, `SELECT n FROM counters WHERE name = ?`, "a").Scan(&n); err != nil {
							return err
						}
						tx.Changed("counters", "a")
						_, err := tx.ExecContext(ctx, `UPDATE counters SET n = ? WHERE name = ?`, n+1, "a")
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		var n int64
		if err := handles[1].Read().QueryRowContext(ctx, `SELECT n FROM counters`).Scan(&n); err != nil || n != writers*each {
			t.Errorf("after %d read-modify-writes the counter is %d (%v)", writers*each, n, err)
		}
		if rev, err := handles[0].Revision(ctx); err != nil || rev != writers*each {
			t.Errorf("revision %d (%v), want %d", rev, err, writers*each)
		}
	})
}

func TestChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		migrate(t, d, counters)
		var got []db.Change
		d.Subscribe(func(c db.Change) { got = append(got, c) })
		write := func(f func(tx *db.Tx) error) error { return d.Write(ctx, f) }

		if err := write(func(tx *db.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		failure := errors.New("no")
		err := write(func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO counters (name, n) VALUES ('x', 1)`); err != nil {
				return err
			}
			tx.Changed("counters", "x")
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatalf("Write returned %v", err)
		}
		if err := write(func(tx *db.Tx) error {
			tx.Changed("counters", "a")
			tx.Changed("apps", "p")
			tx.Changed("counters", "b")
			tx.Changed("counters", "a")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		want := []db.Change{{Revision: 1, Domain: "counters", Keys: []string{"a", "b"}}, {Revision: 2, Domain: "apps", Keys: []string{"p"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		err = d.Read().QueryRowContext(ctx, `SELECT name FROM counters`).Scan(new(string))
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a failed transaction left a row (%v)", err)
		}
	})
}

func TestWriteStopsWaiting(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		d.Write(context.Background(), func(*db.Tx) error { close(inside); <-leave; return nil })
	})
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Write(ctx, func(*db.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Write returned %v", err)
	}
	close(leave)
	wg.Wait()
}

func TestReadOnly(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	if _, err := d.Read().ExecContext(context.Background(), `UPDATE hansom_revision SET revision = 9`); err == nil {
		t.Error("the read side wrote")
	}
}

func TestMigrate(t *testing.T) {
	second := fstest.MapFS{"00002_more.sql": {Data: []byte("-- +goose Up\nALTER TABLE counters ADD COLUMN more TEXT NOT NULL DEFAULT '?';\n")}}
	for name, f := range counters {
		second[name] = f
	}
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := context.Background()
		var wg sync.WaitGroup
		for range 2 { // two servers start at once
			if strings.HasPrefix(url, "postgres") {
				d := dbtest.Open(t, url)
				wg.Go(func() { migrate(t, d, counters) })
			}
		}
		wg.Wait()
		d := dbtest.Open(t, url)
		migrate(t, d, counters)
		migrate(t, d, second)
		migrate(t, d, second)
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO counters (name, n, more) VALUES (?, ?, '?')`, "a", 1)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var more string
		if err := d.Read().QueryRowContext(ctx, `SELECT more FROM counters WHERE name = ? AND more = '?'`, "a").Scan(&more); err != nil {
			t.Error(err)
		}
		if err := d.Migrate(ctx, "counters", counters); hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("an older program on a newer database: %v", err)
		}
		bad := fstest.MapFS{"00003_bad.sql": {Data: []byte("-- +goose Up\nCREATE TABLE half (a TEXT);\nnonsense;\n")}}
		for name, f := range second {
			bad[name] = f
		}
		if err := d.Migrate(ctx, "counters", bad); err == nil {
			t.Error("a migration that cannot run succeeded")
		}
		if _, err := d.Read().QueryContext(ctx, `SELECT a FROM half`); err == nil {
			t.Error("a failed migration left a table")
		}
	})
}

func TestMigrateRefuses(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	for name, c := range map[string]struct {
		domain string
		files  fstest.MapFS
	}{
		"domain":   {"a; DROP TABLE x", counters},
		"no files": {"empty", fstest.MapFS{}},
		"name":     {"name", fstest.MapFS{"first.sql": {}}},
	} {
		if err := d.Migrate(context.Background(), c.domain, c.files); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for url, kind := range map[string]hansom.Kind{
		"mysql://x": hansom.Invalid,
		"sqlite:":   hansom.Invalid,
		"sqlite:" + filepath.Join(t.TempDir(), "no", "such", "folder.db"): hansom.Unavailable,
		"postgres://hansom@127.0.0.1:1/x?connect_timeout=1":               hansom.Unavailable,
		"postgres://hansom@127.0.0.1:port/x":                              hansom.Invalid,
	} {
		d, err := db.Open(context.Background(), url, nil)
		if err == nil {
			d.Close()
		}
		if hansom.KindOf(err) != kind {
			t.Errorf("%s: %v (kind %d, want %d)", url, err, hansom.KindOf(err), kind)
		}
	}
}

// A path with characters that mean something in a URL is still one file.
// What stands in the database is for nobody else.
func TestSQLiteMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hansom.db")
	dbtest.Open(t, "sqlite:"+path)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", filepath.Base(name), info, err)
		}
	}
}

func TestSQLitePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20.db")
	for want := range 2 {
		d, err := db.Open(context.Background(), "sqlite:"+path, nil, db.SyncAlways())
		if err != nil {
			t.Fatal(err)
		}
		rev, err := d.Revision(context.Background())
		if err != nil || rev != int64(want) {
			t.Errorf("revision %d (%v), want %d", rev, err, want)
		}
		if err := d.Write(context.Background(), func(tx *db.Tx) error { tx.Changed("a", "b"); return nil }); err != nil {
			t.Fatal(err)
		}
		var mode string
		var sync int
		if err := d.Read().QueryRowContext(context.Background(), `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("journal mode %q (%v)", mode, err)
		}
		if err := d.Read().QueryRowContext(context.Background(), `PRAGMA synchronous`).Scan(&sync); err != nil || sync != 2 {
			t.Errorf("synchronous %d (%v), want 2: FULL", sync, err)
		}
		d.Close()
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "a*")); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

func TestIsDuplicate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		migrate(t, d, counters)
		insert := func(table string) error {
			return d.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO `+table+` (name, n) VALUES ('a', 1)`)
				if err != nil {
					return fmt.Errorf("insert: %w", err)
				}
				return nil
			})
		}
		if err := insert("counters"); err != nil {
			t.Fatal(err)
		}
		if err := insert("counters"); !db.IsDuplicate(err) {
			t.Errorf("IsDuplicate(%v) is false", err)
		}
		if err := insert("nothing"); err == nil || db.IsDuplicate(err) {
			t.Errorf("IsDuplicate(%v) is true", err)
		}
	})
}

// Without room nothing is written but what is essential.
func TestRoom(t *testing.T) {
	full := hansom.Errorf(hansom.Unavailable, "look", "full")
	room := error(nil)
	d, err := db.Open(context.Background(), dbtest.SQLite(t), nil, db.Room(func() error { return room }))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	write := func(ctx context.Context) error {
		return d.Write(ctx, func(tx *db.Tx) error { tx.Changed("a", "b"); return nil })
	}
	if err := write(t.Context()); err != nil {
		t.Error(err)
	}
	room = full
	if err := write(t.Context()); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := write(db.Essential(t.Context())); err != nil {
		t.Error(err)
	}
	if rev, err := d.Revision(t.Context()); err != nil || rev != 2 {
		t.Error(rev, err)
	}
}

// Two handles on one PostgreSQL, which stand for two processes, see all changes, each once and in their order.
func TestFollow(t *testing.T) {
	url := dbtest.Postgres(t)
	var handles []*db.DB
	var mu sync.Mutex
	var seen [2][]db.Change
	list := func(i int) []db.Change {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen[i])
	}
	ctx, cancel := context.WithCancel(t.Context())
	wake, ended := make(chan struct{}, 1), make(chan error)
	for i := range 2 {
		d := dbtest.Open(t, url)
		d.Subscribe(func(c db.Change) {
			mu.Lock()
			defer mu.Unlock()
			seen[i] = append(seen[i], c)
		})
		handles = append(handles, d)
	}
	write := func(i int, key string) {
		t.Helper()
		if err := handles[i].Write(ctx, func(tx *db.Tx) error { tx.Changed("d", key); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	change := func(revision int64, key string, other bool) db.Change {
		return db.Change{Revision: revision, Domain: "d", Keys: []string{key}, Other: other}
	}
	write(0, "a")
	write(1, "b") // which has seen a before
	if diff := cmp.Diff([]db.Change{change(1, "a", true), change(2, "b", false)}, list(1)); diff != "" {
		t.Error(diff)
	}
	go func() { ended <- handles[0].Follow(ctx, wake, time.Hour) }()
	eventually := func(want ...db.Change) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if diff := cmp.Diff(want, list(0)); diff == "" {
				return
			} else if time.Now().After(end) {
				t.Fatal(diff)
			}
		}
	}
	eventually(change(1, "a", false), change(2, "b", true))
	write(1, "c")
	wake <- struct{}{}
	eventually(change(1, "a", false), change(2, "b", true), change(3, "c", true))
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for range 60 {
				if err := handles[i].Write(ctx, func(tx *db.Tx) error { tx.Changed("d", "x"); return nil }); err != nil {
					t.Error(err)
				}
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		})
	}
	wg.Wait()
	write(1, "z") // sees the rest
	for n, c := range list(1) {
		if c.Revision != int64(n+1) {
			t.Fatalf("change %d is number %d", c.Revision, n+1)
		}
	}
	if n := len(list(1)); n != 124 {
		t.Errorf("%d changes were seen", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
