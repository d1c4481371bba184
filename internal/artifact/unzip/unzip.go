// Package unzip unpacks the zip of a function, which may be hostile, into a directory.
package unzip

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Limits of a package.
type Limits struct {
	Size      int64 // unpacked bytes of all files
	Entries   int
	Directory int64 // bytes that listing the entries may read: bounds what a listing costs in memory
	Ratio     int64 // of unpacked to packed bytes, looked at from RatioFrom unpacked bytes on
	RatioFrom int64
}

// DefaultLimits are AWS's limit of the size and room for any honest package in the rest.
func DefaultLimits() Limits {
	return Limits{Size: hansom.MaxUnpacked, Entries: 100_000, Directory: 16 << 20, Ratio: 100, RatioFrom: 100 << 20}
}

// Messages of the Lambda API.
const (
	MessageBroken = "Could not unzip uploaded file. Please check your file, then try to upload again."
	MessageSize   = "Unzipped size must be smaller than 262144000 bytes"
)

const (
	op          = "unzip"
	maxElement  = 255  // bytes of a file name, as Linux has it
	maxPath     = 4000 // bytes of a path, as Linux has it less the room for where it is mounted
	maxLinkHops = 40
)

func refuse(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, op, format, args...)
}

func broken(err error) error {
	return &hansom.Error{Kind: hansom.Invalid, Op: op, Message: MessageBroken, Err: err}
}

// entry is one file, directory or link of a package.
type entry struct {
	name string // clean, relative, with "/"
	file *zip.File
	kind fs.FileMode // 0, fs.ModeDir or fs.ModeSymlink
	link string      // target, as written
}

// Extract unpacks the zip of size bytes in r into dir, which is empty. Files come out 0644, or 0755 where one of their x bits is
// set, directories 0755; times are not kept. Symbolic links are kept when they stay inside.
//
// Refused, as Invalid with a message that names the entry: absolute paths, "..", backslashes, names that occur twice or lie below
// a file, links out of the package, devices, encrypted entries, unknown compression, and whatever is beyond the limits. Sizes are
// counted while unpacking, not believed. After an error dir holds an undefined part of the package.
func Extract(ctx context.Context, r io.ReaderAt, size int64, dir string, limits Limits) error {
	entries, err := list(r, size, limits)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	defer root.Close()
	x := extractor{root: root, made: map[string]bool{".": true}, left: limits.Size, buffer: make([]byte, 64<<10)}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.extract(ctx, &entries[i]); err != nil {
			return err
		}
	}
	return x.makeLinks(entries)
}

// list reads the directory of the zip and checks all that can be told before unpacking. Directories, files and links come in this order.
func list(r io.ReaderAt, size int64, limits Limits) ([]entry, error) {
	budget := &budgetReader{r: r, left: limits.Directory}
	z, err := zip.NewReader(budget, size)
	if errors.Is(err, errBudget) {
		return nil, refuse("the zip has more than %d entries; leave out what the function does not need", limits.Entries)
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are checked below, with a message that tells them
		return nil, broken(err)
	}
	budget.left = 1 << 62
	if len(z.File) > limits.Entries {
		return nil, refuse("the zip has %d entries; at most %d are allowed", len(z.File), limits.Entries)
	}
	var total uint64
	entries := make([]entry, 0, len(z.File))
	seen := make(map[string]fs.FileMode, len(z.File))
	spans := make([][2]int64, 0, len(z.File))
	for _, f := range z.File {
		e, err := check(f)
		if err != nil {
			return nil, err
		}
		if e.name == "." {
			continue
		}
		if kind, twice := seen[e.name]; twice && !(kind.IsDir() && e.kind.IsDir()) {
			return nil, refuse("the zip has more than one entry %q", e.name)
		}
		seen[e.name] = e.kind
		if total += f.UncompressedSize64; total >= uint64(limits.Size) || f.UncompressedSize64 >= uint64(limits.Size) {
			return nil, refuse(MessageSize)
		}
		start, err := f.DataOffset()
		if err != nil {
			return nil, broken(err)
		}
		if f.CompressedSize64 > uint64(size) {
			return nil, broken(errors.New("an entry is longer than the zip"))
		}
		spans = append(spans, [2]int64{start, start + int64(f.CompressedSize64)})
		entries = append(entries, e)
	}
	if total > uint64(limits.RatioFrom) && total/uint64(max(size, 1)) > uint64(limits.Ratio) {
		return nil, refuse("the zip unpacks to more than %d times its size, as a zip bomb does; store large files of zeros elsewhere", limits.Ratio)
	}
	slices.SortFunc(spans, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			return nil, refuse("entries of the zip overlap, as in a zip bomb; make the zip anew")
		}
	}
	for _, e := range entries {
		for parent := path.Dir(e.name); parent != "."; parent = path.Dir(parent) {
			if kind, ok := seen[parent]; ok && !kind.IsDir() {
				return nil, refuse("the entry %q of the zip lies below %q, which is not a directory", e.name, parent)
			}
		}
	}
	rank := func(e entry) int {
		switch e.kind {
		case fs.ModeDir:
			return 0
		case 0:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(rank(a), rank(b)) })
	return entries, nil
}

// check judges one entry by its header.
func check(f *zip.File) (entry, error) {
	name := f.Name
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return entry{}, refuse("the zip has an entry with the name %q", name)
	case strings.Contains(name, `\`):
		return entry{}, refuse(`the entry %q of the zip has a backslash in its name; make the zip with "/" between directories`, name)
	case strings.HasPrefix(name, "/"):
		return entry{}, refuse("the entry %q of the zip has an absolute path", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return entry{}, refuse(`the entry %q of the zip has ".." in its path`, name)
	case len(name) > maxPath || slices.ContainsFunc(strings.Split(name, "/"), func(e string) bool { return len(e) > maxElement }):
		return entry{}, refuse("the entry %.60q... of the zip has a name that is too long for a file", name)
	case f.Flags&1 != 0:
		return entry{}, refuse("the entry %q of the zip is encrypted; make the zip without a password", name)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return entry{}, refuse("the entry %q of the zip is compressed by method %d; only stored and deflated entries are supported", name, f.Method)
	}
	e := entry{name: path.Clean(name), file: f}
	switch kind := f.Mode().Type(); {
	case strings.HasSuffix(name, "/") || kind == fs.ModeDir:
		e.kind = fs.ModeDir
	case kind == 0 || kind == fs.ModeSymlink:
		e.kind = kind
	default:
		return entry{}, refuse("the entry %q of the zip is neither a file nor a directory nor a symbolic link", name)
	}
	return e, nil
}

type extractor struct {
	root   *os.Root
	made   map[string]bool // directories that exist
	left   int64           // bytes that may still be unpacked
	buffer []byte
}

func (x *extractor) extract(ctx context.Context, e *entry) error {
	if e.kind == fs.ModeDir {
		return x.makeDirs(e.name)
	}
	if err := x.makeDirs(path.Dir(e.name)); err != nil {
		return err
	}
	content, err := e.file.Open()
	if err != nil {
		return broken(err)
	}
	defer content.Close()
	if e.kind == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(content, maxPath+1))
		if err != nil {
			return broken(err)
		}
		e.link = string(target)
		return nil // made when all files are there, so that nothing is ever written through a link
	}
	perm := fs.FileMode(0o644)
	if e.file.Mode()&0o111 != 0 {
		perm = 0o755
	}
	out, err := x.root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	defer out.Close()
	if err := out.Chmod(perm); err != nil { // whatever the umask is
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	for {
		n, err := content.Read(x.buffer)
		if x.left -= int64(n); x.left <= 0 {
			return refuse(MessageSize)
		}
		if _, werr := out.Write(x.buffer[:n]); werr != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", werr)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return nil
}

func (x *extractor) makeDirs(name string) error {
	if x.made[name] {
		return nil
	}
	if err := x.makeDirs(path.Dir(name)); err != nil {
		return err
	}
	err := x.root.Mkdir(name, 0o755)
	if err == nil {
		err = x.root.Chmod(name, 0o755)
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	x.made[name] = true
	return nil
}

// makeLinks makes the symbolic links, which come last in entries, after it has followed each of them to its end.
func (x *extractor) makeLinks(entries []entry) error {
	links := map[string]string{}
	for _, e := range entries {
		if e.kind == fs.ModeSymlink {
			links[e.name] = e.link
		}
	}
	for name, target := range links {
		hops := 0
		if target == "" || len(target) > maxPath || strings.ContainsRune(target, 0) || !stays(links, path.Dir(name), target, &hops) {
			return refuse("the symbolic link %q of the zip points to %.60q, which is not inside the package", name, target)
		}
	}
	for name, target := range links {
		if err := x.root.Symlink(target, name); err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
	}
	return nil
}

// stays follows target from directory dir, through other links too, and says whether that never leaves the package.
// Cleaning the path would not do: "a/.." is not "." when a is a link.
func stays(links map[string]string, dir, target string, hops *int) bool {
	if strings.HasPrefix(target, "/") {
		return false
	}
	at := dir
	rest := strings.Split(target, "/")
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return false
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, element)
		link, ok := links[next]
		if !ok {
			at = next
			continue
		}
		if *hops++; *hops > maxLinkHops || strings.HasPrefix(link, "/") || len(link) > maxPath {
			return false
		}
		rest = append(strings.Split(link, "/"), rest...)
	}
	return true
}

var errBudget = errors.New("the directory of the zip is too large")

// budgetReader bounds what zip.NewReader reads, which keeps all of it in memory.
type budgetReader struct {
	r    io.ReaderAt
	left int64
}

func (b *budgetReader) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errBudget
	}
	return b.r.ReadAt(p, off)
}
