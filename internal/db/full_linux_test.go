package db_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// On a disk that something else has filled writes fail and reads are answered; when there is room again writes go on, and what was
// committed is there, also after a restart.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("a small disk cannot be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	url := "sqlite:" + filepath.Join(disk, "test.db")
	d := dbtest.Open(t, url)
	migrate(t, d, counters)
	ctx, added, text := context.Background(), 0, strings.Repeat("x", 2000)
	add := func() error {
		err := d.Write(ctx, func(tx *db.Tx) error {
			tx.Changed("counters", "x")
			_, err := tx.ExecContext(ctx, `INSERT INTO counters (name, n) VALUES (?, ?)`, text+hansom.NewID(), added)
			return err
		})
		if err == nil {
			added++
		}
		return err
	}
	check := func(d *db.DB) {
		t.Helper()
		var n, sum int
		if err := d.Read().QueryRowContext(ctx, `SELECT count(*), coalesce(sum(n), 0) FROM counters`).Scan(&n, &sum); err != nil || n != added || sum != added*(added-1)/2 {
			t.Errorf("%d rows with the sum %d, %d were added (%v)", n, sum, added, err)
		}
		if rev, err := d.Revision(ctx); err != nil || rev != int64(added) {
			t.Errorf("revision %d (%v), want %d", rev, err, added)
		}
	}
	filler := filepath.Join(disk, "filler")
	for range 3 {
		for range 20 {
			if err := add(); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, zeros{}); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		f.Close()
		for n := 0; add() == nil; n++ { // what SQLite's files have room for
			if n == 10_000 {
				t.Fatal("the full disk takes whatever comes")
			}
		}
		check(d)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if err := add(); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
		check(d)
	}
	check(dbtest.Open(t, url))
}
