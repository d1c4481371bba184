package manifest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var siteKeys = []string{"dir", "spa", "cleanUrls"}

// Site is the entry site: static files of a folder. Who lists them fills in the ResolvedSite's digest and counts.
type Site struct {
	Dir string // relative to the manifest, in slash form
	ResolvedSite
}

// ResolvedSite is a site whose files are uploaded.
type ResolvedSite struct {
	SHA256    string `json:"sha256"` // of the list of files
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"`
	SPA       bool   `json:"spa,omitempty"` // paths without a file get index.html
	CleanURLs bool   `json:"cleanUrls"`     // about.html answers at /about
}

func (s *ResolvedSite) validate() error {
	switch {
	case !digestPattern.MatchString(s.SHA256):
		return fmt.Errorf("site: sha256 %.80q must be 64 hexadecimal digits, lower case", s.SHA256)
	case s.Files < 1 || s.Bytes < 0:
		return fmt.Errorf("site: %d files of %d bytes are no site", s.Files, s.Bytes)
	}
	return nil
}

// site reads the entry, a folder or a mapping.
func (p *reader) site(m *Manifest, n ast.Node) {
	s := &Site{ResolvedSite: ResolvedSite{CleanURLs: true}}
	dir := n
	if _, ok := scalar(n); ok {
		s.Dir = p.siteDir(entry{name: "site", key: n, value: n})
	} else {
		entries, ok := p.mapping(n, "site", siteKeys, nil)
		if !ok {
			return
		}
		for _, e := range entries {
			switch e.name {
			case "dir":
				s.Dir, dir = p.siteDir(e), e.value
			case "spa":
				s.SPA = p.boolean(e)
			case "cleanUrls":
				s.CleanURLs = p.boolean(e)
			}
		}
		if !has(entries, "dir") {
			p.fail(n, "site has no dir: the folder of its files, such as dir: ./public")
		}
	}
	for _, f := range m.Functions {
		inside := f.Code == s.Dir || strings.HasPrefix(f.Code, s.Dir+"/") || s.Dir == "." && !strings.HasPrefix(f.Code, "../")
		if s.Dir != "" && f.Code != "" && inside {
			p.fail(dir, "the code of functions.%s is in the site's folder and would be public; move one of them", f.Key)
		}
	}
	m.Site = s
}

func (p *reader) siteDir(e entry) string {
	s, ok := p.text(e)
	if !ok {
		return ""
	}
	clean := path.Clean(s)
	switch {
	case s == "":
		p.fail(e.value, "the site's folder is empty; write one, such as ./public")
	case path.IsAbs(s) || strings.Contains(s, `\`):
		p.fail(e.value, "the site's folder %q must be relative to the manifest, with forward slashes", s)
	case p.dir != "":
		info, err := os.Stat(filepath.Join(p.dir, filepath.FromSlash(clean)))
		if err != nil {
			p.fail(e.value, "there is no %.200s beside the manifest; set the site to a folder, and build it first", s)
		} else if !info.IsDir() {
			p.fail(e.value, "%.200s is not a folder", s)
		}
	}
	return clean
}
