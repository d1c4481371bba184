package db

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"regexp"
	"strconv"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/hansomcloud/hansom"
)

//go:embed migrations/*.sql
var embedded embed.FS

func migrations() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return sub
}

var (
	domainName    = regexp.MustCompile(`^[a-z]{1,20}$`)
	migrationFile = regexp.MustCompile(`^([0-9]+)_[a-z0-9_]+\.sql$`)
)

// Migrate brings the tables of a domain up to date. files holds goose migrations, "00001_what.sql", in its root; they must be
// valid on both engines. The versions applied are kept in the table goose_<domain>. When nothing is to be done it costs one query.
// Errors: Invalid for a bad domain or file name; Conflict when the database was migrated by a newer program.
func (d *DB) Migrate(ctx context.Context, domain string, files fs.FS) error {
	op := "migrate " + domain
	if !domainName.MatchString(domain) {
		return hansom.Errorf(hansom.Invalid, op, "the domain %q is not 1 to 20 lower-case letters", domain)
	}
	latest, err := latestMigration(files)
	if err != nil {
		return hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	table := "goose_" + domain
	var applied int64
	// An error here means that the table is not there; goose makes it, or reports what else is wrong.
	if err := d.write.QueryRowContext(ctx, "SELECT max(version_id) FROM "+table+" WHERE is_applied").Scan(&applied); err == nil {
		if applied == latest {
			return nil
		}
		if applied > latest {
			return hansom.Errorf(hansom.Conflict, op,
				"the database is at version %d of %s, this program knows %d: it was used by a newer program; update this one", applied, domain, latest)
		}
	}
	opts := []goose.ProviderOption{goose.WithTableName(table), goose.WithDisableGlobalRegistry(true), goose.WithSlog(d.log)}
	if d.dialect.numbers {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(d.dialect.goose, d.write, files, opts...)
	if err != nil {
		return hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return nil
}

func latestMigration(files fs.FS) (int64, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, e := range entries {
		m := migrationFile.FindStringSubmatch(e.Name())
		if m == nil {
			return 0, errors.New("the name of the migration " + e.Name() + " is not of the form 00001_what.sql")
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return 0, err
		}
		latest = max(latest, n)
	}
	if latest == 0 {
		return 0, errors.New("there is no migration")
	}
	return latest, nil
}
