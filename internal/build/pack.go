package build

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// Artifact is a zip of code on disk.
type Artifact struct {
	Path   string
	Digest string // SHA-256 of the zip, hex
	Size   int64  // bytes
	// Handler takes the place of the function's, when it is not "": that of a command which names a file that was bundled.
	Handler string
}

// skipped names are never part of a package.
var skipped = map[string]bool{".git": true, ".hansom": true, ignoreFile: true}

// manifestFile at the top of a folder of code is not part of it: the app and its only function share the folder.
const manifestFile = "hansom.yaml"

// epoch is the time of every entry, the earliest a zip can hold: the same files give the same bytes.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// entry of a package: a file or link on disk, bytes, or what another zip holds.
type entry struct {
	name string // in slash form
	mode fs.FileMode
	file string
	data []byte // when file is "" and packed nil
	zip  *zip.File

	size    int64 // of the content
	changed time.Time
}

// pack is a package that was made, with what it was made of.
type pack struct {
	Artifact
	entries map[string]entry
	began   time.Time
}

// write packs entries into the zip dst. What old, a package of the same code that was made before or nil, has unchanged is taken over
// as it is; when nothing changed, old is returned. The same content gives the same zip: names are sorted, times fixed, modes reduced
// to executable or not.
func (old *pack) write(dst string, entries []entry) (*pack, error) {
	p := &pack{entries: map[string]entry{}, began: time.Now()}
	var unpacked int64
	for _, e := range entries {
		p.entries[e.name] = e
	}
	if old.same(p.entries) {
		return old, nil
	}
	names := make([]string, 0, len(p.entries))
	for name, e := range p.entries {
		names = append(names, name)
		if unpacked += e.size; unpacked > hansom.MaxUnpacked {
			return nil, fmt.Errorf("the code has more than %d MB; leave out what the function does not need, by name in %s", hansom.MaxUnpacked>>20, ignoreFile)
		}
	}
	slices.Sort(names)
	before := map[string]*zip.File{}
	if old != nil {
		r, err := zip.OpenReader(old.Path)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		for _, f := range r.File {
			before[f.Name] = f
		}
	}
	out, err := os.Create(dst)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(out, sum)}
	w := zip.NewWriter(counted)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed) // people wait for it more than for the upload
	})
	for _, name := range names {
		e := p.entries[name]
		if e.zip == nil && old.has(e) {
			e.zip = before[name]
		}
		if err := e.write(w); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		return nil, err
	}
	p.Artifact = Artifact{Path: dst, Digest: hex.EncodeToString(sum.Sum(nil)), Size: counted.n}
	return p, nil
}

// has tells whether an entry is in the package as it is now. A file that changed while the package was made may have changed again
// without a difference in time.
func (old *pack) has(e entry) bool {
	if old == nil {
		return false
	}
	o, ok := old.entries[e.name]
	switch {
	case !ok || o.file != e.file || o.mode != e.mode || o.size != e.size:
		return false
	case e.zip != nil:
		return o.zip != nil && o.zip.CRC32 == e.zip.CRC32
	case e.file == "":
		return o.zip == nil && bytes.Equal(o.data, e.data)
	}
	return o.changed.Equal(e.changed) && old.began.Sub(e.changed) > time.Second
}

func (old *pack) same(entries map[string]entry) bool {
	if old == nil || len(old.entries) != len(entries) {
		return false
	}
	for _, e := range entries {
		if !old.has(e) {
			return false
		}
	}
	return true
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (e *entry) write(w *zip.Writer) error {
	if e.zip != nil {
		return w.Copy(e.zip)
	}
	h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: epoch}
	h.SetMode(e.mode)
	to, err := w.CreateHeader(h)
	switch {
	case err != nil:
		return err
	case e.file == "":
		_, err = to.Write(e.data)
		return err
	case e.mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(e.file)
		if err == nil {
			_, err = io.WriteString(to, filepath.ToSlash(target))
		}
		return err
	}
	f, err := os.Open(e.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// dataEntry is an entry with this content.
func dataEntry(name string, data []byte) entry {
	return entry{name: name, mode: 0o644, data: data, size: int64(len(data))}
}

// fileEntry is a file or link on disk. A link must stay inside the package: the server refuses others, so that they fail here, by name.
func fileEntry(file, name string, executable bool) (entry, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return entry{}, err
	}
	e := entry{name: name, file: file, mode: 0o644, size: info.Size(), changed: info.ModTime()}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		e.mode = fs.ModeSymlink | 0o777
		target, err := os.Readlink(file)
		if err != nil {
			return e, err
		}
		inside := path.Join(path.Dir(name), filepath.ToSlash(target))
		if filepath.IsAbs(target) || inside == ".." || strings.HasPrefix(inside, "../") {
			return e, fmt.Errorf("%s is a link to %s, outside of the code; copy the file in its place", name, target)
		}
	case !info.Mode().IsRegular():
		return e, fmt.Errorf("%s is neither a file nor a folder nor a link; take it out of the code", file)
	case executable || info.Mode()&0o111 != 0:
		e.mode = 0o755
	}
	return e, nil
}

// singleEntry is the file src under another name, "" for its own; with one it is a program.
func singleEntry(src, name string) ([]entry, error) {
	real, err := filepath.EvalSymlinks(src)
	if err != nil {
		return nil, err
	}
	e, err := fileEntry(real, cmp.Or(name, filepath.Base(src)), name != "")
	return []entry{e}, err
}

// folderEntries are the files and links below dir, without those that an ignore file here or in the manifest's folder names and those
// that skip, if not nil, does; skip gets slash paths below dir.
func (b *Builder) folderEntries(dir string, skip func(rel string, d fs.DirEntry) bool) ([]entry, error) {
	var out []entry
	above, err := b.ignorer(dir)
	if err != nil {
		return nil, err
	}
	ignorers := map[string]*ignorer{}
	err = filepath.WalkDir(dir+"/", func(p string, d fs.DirEntry, err error) error { // the slash follows a link
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if rel == "." {
			ignorers[dir], err = above.enter(dir)
			return err
		}
		rel = filepath.ToSlash(rel)
		ig := ignorers[filepath.Dir(p)]
		if skipped[d.Name()] || rel == manifestFile || ig.ignores(p, d.IsDir()) || skip != nil && skip(rel, d) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			ignorers[p], err = ig.enter(p)
			return err
		}
		e, err := fileEntry(p, rel, false)
		out = append(out, e)
		return err
	})
	return out, err
}

// ignorer is the ignore files above a folder of code, from the manifest's folder down.
func (b *Builder) ignorer(dir string) (*ignorer, error) {
	rel, err := filepath.Rel(b.dir, dir)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil, err
	}
	var ig *ignorer
	at := b.dir
	for _, name := range strings.Split(rel, string(filepath.Separator)) {
		if ig, err = ig.enter(at); err != nil {
			return nil, err
		}
		at = filepath.Join(at, name)
	}
	return ig, nil
}

// zipArtifact takes a zip as it is.
func zipArtifact(file string) (Artifact, error) {
	f, err := os.Open(file)
	if err != nil {
		return Artifact{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return Artifact{Path: file, Digest: hex.EncodeToString(sum.Sum(nil)), Size: n}, err
}
