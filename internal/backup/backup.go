// Package backup writes what a server keeps into one file while it runs, and makes a data directory of such a file again.
//
// A backup is a gzipped tar archive: backup.json (an Info) first, then the database (hansom.db, or database.sql of PostgreSQL) as
// it was at one moment, then the messages (backlog.jsonl), then the files of the data directory that cannot be made again. Blobs never change and are read after the
// database, so that all that it names is there as long as nothing is collected meanwhile, which the caller sees to.
package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/db"
)

// format is that of the archives written here. Those of format 1, which are read too, have no messages.
const format = 2

// Names in an archive.
const (
	infoFile     = "backup.json"
	sqliteFile   = "hansom.db"
	postgresFile = "database.sql"
	backlogFile  = "backlog.jsonl"
)

// Temporary is the prefix of what Write makes in the data directory, which a crash may leave.
const Temporary = ".backup-"

// Info describes a backup.
type Info struct {
	Format   int       `json:"format"`
	Created  time.Time `json:"created"`
	Version  string    `json:"version"` // of the program that wrote it
	Region   string    `json:"region"`
	Database string    `json:"database"` // "sqlite" or "postgres"
	Logs     bool      `json:"logs"`     // with the functions' logs
	Key      bool      `json:"key"`      // with the master key; otherwise it is in HANSOM_MASTER_KEY
}

// Source is what is backed up.
type Source struct {
	Dir     string // data directory
	DB      *db.DB
	Backlog Messages // nil for none
	Version string
	Region  string
	Logs    bool // the functions' logs too
	Now     time.Time
}

// Messages writes messages that were accepted and have not ended; *backlog.Store is one.
type Messages interface {
	Dump(ctx context.Context, w io.Writer) error
}

// Write writes a backup of src to w. After an error what was written is no backup, and Restore refuses it.
func Write(ctx context.Context, w io.Writer, src Source) error {
	temp, err := os.MkdirTemp(src.Dir, Temporary)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	defer os.RemoveAll(temp)
	info := Info{Format: format, Created: src.Now.UTC(), Version: src.Version, Region: src.Region, Database: src.DB.Engine(), Logs: src.Logs}
	dump := filepath.Join(temp, "dump")
	if err := src.DB.Dump(ctx, dump); err != nil {
		return err
	}
	messages := filepath.Join(temp, "messages")
	if err := dumpMessages(ctx, src.Backlog, messages); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(src.Dir, "key")); err == nil {
		info.Key = true
	}
	text, err := json.Marshal(info)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed) // most of it is compressed already
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	a := &archive{ctx, tar.NewWriter(zw), src}
	if err := a.header(infoFile, 0o600, int64(len(text)), src.Now); err != nil {
		return err
	}
	if _, err := a.tar.Write(text); err != nil {
		return gone(err)
	}
	name := sqliteFile
	if info.Database != "sqlite" {
		name = postgresFile
	}
	if err := a.file(dump, name); err != nil {
		return err
	}
	if err := a.file(messages, backlogFile); err != nil {
		return err
	}
	roots := []string{"key", "credentials", "blob"}
	if src.Logs {
		roots = append(roots, "logs")
	}
	for _, root := range roots {
		if err := a.tree(root); err != nil {
			return err
		}
	}
	if err := errors.Join(a.tar.Close(), zw.Close()); err != nil {
		return gone(err)
	}
	return nil
}

// dumpMessages writes messages to a file, for an archive must know its size first. Without messages there is none.
func dumpMessages(ctx context.Context, m Messages, path string) error {
	if m == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	if err := m.Dump(ctx, f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	return nil
}

// gone is an error of the writer: the reader of the backup went away.
func gone(err error) error {
	return hansom.Errorf(hansom.Canceled, "back up", "the backup could not be sent: %w", err)
}

type archive struct {
	ctx context.Context
	tar *tar.Writer
	src Source
}

func (a *archive) header(name string, mode, size int64, at time.Time) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: at, Format: tar.FormatPAX}); err != nil {
		return gone(err)
	}
	return nil
}

// file adds a file as long as it is now; a log may grow meanwhile. One that has gone is left out.
func (a *archive) file(from, name string) error {
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return hansom.Errorf(hansom.Internal, "back up", "%w", err)
	}
	if err := a.header(name, int64(fi.Mode().Perm()), fi.Size(), fi.ModTime()); err != nil {
		return err
	}
	if _, err := io.CopyN(a.tar, f, fi.Size()); err != nil {
		return gone(err)
	}
	return nil
}

// tree adds the files at and below a name of the data directory. Names that begin with a dot are of work under way.
func (a *archive) tree(root string) error {
	return filepath.WalkDir(filepath.Join(a.src.Dir, root), func(p string, d fs.DirEntry, err error) error {
		if ctxErr := a.ctx.Err(); ctxErr != nil {
			return context.Cause(a.ctx)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return hansom.Errorf(hansom.Internal, "back up", "%w", err)
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(a.src.Dir, p)
		if err != nil {
			return hansom.Errorf(hansom.Internal, "back up", "%w", err)
		}
		return a.file(p, filepath.ToSlash(name))
	})
}

// Restore makes the data directory dir of the backup r. dir must not exist, or be empty; it is complete or not there at all.
// postgres names the empty database that a backup of PostgreSQL goes to, "" otherwise.
// Errors: Conflict when dir or the database is in use; Invalid when r is not a backup, or not a whole one.
func Restore(ctx context.Context, r io.Reader, dir, postgres string) (Info, error) {
	const op = "restore"
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return Info{}, hansom.Errorf(hansom.Conflict, op, "%s is not empty; name a new directory with --data, or move this one away", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Info{}, hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	temp, err := os.MkdirTemp(parent, ".restore-")
	if err != nil {
		return Info{}, hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	defer os.RemoveAll(temp) // when it was renamed this finds nothing
	info, err := unpack(ctx, r, temp)
	if err != nil {
		return info, err
	}
	dump := filepath.Join(temp, postgresFile)
	switch {
	case info.Database == "sqlite" && postgres != "":
		return info, hansom.Errorf(hansom.Invalid, op, "this is the backup of a server with SQLite; leave out --db")
	case info.Database == "sqlite":
		if err := db.CheckDump(ctx, filepath.Join(temp, sqliteFile)); err != nil {
			return info, err
		}
	case postgres == "":
		return info, hansom.Errorf(hansom.Invalid, op, "this is the backup of a server with PostgreSQL; name an empty database with --db postgres://...")
	default:
		if err := db.LoadPostgres(ctx, postgres, dump); err != nil {
			return info, err
		}
		if err := os.Remove(dump); err != nil {
			return info, hansom.Errorf(hansom.Internal, op, "%w", err)
		}
	}
	if err := loadMessages(ctx, temp); err != nil {
		return info, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return info, hansom.Errorf(hansom.Conflict, op, "%w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return info, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return info, nil
}

// loadMessages makes the message log of a data directory of the messages in it.
func loadMessages(ctx context.Context, dir string) (err error) {
	path := filepath.Join(dir, backlogFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "restore", "%w", err)
	}
	defer f.Close()
	logger := slog.New(slog.DiscardHandler)
	b, err := bus.Open(ctx, bus.Config{Dir: filepath.Join(dir, bus.Folder)}, logger)
	if err != nil {
		return err
	}
	defer b.Close()
	store, err := backlog.Open(ctx, backlog.DefaultConfig(), b, logger)
	if err == nil {
		err = store.Load(ctx, f)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return hansom.Errorf(hansom.Internal, "restore", "%w", err)
	}
	return nil
}

// unpack reads an archive to its end into dir.
func unpack(ctx context.Context, r io.Reader, dir string) (info Info, err error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return info, damaged(err)
	}
	tr := tar.NewReader(zr)
	for first := true; ; first = false {
		if ctx.Err() != nil {
			return info, context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && !first {
			break
		}
		if err != nil {
			return info, damaged(err)
		}
		if first != (h.Name == infoFile) || !known(h) {
			return info, damaged(errors.New("it has a " + h.Name))
		}
		if first {
			if err := json.NewDecoder(io.LimitReader(tr, 64<<10)).Decode(&info); err != nil {
				return info, damaged(err)
			}
			if info.Format < 1 || info.Format > format {
				return info, hansom.Errorf(hansom.Invalid, "restore", "the backup was written by Hansom %s in a format that this program does not know; use that version or a newer one", info.Version)
			}
			continue
		}
		if err := extract(tr, h, dir); err != nil {
			return info, err
		}
	}
	if _, err := io.Copy(io.Discard, zr); err != nil { // the checksum at the end
		return info, damaged(err)
	}
	return info, nil
}

func damaged(err error) error {
	return hansom.Errorf(hansom.Invalid, "restore", "this is not a whole backup of Hansom: %w", err)
}

// known tells what Write writes from what could do harm.
func known(h *tar.Header) bool {
	root, _, deep := strings.Cut(h.Name, "/")
	return h.Typeflag == tar.TypeReg && path.Clean(h.Name) == h.Name && filepath.IsLocal(h.Name) &&
		(deep && (root == "blob" || root == "logs") || !deep && slices.Contains([]string{infoFile, sqliteFile, postgresFile, backlogFile, "key", "credentials"}, root))
}

func extract(tr *tar.Reader, h *tar.Header, dir string) error {
	target := filepath.Join(dir, filepath.FromSlash(h.Name))
	err := os.MkdirAll(filepath.Dir(target), 0o700)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "restore", "%w", err)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "restore", "%w", err)
	}
	if _, err := io.Copy(f, tr); err != nil {
		f.Close()
		return damaged(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Chtimes(target, h.ModTime, h.ModTime)); err != nil {
		return hansom.Errorf(hansom.Internal, "restore", "%w", err)
	}
	return nil
}
