package build

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// git runs git in dir without anybody's settings.
func git(t testing.TB, dir, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && args[0] == "check-ignore" && exit.ExitCode() == 1) {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestIgnore packs the trees in testdata/ignore, in which ignore files may stand anywhere, and asks git which files are left when
// they are called .gitignore.
func TestIgnore(t *testing.T) {
	cases, err := filepath.Glob("testdata/ignore/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := t.TempDir(), t.TempDir()
			all := 0
			for _, f := range archive.Files {
				name := strings.ReplaceAll(f.Name, "SPACE", " ")
				text := strings.NewReplacer("SPACE", " ", "CR\n", "\r\n", "BOM", "\uFEFF").Replace(string(f.Data))
				write(t, ours, map[string]string{name: text})
				if filepath.Base(name) == ignoreFile {
					name = filepath.Join(filepath.Dir(name), ".gitignore")
				} else {
					all++
				}
				write(t, theirs, map[string]string{name: text})
			}
			git(t, theirs, "", "init", "-q")
			var want []string
			for name := range strings.SplitSeq(git(t, theirs, "", "ls-files", "--others", "--exclude-standard", "-z"), "\x00") {
				if name != "" && filepath.Base(name) != ".gitignore" {
					want = append(want, name)
				}
			}
			entries, err := (&Builder{dir: ours}).folderEntries(ours, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(want) == 0 || len(want) == all {
				t.Errorf("%d files of %d are left: this tests nothing", len(want), all)
			}
		})
	}
}

// TestIgnoreLikeGit asks git about patterns and paths made of what matters to them.
func TestIgnoreLikeGit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", "ab", "*", "**", "***", "/", "/", "?", "[ab]", "[!a]", "[^b]", "[a-", "[", "]", "\\", "\\*", "!", "#", " ", "-", "[[:alpha:]]", "[[:x:]]", "[]a]", "[a-c]", "[\\]]", ".", "[[:]", "[a-]", "[--a]"}
	some := func(from []string, most int) string {
		var s strings.Builder
		for range 1 + random.IntN(most) {
			s.WriteString(from[random.IntN(len(from))])
		}
		return s.String()
	}
	dir := t.TempDir()
	git(t, dir, "", "init", "-q")
	ignored := 0
	for range 150 {
		var patterns, paths []string
		for range 1 + random.IntN(3) {
			patterns = append(patterns, some(pieces, 5))
		}
		for range 40 {
			path := strings.Trim(strings.ReplaceAll(some([]string{"a", "b", "ab", "c", "/", "/", "*", "]", "-", " ", "#", "!", "[", "\\"}, 7), "//", "/"), "/")
			if path != "" && !strings.Contains(path, "//") {
				paths = append(paths, path)
			}
		}
		text := strings.Join(patterns, "\n") + "\n"
		write(t, dir, map[string]string{".gitignore": text})
		out := git(t, dir, strings.Join(paths, "\x00")+"\x00", "check-ignore", "--no-index", "-z", "--stdin")
		want := map[string]bool{}
		for name := range strings.SplitSeq(out, "\x00") {
			want[name] = true
		}
		ig := &ignorer{dir: dir, rules: parseIgnore(text)}
		for _, path := range paths {
			if want[path] {
				ignored++
			}
			if got := ig.walk(path); got != want[path] {
				t.Errorf("%q with %q: ignored %v", path, patterns, got)
			}
		}
	}
	if ignored < 100 {
		t.Errorf("only %d paths are ignored: this tests little", ignored)
	}
}

// walk asks for a file as those do who walk: folder by folder.
func (ig *ignorer) walk(path string) bool {
	for i := range len(path) {
		if path[i] == '/' && ig.ignores(filepath.Join(ig.dir, path[:i]), true) {
			return true
		}
	}
	return ig.ignores(filepath.Join(ig.dir, path), false)
}

// FuzzIgnore: no pattern takes long or panics.
func FuzzIgnore(f *testing.F) {
	f.Add("*a*a*a*a*a*a*a*a*b\n!**/x/**\n[[:alpha:]-\\", strings.Repeat("a", 100))
	f.Add("\\ \n/a/\n#\n!\n", "a/b")
	f.Fuzz(func(t *testing.T, text, path string) {
		ig := &ignorer{dir: "/", rules: parseIgnore(text)}
		if ig.ignores(filepath.Join("/", path), false) && len(ig.rules) == 0 {
			t.Errorf("%q is ignored without a rule", path)
		}
	})
}
