package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/db"
)

// write makes a data directory with files and backs it up.
func write(t testing.TB, files map[string]string, logs bool) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := db.Open(context.Background(), "sqlite:"+filepath.Join(dir, "hansom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var out bytes.Buffer
	if err := Write(context.Background(), &out, Source{Dir: dir, DB: d, Version: "1.2.3", Region: "us-east-1", Logs: logs, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, Temporary+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return out.Bytes()
}

// tree lists the files below dir with their contents, the database's apart.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if name, _ := filepath.Rel(dir, p); name != sqliteFile {
			out[name] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRestoreGivesWhatWasBackedUp(t *testing.T) {
	kept := map[string]string{"key": "k", "credentials": "c", "blob/000000000000/code/x.zip": strings.Repeat("zip", 1<<16)}
	logs := map[string]string{"logs/000000000000/f/1.log": "line"}
	files := map[string]string{"blob/.incoming/part": "half", "code/x/index.js": "unpacked", "lock": "", "server.json": "{}"}
	maps.Copy(files, kept)
	maps.Copy(files, logs)
	dir := filepath.Join(t.TempDir(), "new", "data")
	info, err := Restore(t.Context(), bytes.NewReader(write(t, files, false)), dir, "")
	if err != nil || info.Version != "1.2.3" || !info.Key || info.Logs {
		t.Fatal(info, err)
	}
	if got := tree(t, dir); !maps.Equal(got, kept) {
		t.Errorf("restored without logs: %v", slices.Sorted(maps.Keys(got)))
	}
	with := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), bytes.NewReader(write(t, files, true)), with, ""); err != nil {
		t.Fatal(err)
	}
	maps.Copy(kept, logs)
	if got := tree(t, with); !maps.Equal(got, kept) {
		t.Errorf("restored with logs: %v", slices.Sorted(maps.Keys(got)))
	}
	if _, err := Restore(t.Context(), bytes.NewReader(write(t, files, true)), with, ""); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("restored over a data directory: %v", err)
	}
}

// What is cut off anywhere, or has one byte changed, is refused and leaves nothing behind.
func TestRestoreRefusesDamage(t *testing.T) {
	whole := write(t, map[string]string{"key": "k", "blob/000000000000/code/x.zip": "zip"}, true)
	refused := func(what string, at int, b []byte) {
		t.Helper()
		parent := t.TempDir()
		if _, err := Restore(t.Context(), bytes.NewReader(b), filepath.Join(parent, "data"), ""); hansom.KindOf(err) != hansom.Invalid {
			t.Fatalf("%s at %d of %d bytes: %v", what, at, len(whole), err)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Fatalf("%s at %d of %d bytes left %v", what, at, len(whole), left)
		}
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/100 {
		refused("cut", n, whole[:n])
	}
	for n := 10; n < len(whole); n += 1 + len(whole)/100 { // bytes 4 to 9 of a gzip header say nothing of the content
		b := bytes.Clone(whole)
		b[n] ^= 0x55
		if !bytes.Equal(unzipped(b), unzipped(whole)) { // a repetition may be found in two places
			refused("changed", n, b)
		}
	}
}

// unzipped is what gzip makes of b, nil when it refuses.
func unzipped(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	return text
}

// archiveOf makes an archive of entries that Write would not write.
func archiveOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	info := []byte(`{"format":1,"database":"sqlite"}`)
	entries := append([]*tar.Header{{Name: infoFile, Typeflag: tar.TypeReg, Size: int64(len(info))}}, headers...)
	for _, h := range entries {
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Name == infoFile {
			if _, err := tw.Write(info); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func hostile(t testing.TB) [][]byte {
	var list [][]byte
	for _, h := range []*tar.Header{
		{Name: "../evil", Typeflag: tar.TypeReg},
		{Name: "/etc/evil", Typeflag: tar.TypeReg},
		{Name: "blob/../../evil", Typeflag: tar.TypeReg},
		{Name: "blob/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "blob/link", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		{Name: "blob/dev", Typeflag: tar.TypeChar},
		{Name: "blob", Typeflag: tar.TypeReg},
		{Name: "server.json", Typeflag: tar.TypeReg},
		{Name: infoFile + "/x", Typeflag: tar.TypeReg},
	} {
		list = append(list, archiveOf(t, h))
	}
	return list
}

func TestRestoreRefusesWhatIsNoBackup(t *testing.T) {
	for i, b := range append(hostile(t), archiveOf(t), []byte("no gzip")) {
		parent := t.TempDir()
		if _, err := Restore(t.Context(), bytes.NewReader(b), filepath.Join(parent, "data"), ""); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("archive %d: %v", i, err)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("archive %d left %v", i, left)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(write(f, map[string]string{"key": "k", "blob/000000000000/code/x.zip": "zip"}, true))
	for _, b := range hostile(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		_, err := Restore(t.Context(), bytes.NewReader(b), filepath.Join(parent, "data"), "")
		left, _ := os.ReadDir(parent)
		if err != nil && len(left) > 0 {
			t.Errorf("left %v after %v", left, err)
		}
		for _, e := range left {
			if e.Name() != "data" {
				t.Errorf("%s is outside of the data directory", e.Name())
			}
		}
	})
}

// What was accepted and has not ended is in a backup, and in the directory that is made of it.
func TestMessages(t *testing.T) {
	dir, logger := t.TempDir(), slog.New(slog.DiscardHandler)
	open := func(dir string) (*backlog.Store, *bus.Bus) {
		b, err := bus.Open(t.Context(), bus.Config{Dir: filepath.Join(dir, bus.Folder)}, logger)
		if err != nil {
			t.Fatal(err)
		}
		s, err := backlog.Open(t.Context(), backlog.DefaultConfig(), b, logger)
		if err != nil {
			t.Fatal(err)
		}
		return s, b
	}
	store, b := open(dir)
	defer b.Close()
	if _, err := store.Put(t.Context(), "q", backlog.Entry{ID: "1", Body: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "hansom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var out bytes.Buffer
	if err := Write(t.Context(), &out, Source{Dir: dir, DB: d, Backlog: store, Version: "1.2.3", Region: "us-east-1", Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), &out, made, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(made, backlogFile)); err == nil {
		t.Error("the dump is left")
	}
	restored, b := open(made)
	defer b.Close()
	if list, err := restored.Take(t.Context(), "q", backlog.Take{Limit: 9}); err != nil || len(list) != 1 || list[0].ID != "1" || string(list[0].Body) != "one" {
		t.Errorf("%+v %v", list, err)
	}
}
