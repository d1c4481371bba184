package build

import (
	"archive/zip"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// Artifact is a zip of code on disk.
type Artifact struct {
	Path   string
	Digest string // SHA-256 of the zip, hex
	Size   int64  // bytes
}

// skipped names are never part of a package.
var skipped = map[string]bool{".git": true, ".hansom": true}

// manifestFile at the top of a folder of code is not part of it: the app and its only function share the folder.
const manifestFile = "hansom.yaml"

// epoch is the time of every entry, the earliest a zip can hold: the same files give the same bytes.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zipCode packs src, a folder or a single file, into the zip dst. single is the name of a single file inside; "" keeps its
// own. The same content gives the same zip: names are sorted, times fixed, modes reduced to executable or not.
func zipCode(dst, src, single string) (Artifact, error) {
	out, err := os.Create(dst)
	if err != nil {
		return Artifact{}, err
	}
	defer out.Close()
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(out, sum)}
	w := zip.NewWriter(counted)
	if err := addCode(w, src, single); err != nil {
		return Artifact{}, err
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		return Artifact{}, err
	}
	return Artifact{dst, hex.EncodeToString(sum.Sum(nil)), counted.n}, nil
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

func addCode(w *zip.Writer, src, single string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return addFile(w, src, cmp.Or(single, filepath.Base(src)), info, single != "")
	}
	names, err := listCode(src)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no files", src)
	}
	infos := make([]fs.FileInfo, len(names))
	var unpacked int64
	for i, name := range names {
		if infos[i], err = os.Lstat(filepath.Join(src, filepath.FromSlash(name))); err != nil {
			return err
		}
		if unpacked += infos[i].Size(); unpacked > hansom.MaxUnpacked {
			return fmt.Errorf("%s has more than %d MB; leave out what the function does not need", src, hansom.MaxUnpacked>>20)
		}
	}
	for i, name := range names {
		if infos[i].Mode()&fs.ModeSymlink != 0 {
			err = addLink(w, src, name)
		} else {
			err = addFile(w, filepath.Join(src, filepath.FromSlash(name)), name, infos[i], false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listCode lists the files and links below dir in slash form, sorted.
func listCode(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case rel == ".":
		case skipped[d.Name()] && d.IsDir():
			return filepath.SkipDir
		case d.IsDir(), skipped[d.Name()], rel == manifestFile:
		case d.Type()&fs.ModeSymlink == 0 && !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder nor a link; take it out of the code", p)
		default:
			names = append(names, rel)
		}
		return nil
	})
	sort.Strings(names)
	return names, err
}

func addFile(w *zip.Writer, file, name string, info fs.FileInfo, executable bool) error {
	mode := fs.FileMode(0o644)
	if executable || info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	entry, err := createEntry(w, name, mode)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(entry, f)
	return err
}

// addLink keeps a symbolic link that stays inside the package; the server refuses others, so that they fail here, by name.
func addLink(w *zip.Writer, root, name string) error {
	target, err := os.Readlink(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	target = filepath.ToSlash(target)
	inside := path.Join(path.Dir(name), target)
	if path.IsAbs(target) || inside == ".." || strings.HasPrefix(inside, "../") {
		return fmt.Errorf("%s is a link to %s, outside of the code; copy the file in its place", name, target)
	}
	entry, err := createEntry(w, name, fs.ModeSymlink|0o777)
	if err != nil {
		return err
	}
	_, err = io.WriteString(entry, target)
	return err
}

func createEntry(w *zip.Writer, name string, mode fs.FileMode) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: epoch}
	h.SetMode(mode)
	return w.CreateHeader(h)
}

// copyZip takes a zip as it is.
func copyZip(file string) (Artifact, error) {
	f, err := os.Open(file)
	if err != nil {
		return Artifact{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return Artifact{file, hex.EncodeToString(sum.Sum(nil)), n}, err
}
