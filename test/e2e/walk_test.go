package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record docs/walk.md again")

// TestWalk runs the terminal session that docs/walk.md records and compares what it shows; with -update it records it.
func TestWalk(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "docs/walk.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, session, ok1 := strings.Cut(string(text), "```console\n")
	session, between, ok2 := strings.Cut(session, "```\n")
	between, dev, ok3 := strings.Cut(between, "```text\n")
	dev, after, ok4 := strings.Cut(dev, "```\n")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		t.Fatal("docs/walk.md has no session in ```console and ```text blocks")
	}
	edge, api := freePort(t), freePort(t)
	s := newShell(t, root, edge, api)
	reader := strings.NewReplacer(":"+edge, ":8080", ":"+api, ":4566", s.dir+"/", "")
	var shown strings.Builder
	for line := range strings.Lines(session) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue // of what was shown the last time
		}
		shown.WriteString(line)
		command = strings.NewReplacer(":8080", ":"+edge, ":4566", ":"+api).Replace(strings.TrimSpace(command))
		if command, ok := strings.CutSuffix(command, " &"); ok {
			s.background(t, command, "http://hello.localhost:"+edge+"/hello/{name}\n")
			continue
		}
		out := s.run(t, command)
		shown.WriteString(reader.Replace(out))
		if !strings.HasSuffix(out, "\n") && out != "" {
			shown.WriteString("\n")
		}
		if strings.HasPrefix(command, "sed ") {
			s.dev.await(t, "update hello-api")
		}
	}
	s.dev.await(t, "GET    /                         200") // of the last curl, some time after its answer
	watched := reader.Replace(s.dev.String())
	if *update {
		text := before + "```console\n" + shown.String() + "```\n" + between + "```text\n" + watched + "```\n" + after
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, "the session", session, shown.String())
	compare(t, "what dev shows", sorted(dev), sorted(watched)) // requests wait for their logs

}

func sorted(text string) string {
	lines := strings.Split(changeless(text), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// compare holds what is shown to what was recorded, times, sizes and ids apart.
func compare(t *testing.T, what, recorded, shown string) {
	t.Helper()
	want, got := strings.Split(changeless(recorded), "\n"), strings.Split(changeless(shown), "\n")
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Errorf("docs/walk.md: %s differs in line %d:\n%s\nis shown; recorded is\n%s", what, i+1, g, w)
			return
		}
	}
}

var changes = regexp.MustCompile(strings.Join([]string{
	`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`,    // request
	`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?[.\d]*Z?`, // time
	`\d\d:\d\d:\d\d(\.\d+)?`,
	` *\d+(\.\d+)? (ms|bytes|KB|MB)`, `\d+ of 128 MB`, `Active +\d+`,
	`v?\d+\.\d+\.\d+`, // version
	`[0-9a-f]{12,64}`, // digest
	`just now|\d+[sm] ago`, ` {2,}`,
}, "|"))

// changeless leaves out what is another each time.
func changeless(text string) string { return changes.ReplaceAllString(text, " …") }
