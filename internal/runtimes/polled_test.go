package runtimes

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestRuby and TestJava run the cases below testdata on every interpreter of this machine, over a Runtime API of their own. A case
// is a txtar archive as in case_test.go; its script has these commands:
//
//	from NUMBER, until NUMBER   only for these versions: 302 is Ruby 3.2
//	env NAME=VALUE              of the next init
//	init HANDLER                starts the runtime
//	trace TEXT, context JSON, identity JSON, timeout MILLISECONDS, invoke JSON
//	< READY, < RESULT BODY, < ERROR BODY, < INIT BODY    what the runtime asks and answers; BODY as in case_test.go
//	exit CODE, output REGEXP    output ends the runtime
//
// Files that end in .java are compiled into $TASK, with those of testdata/java/core.
func TestRuby(t *testing.T) {
	each(t, Ruby, func(t *testing.T, r *Runtime) { polledCases(t, r, "testdata/ruby") })
}

func TestJava(t *testing.T) {
	each(t, Java, func(t *testing.T, r *Runtime) {
		if _, err := os.Stat(javac(r)); err != nil {
			t.Skipf("compiling the functions needs %s: install a JDK, not a JRE", javac(r))
		}
		polledCases(t, r, "testdata/java")
	})
}

func javac(r *Runtime) string { return filepath.Join(filepath.Dir(r.Interpreter), "javac") }

func polledCases(t *testing.T, r *Runtime, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := &polled{scripted: scripted{t: t, r: r, root: t.TempDir()}}
			var script string
			var sources []string
			for _, f := range archive.Files {
				if f.Name == "script" {
					script = string(f.Data)
					continue
				}
				name := filepath.Join(c.root, filepath.FromSlash(f.Name))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(name, ".java") {
					sources = append(sources, name)
				}
			}
			c.run(script, sources)
		})
	}
}

// polled is a runtime and the Runtime API that it polls.
type polled struct {
	scripted
	cmd    *exec.Cmd
	out    strings.Builder
	exited chan error
	n      int
	calls  chan http.Header // events to give, "Event" among the headers
	heard  chan heard
}

type heard struct{ kind, body string }

func (c *polled) run(script string, sources []string) {
	for n, line := range strings.Split(script, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if strings.HasPrefix(line, "init ") && sources != nil {
			c.compile(sources)
			sources = nil
		}
		if err := c.do(line); err != nil {
			c.stop()
			c.t.Fatalf("line %d of the script, %q: %v; it printed: %s", n+1, line, err, c.out.String())
		}
	}
}

func (c *polled) compile(sources []string) {
	core := os.DirFS("testdata/java/core")
	if err := fs.WalkDir(core, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sources = append(sources, filepath.Join("testdata/java/core", p))
		}
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	out, err := exec.Command(javac(c.r), append([]string{"-encoding", "UTF-8", "-nowarn", "-Xlint:none", "-d", c.root}, sources...)...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("javac: %v\n%s", err, out)
	}
}

func (c *polled) do(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "init":
		c.stop()
		return c.start(rest)
	case "invoke":
		c.n++
		if c.call.timeout == 0 {
			c.call.timeout = time.Minute
		}
		h := http.Header{"Event": {rest}}
		for name, value := range map[string]string{
			"Aws-Request-Id": fmt.Sprintf("id-%d", c.n), "Deadline-Ms": strconv.FormatInt(time.Now().Add(c.call.timeout).UnixMilli(), 10),
			"Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:fn", "Trace-Id": c.call.trace,
			"Client-Context": c.call.clientContext, "Cognito-Identity": c.call.identity,
		} {
			if value != "" {
				h.Set("Lambda-Runtime-"+name, value)
			}
		}
		c.call = call{}
		c.calls <- h
	case "<":
		kind, body, _ := strings.Cut(rest, " ")
		select {
		case h := <-c.heard:
			if h.kind != kind {
				return fmt.Errorf("got %s %s", h.kind, h.body)
			}
			how, text, _ := strings.Cut(body, " ")
			return c.compare(how, text, []byte(h.body))
		case <-time.After(patience):
			return fmt.Errorf("nothing comes")
		}
	case "exit":
		select {
		case err := <-c.exited:
			c.exited <- err
		case <-time.After(patience):
			return fmt.Errorf("the runtime goes on")
		}
		if got := strconv.Itoa(c.cmd.ProcessState.ExitCode()); got != rest {
			return fmt.Errorf("exit code %s", got)
		}
	case "output":
		c.stop() // what it wrote is complete then
		if !c.pattern(rest).MatchString(c.out.String()) {
			return fmt.Errorf("no such output")
		}
	default:
		return c.scripted.do(line)
	}
	return nil
}

func (c *polled) start(handler string) error {
	c.calls, c.heard, c.exited = make(chan http.Header, 1), make(chan heard, 8), make(chan error, 1)
	calls, said, ready := c.calls, c.heard, make(chan struct{}, 1)
	ready <- struct{}{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/")
		switch {
		case path == "invocation/next":
			select {
			case <-ready:
				said <- heard{"READY", ""}
			default:
			}
			select {
			case h := <-calls:
				event := h.Get("Event")
				h.Del("Event")
				for name := range h {
					w.Header().Set(name, h.Get(name))
				}
				io.WriteString(w, event)
			case <-r.Context().Done():
			}
			return
		case path == "init/error":
			said <- heard{"INIT", string(body)}
		case strings.HasSuffix(path, "/response"):
			said <- heard{"RESULT", string(body)}
		case strings.HasSuffix(path, "/error"):
			if r.Header.Get("Lambda-Runtime-Function-Error-Type") == "" {
				body = []byte("no error type")
			}
			said <- heard{"ERROR", string(body)}
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	c.t.Cleanup(server.Close)
	c.t.Cleanup(c.stop) // before the server's
	command, err := c.r.Command("", 256, "", "")
	if err != nil {
		return err
	}
	here := func(s string) string { // no sandbox: the host's own paths
		return strings.NewReplacer(RuntimeRoot+"/", installDir+"/", TaskRoot, c.root, OptRoot, filepath.Join(c.root, "opt")).Replace(s)
	}
	for i := range command[1:] {
		command[i+1] = here(command[i+1])
	}
	c.cmd = exec.Command(c.r.Interpreter, command[1:]...)
	c.cmd.Env = []string{"PATH=/usr/bin:/bin", "AWS_LAMBDA_RUNTIME_API=" + server.Listener.Addr().String(), "_HANDLER=" + handler, "LAMBDA_TASK_ROOT=" + c.root,
		"AWS_LAMBDA_FUNCTION_NAME=fn", "AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "TZ=:UTC", "LANG=en_US.UTF-8",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/fn", "AWS_LAMBDA_LOG_STREAM_NAME=2026/11/23/[7]abc"}
	for _, e := range c.r.Env {
		c.cmd.Env = append(c.cmd.Env, here(e))
	}
	c.cmd.Env = append(c.cmd.Env, c.env...)
	c.cmd.Dir = c.root
	c.env, c.n = nil, 0
	c.out.Reset()
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		return err
	}
	cmd, exited := c.cmd, c.exited
	go func() { exited <- cmd.Wait() }()
	return nil
}

func (c *polled) stop() {
	if c.cmd == nil {
		return
	}
	c.cmd.Process.Kill()
	<-c.exited
	c.cmd = nil
}
