package db

import (
	"database/sql"
	"errors"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hansomcloud/hansom"
)

// dialect is what differs between the engines.
type dialect struct {
	name    string
	goose   goose.Dialect
	lock    string // first statement of a writing transaction; "" when beginning one locks already
	numbers bool   // placeholders are $1, $2 ... instead of ?
	shared  bool   // several processes may have it
}

// openSQLite opens two pools on one file: a single connection that writes, and a few that read beside it, as WAL allows.
func (d *DB) openSQLite(path string, o options) error {
	if path == "" {
		return hansom.Errorf(hansom.Invalid, "open database", `"sqlite:" needs the path of a file, e.g. "sqlite:/var/lib/hansom/hansom.db"`)
	}
	d.dialect = dialect{name: "sqlite", goose: goose.DialectSQLite3}
	sync := "NORMAL"
	if o.syncAlways {
		sync = "FULL"
	}
	dsn := func(more ...string) string {
		v := url.Values{"_pragma": append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + sync + ")", "foreign_keys(0)"}, more...),
			"_txlock": {"immediate"}}
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode()
	}
	// Secrets are in it. SQLite gives the files beside it the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return hansom.Errorf(hansom.Unavailable, "open database", "cannot open %s; check that the folder exists and may be written: %w", path, err)
	}
	f.Close()
	if d.write, err = sql.Open("sqlite", dsn()); err != nil {
		return hansom.Errorf(hansom.Internal, "open database", "%w", err)
	}
	d.write.SetMaxOpenConns(1)
	// The file and its WAL must be there before a connection may read only.
	if err := d.write.Ping(); err != nil {
		d.write.Close()
		return hansom.Errorf(hansom.Unavailable, "open database", "cannot open %s; check that the folder exists and may be written: %w", path, err)
	}
	if d.read, err = sql.Open("sqlite", dsn("query_only(1)")); err != nil {
		d.write.Close()
		return hansom.Errorf(hansom.Internal, "open database", "%w", err)
	}
	n := max(2, min(4, runtime.NumCPU()))
	d.read.SetMaxOpenConns(n)
	d.read.SetMaxIdleConns(n)
	return nil
}

// openPostgres opens one pool. Transactions that write queue on the revision row, so that what they read stays true, as on SQLite.
func (d *DB) openPostgres(dsn string) error {
	d.dialect = dialect{name: "postgres", goose: goose.DialectPostgres, numbers: true, shared: true,
		lock: `SELECT revision FROM hansom_revision WHERE id = 1 FOR UPDATE`}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return hansom.Errorf(hansom.Invalid, "open database", "the PostgreSQL URL cannot be used: %w", err)
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(4)
	d.read, d.write = pool, pool
	return nil
}

// rewrite turns "?" into "$1", "$2" ... for engines that want that. Quoted text stays as it is.
func (d dialect) rewrite(query string) string {
	if !d.numbers || !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n, quote := 0, byte(0)
	for i := 0; i < len(query); i++ {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// transient says whether a transaction that failed with err has left nothing behind and may well succeed when run again.
func (d dialect) transient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01" // serialization failure, deadlock
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		code := lite.Code() & 0xff
		return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
	}
	return false
}

// IsDuplicate says whether err is a violated PRIMARY KEY or UNIQUE constraint.
func IsDuplicate(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}
