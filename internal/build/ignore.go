package build

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ignoreFile lists what is left out of packages, in the syntax of gitignore(5). Like git's it may stand in any folder, the
// manifest's included, for what is below.
const ignoreFile = ".hansomignore"

// ignorer is the ignore files that count in one folder.
type ignorer struct {
	above *ignorer
	dir   string // where the file stands
	rules []rule // the last one that matches decides; so does a deeper file
}

type rule struct {
	pattern string
	negated bool
	folders bool // matches folders only
	base    bool // matches the last element of a path
}

// enter adds the ignore file of a folder, if it has one.
func (ig *ignorer) enter(dir string) (*ignorer, error) {
	data, err := os.ReadFile(filepath.Join(dir, ignoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ig, nil
	}
	if err != nil {
		return nil, err
	}
	return &ignorer{ig, dir, parseIgnore(string(data))}, nil
}

// ignores tells whether a path, which is below every file's folder, is left out. What lies in a folder that is left out is too; that is for
// those who walk.
func (ig *ignorer) ignores(file string, isDir bool) bool {
	for ; ig != nil; ig = ig.above {
		rel, err := filepath.Rel(ig.dir, file)
		if err != nil {
			continue
		}
		rel = filepath.ToSlash(rel)
		for i := len(ig.rules) - 1; i >= 0; i-- {
			if ig.rules[i].matches(rel, isDir) {
				return !ig.rules[i].negated
			}
		}
	}
	return false
}

func (r *rule) matches(rel string, isDir bool) bool {
	if r.folders && !isDir {
		return false
	}
	if r.base {
		rel = path.Base(rel)
	}
	return wildcard(r.pattern, rel)
}

func parseIgnore(text string) []rule {
	var rules []rule
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		if rest, ok := strings.CutSuffix(line, "\n"); ok {
			line = strings.TrimSuffix(rest, "\r")
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		var r rule
		line, r.negated = strings.CutPrefix(trimSpaces(line), "!")
		line, r.folders = strings.CutSuffix(line, "/")
		r.base = !strings.Contains(line, "/")
		if r.pattern = strings.TrimPrefix(line, "/"); r.pattern != "" {
			rules = append(rules, r)
		}
	}
	return rules
}

// trimSpaces takes off trailing spaces that no backslash escapes.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' && i+1 < len(line) {
			i++
		} else if line[i] == ' ' {
			continue
		}
		end = i + 1
	}
	return line[:end]
}

// wildcard matches a slash path against a pattern of gitignore(5): ? and * stop at slashes, ** as a whole element does not.
func wildcard(pattern, name string) bool {
	m := matcher{pattern: pattern, name: name}
	return m.match(0, 0)
}

type matcher struct {
	pattern, name string
	failed        map[[2]int]bool // places of a * from which nothing matched
}

func (m *matcher) match(i, j int) bool {
	for i < len(m.pattern) {
		c := m.pattern[i]
		if c == '*' {
			return m.star(i, j)
		}
		if j == len(m.name) {
			return false
		}
		switch c {
		case '?':
			if m.name[j] == '/' {
				return false
			}
			i++
		case '[':
			end, ok := class(m.pattern, i, m.name[j])
			if !ok || m.name[j] == '/' {
				return false
			}
			i = end
		case '\\':
			if i++; i == len(m.pattern) || m.pattern[i] != m.name[j] {
				return false
			}
			i++
		default:
			if c != m.name[j] {
				return false
			}
			i++
		}
		j++
	}
	return j == len(m.name)
}

// star matches from a run of asterisks on.
func (m *matcher) star(i, j int) bool {
	place := [2]int{i, j}
	if m.failed[place] {
		return false
	}
	end := i
	for end < len(m.pattern) && m.pattern[end] == '*' {
		end++
	}
	rest := m.pattern[end:]
	whole := end-i > 1 && (i == 0 || m.pattern[i-1] == '/') && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, `\/`))
	if whole && strings.HasPrefix(rest, "/") && m.match(end+1, j) { // no folder at all
		return true
	}
	for k := j; ; k++ {
		if m.match(end, k) {
			return true
		}
		if k == len(m.name) || m.name[k] == '/' && !whole {
			break
		}
	}
	if m.failed == nil {
		m.failed = map[[2]int]bool{}
	}
	m.failed[place] = true
	return false
}

// class matches c against the bracket expression that begins at i, and says where it ends. One that does not end matches nothing.
func class(pattern string, i int, c byte) (end int, ok bool) {
	i++
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	var low byte // what a range may begin with
	for first := true; ; first = false {
		switch {
		case i >= len(pattern):
			return 0, false
		case pattern[i] == ']' && !first:
			return i + 1, ok != negated
		case pattern[i] == '-' && low != 0 && i+1 < len(pattern) && pattern[i+1] != ']':
			if i++; pattern[i] == '\\' {
				i++
			}
			if i >= len(pattern) {
				return 0, false
			}
			ok = ok || low <= c && c <= pattern[i]
			low = 0
		case strings.HasPrefix(pattern[i:], "[:"):
			length := strings.IndexByte(pattern[i+2:], ']')
			if length < 0 {
				return 0, false
			}
			name, closed := strings.CutSuffix(pattern[i+2:i+2+length], ":")
			if !closed || length == 0 { // an ordinary bracket
				ok = ok || c == '['
				low = '['
				break
			}
			in, known := posix[name]
			if !known {
				return 0, false
			}
			ok = ok || in(c)
			low = 0
			i += 2 + length
		default:
			if pattern[i] == '\\' {
				if i++; i == len(pattern) {
					return 0, false
				}
			}
			ok = ok || c == pattern[i]
			low = pattern[i]
		}
		i++
	}
}

func in(low, high byte) func(byte) bool { return func(c byte) bool { return low <= c && c <= high } }

func or(fs ...func(byte) bool) func(byte) bool {
	return func(c byte) bool {
		for _, f := range fs {
			if f(c) {
				return true
			}
		}
		return false
	}
}

var (
	digit = in('0', '9')
	upper = in('A', 'Z')
	lower = in('a', 'z')
	alnum = or(digit, upper, lower)
	graph = in('!', '~')

	// posix are the character classes of POSIX, in the C locale.
	posix = map[string]func(byte) bool{
		"alnum": alnum, "alpha": or(upper, lower), "blank": or(in(' ', ' '), in('\t', '\t')), "cntrl": or(in(0, 31), in(127, 127)),
		"digit": digit, "graph": graph, "lower": lower, "print": in(' ', '~'), "upper": upper,
		"punct": func(c byte) bool { return graph(c) && !alnum(c) },
		"space": or(in(' ', ' '), in('\t', '\r')), "xdigit": or(digit, in('a', 'f'), in('A', 'F')),
	}
)
