package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// outputs are what the commands of the README's section show, by a part of the command.
var outputs = map[string]string{
	"hansom init ":           "made the app hello",
	"curl ":                  `"message":"Hello, world!"`,
	"hansom invoke ":         `"message":"Howdy, Ada!"`, // after the edit
	"hansom logs ":           "REPORT",
	"lambda list-functions":  `"FunctionName": "hello-api"`,
	"lambda invoke ":         `"StatusCode": 200`,
	"logs filter-log-events": "REPORT",
	"hansom dev ":            "http://hello.localhost:", // in the background
	"scripts/setup.sh run":   "",
	"make build":             "",
	"export AWS_ACCESS_KEY_": "",
}

// TestREADME follows the section "Your first function" word by word: its commands, on ports of the test's own, and the edit.
func TestREADME(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands, edited := firstFunction(t, string(text))
	edge, api := freePort(t), freePort(t)
	s := newShell(t, root, edge, api)
	ports := strings.NewReplacer(":8080", ":"+edge, ":4566", ":"+api)
	seen := map[string]bool{}
	for _, command := range commands {
		want, known := "", false
		for part, output := range outputs {
			if strings.Contains(command, part) {
				want, known = output, true
				seen[part] = true
			}
		}
		if !known {
			t.Errorf("the README has a command that this test does not know: %s", command)
		}
		command = ports.Replace(command)
		if strings.Contains(command, "hansom dev ") {
			s.background(t, command, want)
			continue
		}
		if out := s.run(t, command); !strings.Contains(out, want) {
			t.Fatalf("%s\nshows\n%s\nwant %q", command, out, want)
		}
		if strings.HasPrefix(command, "curl ") {
			s.edit(t, edited, command)
		}
	}
	for part := range outputs {
		if !seen[part] {
			t.Errorf("the README no longer has a command with %q", part)
		}
	}
	if answer, err := os.ReadFile(filepath.Join(s.dir, "out.json")); err != nil || !strings.Contains(string(answer), "Howdy, world!") {
		t.Errorf("out.json: %s, %v", answer, err)
	}
}

// firstFunction returns the indented lines of the section, and the file that it says to change.
func firstFunction(t *testing.T, text string) (commands []string, edited string) {
	t.Helper()
	_, section, ok := strings.Cut(text, "\n## Your first function\n")
	if !ok {
		t.Fatal(`the README has no section "Your first function"`)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	file := regexp.MustCompile("Change `([^`]+)` and save").FindStringSubmatch(section)
	if file == nil {
		t.Fatal("the README no longer says which file to change")
	}
	return commands, file[1]
}

// freePort is a port that nobody listens on, for now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// shell runs commands as one who has the repository checked out in dir; what it exports stays.
type shell struct {
	dir, root string // of the README's reader, and of the real repository
	env       []string
	exports   string
	dev       *watched
}

// newShell is that of somebody without settings of their own, but for the ports of the server.
func newShell(t *testing.T, root, edge, api string) *shell {
	s := &shell{dir: t.TempDir(), root: root, env: []string{"HANSOM_EGRESS=platform", "HANSOM_EDGE=127.0.0.1:" + edge, "HANSOM_API=127.0.0.1:" + api,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER="}}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "HANSOM_") && !strings.HasPrefix(e, "AWS_") {
			s.env = append(s.env, e)
		}
	}
	return s
}

// run runs a command that must succeed and returns what it shows. What belongs to the repository runs there; in the place of
// what make builds dir gets the binary of all tests here.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := s.dir
	switch {
	case strings.HasPrefix(command, "export "):
		s.exports += command + "\n"
		return ""
	case strings.HasPrefix(command, "scripts/"):
		dir = s.root
	case command == "make build":
		out, err := exec.CommandContext(ctx, "make", "--dry-run", "-C", s.root, "build").Output()
		if err != nil || !strings.Contains(string(out), " -o bin/hansom ./cmd/hansom") {
			t.Fatalf("make build does not build bin/hansom: %v\n%s", err, out)
		}
		if err := os.MkdirAll(filepath.Join(s.dir, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(binary(t), filepath.Join(s.dir, "bin/hansom")); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", s.exports+command)
	cmd.Dir, cmd.Env = dir, s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// background starts a command and waits until it shows want. It is interrupted when the test ends.
func (s *shell) background(t *testing.T, command, want string) {
	t.Helper()
	s.dev = &watched{more: make(chan struct{})}
	cmd := exec.Command("bash", "-c", s.exports+"exec "+command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, s.dev, s.dev
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s did not end well: %v", command, err)
		}
		if t.Failed() {
			t.Logf("%s showed:\n%s", command, s.dev.String())
		}
	})
	s.dev.await(t, want)
}

// edit changes the greeting in the file and asks with curl for the new one.
func (s *shell) edit(t *testing.T, file, curl string) {
	t.Helper()
	path := filepath.Join(s.dir, file)
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.ReplaceAll(text, []byte("Hello"), []byte("Howdy")), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.dev.await(t, "update hello-api")
	if out := s.run(t, curl); !strings.Contains(out, `"message":"Howdy, world!"`) {
		t.Fatalf("after the change %s shows\n%s", curl, out)
	}
}

// watched collects output and lets others wait for a part of it.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed and replaced when there is more
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) await(t *testing.T, want string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		w.mu.Lock()
		found, more := strings.Contains(w.text.String(), want), w.more
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("no %q within a minute in:\n%s", want, w)
		}
	}
}
