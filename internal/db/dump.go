package db

import (
	"bytes"
	"context"
	"database/sql"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Dump writes the last committed state to a new file while the database is in use: a SQLite database, or what PostgreSQL's
// pg_dump writes as SQL. Errors: Unsupported when pg_dump is not installed.
func (d *DB) Dump(ctx context.Context, path string) error {
	const op = "dump database"
	if file, ok := strings.CutPrefix(d.url, "sqlite:"); ok {
		// A connection of its own: it reads for long, and those of the pool may not write at all.
		lite, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?_pragma=busy_timeout(10000)")
		if err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		defer lite.Close()
		if _, err := lite.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		return os.Chmod(path, 0o600)
	}
	return postgresTool(ctx, op, d.url, "pg_dump", "--no-owner", "--no-privileges", "--file="+path)
}

// CheckDump says whether a file that Dump wrote for SQLite is whole.
func CheckDump(ctx context.Context, path string) error {
	const op = "check dump"
	lite, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&immutable=1")
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	defer lite.Close()
	var verdict string
	if err := lite.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return hansom.Errorf(hansom.Invalid, op, "%s is not a SQLite database: %w", path, err)
	}
	if verdict != "ok" {
		return hansom.Errorf(hansom.Invalid, op, "%s is damaged: %s", path, verdict)
	}
	return nil
}

// LoadPostgres fills an empty PostgreSQL database from a file that Dump wrote, all or nothing. Errors: Conflict when the database
// is in use by a Hansom already; Unsupported when psql is not installed.
func LoadPostgres(ctx context.Context, dsn, path string) error {
	const op = "load database"
	d := &DB{}
	if err := d.openPostgres(dsn); err != nil {
		return err
	}
	defer d.Close()
	var used bool
	if err := d.read.QueryRowContext(ctx, `SELECT to_regclass('hansom_revision') IS NOT NULL`).Scan(&used); err != nil {
		return hansom.Errorf(hansom.Unavailable, op, "cannot reach the database: %w", err)
	}
	if used {
		return hansom.Errorf(hansom.Conflict, op, "the database holds the data of a Hansom already; name an empty one")
	}
	return postgresTool(ctx, op, dsn, "psql", "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file="+path)
}

// postgresTool runs a program of PostgreSQL on a database. The password is not among its arguments, which everybody can read.
func postgresTool(ctx context.Context, op, dsn, tool string, args ...string) error {
	path, err := exec.LookPath(tool)
	if err != nil {
		return hansom.Errorf(hansom.Unsupported, op, "%s is not installed on this machine; install PostgreSQL's client programs (Debian: apt-get install postgresql-client)", tool)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return hansom.Errorf(hansom.Invalid, op, "the PostgreSQL URL cannot be read: %w", err)
	}
	if u.Query().Has("search_path") {
		return hansom.Errorf(hansom.Unsupported, op, "%s does not take the search_path of the PostgreSQL URL; give Hansom a database of its own", tool)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = os.Environ()
	if password, ok := u.User.Password(); ok {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
		u.User = url.User(u.User.Username())
	}
	cmd.Args = append(cmd.Args, "--dbname="+u.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return hansom.Errorf(hansom.Internal, op, "%s: %s (%w)", tool, strings.TrimSpace(stderr.String()), err)
	}
	return nil
}
