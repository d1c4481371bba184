// Package dbtest runs a store's tests on every engine that db supports.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/db"
)

// Each runs test as a subtest on a fresh SQLite file and in a fresh schema of PostgreSQL. PostgreSQL is the one at
// HANSOM_TEST_POSTGRES (a postgres:// URL of a role that may create schemas), else a temporary cluster that the tests of one
// process share; without either that subtest is skipped.
func Each(t *testing.T, test func(t *testing.T, database *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, Open(t, SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, Postgres(t))) })
}

// EachURL is Each for tests that open the database themselves, more than once.
func EachURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens a database and closes it at the end of the test.
func Open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// SQLite returns the URL of a new file.
func SQLite(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// Postgres returns the URL of a new schema, which is dropped at the end of the test.
func Postgres(t *testing.T) string {
	t.Helper()
	base, admin := postgres(t)
	schema := "test_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
		t.Fatalf("cannot make a schema at %s: %v", base, err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// PostgresDatabase returns the URL of a new database, for what needs one of its own; see Postgres.
func PostgresDatabase(t *testing.T) string {
	t.Helper()
	base, admin := postgres(t)
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("cannot make a database at %s: %v", base, err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// postgres is the server to test with. admin is closed at the end of the test.
func postgres(t *testing.T) (base string, admin *sql.DB) {
	t.Helper()
	base = os.Getenv("HANSOM_TEST_POSTGRES")
	if base == "" {
		c, err := sharedCluster()
		if err != nil {
			t.Skipf("no PostgreSQL to test with: %v; scripts/setup.sh installs it, or set HANSOM_TEST_POSTGRES", err)
		}
		base = c.url
	}
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return base, admin
}
