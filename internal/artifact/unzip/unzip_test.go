package unzip

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
)

type file struct {
	name, content string
	mode          fs.FileMode
	method        uint16
	flags         uint16
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: f.method, Flags: f.flags}
		if f.mode != 0 {
			h.SetMode(f.mode)
		}
		out, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree lists what Extract made: path, mode and content or link target.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] = "-> " + target
			return err
		case info.IsDir():
			out[rel] = info.Mode().String()
		default:
			content, err := os.ReadFile(p)
			out[rel] = info.Mode().String() + " " + string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func extract(t testing.TB, data []byte, limits Limits) (string, error) {
	dir := t.TempDir()
	return dir, Extract(context.Background(), bytes.NewReader(data), int64(len(data)), dir, limits)
}

func TestExtract(t *testing.T) {
	data := archive(t,
		file{name: "index.js", content: "exports", method: zip.Deflate},
		file{name: "./lib/", mode: fs.ModeDir | 0o700},
		file{name: "./lib//a.py", content: strings.Repeat("a", 10), mode: 0o600},
		file{name: "bootstrap", content: "#!", mode: 0o700 | fs.ModeSetuid},
		file{name: "node_modules/pkg/cli.js", content: "cli", mode: 0o755},
		file{name: "node_modules/.bin/cli", content: "../pkg/cli.js", mode: fs.ModeSymlink | 0o777},
		file{name: "up", content: "node_modules/.bin/../../lib/.", mode: fs.ModeSymlink | 0o777},
		file{name: "gone", content: "not/there", mode: fs.ModeSymlink | 0o777},
	)
	dir, err := extract(t, data, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"index.js":                "-rw-r--r-- exports",
		"lib":                     "drwxr-xr-x",
		"lib/a.py":                "-rw-r--r-- aaaaaaaaaa",
		"bootstrap":               "-rwxr-xr-x #!",
		"node_modules":            "drwxr-xr-x",
		"node_modules/pkg":        "drwxr-xr-x",
		"node_modules/pkg/cli.js": "-rwxr-xr-x cli",
		"node_modules/.bin":       "drwxr-xr-x",
		"node_modules/.bin/cli":   "-> ../pkg/cli.js",
		"up":                      "-> node_modules/.bin/../../lib/.",
		"gone":                    "-> not/there",
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	link := fs.ModeSymlink | 0o777
	small := Limits{Size: 1000, Entries: 10, Directory: 4 << 20, Ratio: 10, RatioFrom: 500}
	good := archive(t, file{name: "a", content: "hello, hello, hello", method: zip.Store})
	many := make([]file, 11)
	for i := range many {
		many[i].name = fmt.Sprint(i)
	}
	corrupt := bytes.Replace(bytes.Clone(good), []byte("hello,"), []byte("hallo,"), 1)
	overlap := overlapping(t)
	lying := bytes.Clone(archive(t, file{name: "a", content: strings.Repeat("x", 5000), method: zip.Deflate}))
	understate(lying, 10)
	for name, c := range map[string]struct {
		data    []byte
		message string
	}{
		"empty":              {nil, MessageBroken},
		"not a zip":          {[]byte("hello"), MessageBroken},
		"cut short":          {good[:len(good)-10], MessageBroken},
		"checksum":           {corrupt, MessageBroken},
		"absolute":           {archive(t, file{name: "/etc/passwd"}), "absolute path"},
		"dot dot":            {archive(t, file{name: "a/../../b"}), `".." in its path`},
		"dot dot in the end": {archive(t, file{name: "a/.."}), `".." in its path`},
		"backslash":          {archive(t, file{name: `..\b`}), "backslash"},
		"nul":                {archive(t, file{name: "a\x00b"}), "with the name"},
		"long element":       {archive(t, file{name: strings.Repeat("a", 256)}), "too long"},
		"long path":          {archive(t, file{name: strings.Repeat("a/", 2500) + "a"}), "too long"},
		"twice":              {archive(t, file{name: "a"}, file{name: "./a"}), "more than one entry"},
		"file and directory": {archive(t, file{name: "a"}, file{name: "a/"}), "more than one entry"},
		"below a file":       {archive(t, file{name: "a/b/c"}, file{name: "a"}), "not a directory"},
		"below a link":       {archive(t, file{name: "a", content: ".", mode: link}, file{name: "a/b"}), "not a directory"},
		"device":             {archive(t, file{name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}), "neither a file"},
		"fifo":               {archive(t, file{name: "p", mode: fs.ModeNamedPipe | 0o666}), "neither a file"},
		"absolute link":      {archive(t, file{name: "l", content: "/etc/passwd", mode: link}), "not inside the package"},
		"link out":           {archive(t, file{name: "d/l", content: "../../x", mode: link}), "not inside the package"},
		"empty link":         {archive(t, file{name: "l", mode: link}), "not inside the package"},
		"long link":          {archive(t, file{name: "l", content: strings.Repeat("a/", 2001), mode: link}), "Unzipped size"},
		"link loop":          {archive(t, file{name: "a", content: "b/c", mode: link}, file{name: "b", content: "a/c", mode: link}), "not inside the package"},
		"link through a link": {archive(t, file{name: "a/b/l", content: "../..", mode: link}, file{name: "m", content: "a/b/l/../x", mode: link}),
			"not inside the package"},
		"encrypted":      {encrypted(t), "encrypted"},
		"method":         {method(t, 12), "method 12"},
		"too many":       {archive(t, many...), "11 entries"},
		"too large":      {archive(t, file{name: "a", content: strings.Repeat("x", 400)}, file{name: "b", content: strings.Repeat("x", 600)}), MessageSize},
		"lies of a size": {lying, MessageBroken},
		"ratio":          {archive(t, file{name: "a", content: strings.Repeat("x", 999), method: zip.Deflate}, file{name: "b"})[:], ""},
		"overlap":        {overlap, "overlap"},
	} {
		t.Run(name, func(t *testing.T) {
			limits := small
			if name == "ratio" {
				limits.Ratio = 2
				c.message = "zip bomb"
			}
			if name == "lies of a size" {
				limits.Size = 4000
			}
			_, err := extract(t, c.data, limits)
			if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v (kind %d), want %q", err, hansom.KindOf(err), c.message)
			}
		})
	}
	limits := small
	limits.Directory = 1 << 10
	if _, err := extract(t, archive(t, many...), limits); hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), "more than 10 entries") {
		t.Errorf("a directory beyond its budget: %v", err)
	}
}

// Just below the limit is fine, the limit itself is not: AWS wants it smaller.
func TestSizeLimit(t *testing.T) {
	limits := DefaultLimits()
	limits.Size = 1000
	for size, ok := range map[int]bool{999: true, 1000: false} {
		if _, err := extract(t, archive(t, file{name: "a", content: strings.Repeat("x", size)}), limits); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	data := archive(t, file{name: "a"})
	if err := Extract(ctx, bytes.NewReader(data), int64(len(data)), t.TempDir(), DefaultLimits()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// centralDirectory returns the offset of the first header of the directory.
func centralDirectory(data []byte) int {
	return int(binary.LittleEndian.Uint32(data[len(data)-6:]))
}

func encrypted(t testing.TB) []byte {
	data := archive(t, file{name: "a", content: "secret"})
	data[centralDirectory(data)+8] |= 1
	return data
}

func method(t testing.TB, m byte) []byte {
	data := archive(t, file{name: "a", content: "x"})
	data[centralDirectory(data)+10] = m
	return data
}

// understate makes the directory claim another unpacked size than the entry has.
func understate(data []byte, size uint32) {
	binary.LittleEndian.PutUint32(data[centralDirectory(data)+24:], size)
}

// overlapping has two names for one run of compressed bytes.
func overlapping(t testing.TB) []byte {
	data := archive(t, file{name: "a", content: strings.Repeat("y", 50)}, file{name: "b", content: strings.Repeat("y", 50)})
	first := centralDirectory(data)
	second := first + bytes.Index(data[first+4:], []byte("PK\x01\x02")) + 4
	copy(data[second+42:second+46], data[first+42:first+46])
	return data
}

func FuzzExtract(f *testing.F) {
	f.Add(archive(f, file{name: "index.js", content: "exports", method: zip.Deflate}, file{name: "lib/", mode: fs.ModeDir | 0o755},
		file{name: "lib/l", content: "../index.js", mode: fs.ModeSymlink | 0o777}))
	f.Add(archive(f, file{name: "a/../../b"}, file{name: "/c"}, file{name: `d\e`}))
	f.Add(overlapping(f))
	f.Add(encrypted(f))
	f.Add(method(f, 99))
	f.Add([]byte("PK\x05\x06"))
	limits := Limits{Size: 1 << 16, Entries: 100, Directory: 1 << 16, Ratio: 100, RatioFrom: 1 << 12}
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in", "package")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := Extract(context.Background(), bytes.NewReader(data), int64(len(data)), dir, limits)
		for rel := range tree(t, outer) {
			if rel != "in" && rel != "in/package" && !strings.HasPrefix(rel, "in/package/") {
				t.Fatalf("wrote %q outside of the package (%v)", rel, err)
			}
		}
		if err != nil {
			if kind := hansom.KindOf(err); kind != hansom.Invalid {
				t.Fatalf("error of kind %d: %v", kind, err)
			}
			return
		}
		var size int64
		for rel := range tree(t, dir) {
			p := filepath.Join(dir, rel)
			if real, err := filepath.EvalSymlinks(p); err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Fatalf("%q leads to %q", rel, real)
			}
			if info, err := os.Lstat(p); err == nil && info.Mode().IsRegular() {
				size += info.Size()
			}
		}
		if size >= limits.Size {
			t.Fatalf("unpacked %d bytes", size)
		}
	})
}
