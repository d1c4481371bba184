package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SiteFile is a file of a site.
type SiteFile struct {
	Path   string // in slash form, below the site's folder
	File   string // on disk
	Digest string // SHA-256, hex
	Size   int64  // bytes
}

// Site is the files of a site's folder.
type Site struct {
	Files   []SiteFile // by path
	Skipped []string   // paths of files and folders that begin with a dot, which are not published
}

// site is what a Builder knows of the site's folder.
type site struct {
	dir   string // absolute; "" without a site
	known map[string]siteEntry
}

// siteEntry is a file as it was when its digest was made.
type siteEntry struct {
	size    int64
	changed time.Time
	digest  string
}

// SetSite says which folder, relative to the manifest and in slash form, is the site; "" for none.
func (b *Builder) SetSite(dir string) {
	if dir != "" {
		dir = filepath.Join(b.dir, filepath.FromSlash(dir))
	}
	if dir != b.site.dir {
		b.site = site{dir: dir, known: map[string]siteEntry{}}
	}
}

// Site lists the files of the site's folder without those that an ignore file names, and makes their digests: of files that have not changed
// since the last time, it knows them. progress is told how many are done.
func (b *Builder) Site(ctx context.Context, progress func(format string, args ...any)) (*Site, error) {
	defer progress("")
	s := &Site{}
	began := time.Now()
	entries, err := b.folderEntries(b.site.dir, func(rel string, d fs.DirEntry) bool {
		if !strings.HasPrefix(d.Name(), ".") || rel == ".well-known" {
			return false
		}
		s.Skipped = append(s.Skipped, rel)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("site: %s has no files", b.show(b.site.dir))
	}
	known := make(map[string]siteEntry, len(entries))
	for i, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if i%200 == 199 {
			progress("reading the site: %d of %d files", i+1, len(entries))
		}
		file, err := b.siteFile(e)
		if err != nil {
			return nil, fmt.Errorf("site: %w", err)
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		now := siteEntry{size: info.Size(), changed: info.ModTime()}
		if old, ok := b.site.known[e.name]; ok && old.size == now.size && old.changed.Equal(now.changed) {
			now.digest = old.digest
		} else if now.digest, now.size, err = digestFile(file); err != nil {
			return nil, err
		}
		if began.Sub(now.changed) > time.Second { // else it may change again without a difference in time
			known[e.name] = now
		}
		s.Files = append(s.Files, SiteFile{Path: e.name, File: file, Digest: now.digest, Size: now.size})
	}
	b.site.known = known
	slices.SortFunc(s.Files, func(a, b SiteFile) int { return strings.Compare(a.Path, b.Path) })
	return s, nil
}

// siteFile is the file on disk that an entry stands for: a link counts as what it leads to, which must be a file of the site.
func (b *Builder) siteFile(e entry) (string, error) {
	if e.mode&fs.ModeSymlink == 0 {
		return e.file, nil
	}
	root, err := filepath.EvalSymlinks(b.site.dir)
	if err != nil {
		return "", err
	}
	file, err := filepath.EvalSymlinks(e.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", e.name, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", e.name, err)
	}
	if !info.Mode().IsRegular() || !strings.HasPrefix(file, root+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is a link to %s, which is not a file of the site; copy the file in its place", e.name, file)
	}
	return file, nil
}

func digestFile(file string) (digest string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}

// siteChanged tells whether a path belongs to the site.
func (b *Builder) siteChanged(path string) bool {
	if b.site.dir == "" {
		return false
	}
	rel, err := filepath.Rel(b.site.dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) || filepath.Base(path) == ignoreFile
}
