package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"program": func() { os.Exit(Main(scriptOptions(os.Args[1:], os.Environ()))) },
		"hansom":  func() { os.Exit(realMain()) },
	})
}

// scriptOptions start no server: the scripts look at the configuration that would reach it.
func scriptOptions(args, environ []string) Options {
	return Options{
		NewServer: func(_ context.Context, cfg server.Config, _ *slog.Logger) (Server, error) {
			return nil, fmt.Errorf("edge %s, region %s, memory %d, idle %s, dev %v, no isolation %v",
				cfg.Edge, cfg.Region, cfg.Memory, cfg.Idle, cfg.Dev, cfg.InsecureNoIsolation)
		},
		Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: environ,
	}
}

// scriptHost lets a script have a test server.
type scriptHost struct{ *testscript.TestScript }

func (scriptHost) Helper()             {}
func (h scriptHost) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }
func (h scriptHost) Cleanup(f func())  { h.Defer(f) }

// oneByOne runs scripts one after the other: their commands share the working directory of this process.
type oneByOne struct{ *testing.T }

func (oneByOne) Parallel()     {}
func (oneByOne) Verbose() bool { return testing.Verbose() }
func (o oneByOne) Run(name string, f func(testscript.T)) {
	o.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

// scriptVariables are those that scripts set for hansom.
var scriptVariables = []string{
	"HANSOM_API", "HANSOM_DATA", "HANSOM_PROJECT", "HANSOM_CONFIG", "HANSOM_EDGE", "HANSOM_MEMORY",
	"HANSOM_ACCESS_KEY_ID", "HANSOM_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
	"NO_COLOR", "CLICOLOR_FORCE",
}

// runLine runs a command line in this process, where it is many times faster than in one of its own. The exit code is returned.
func runLine(ts *testscript.TestScript, args []string) int {
	environ := ts.Value("environ").([]string)
	for _, name := range scriptVariables {
		if v := ts.Getenv(name); v != "" {
			environ = append(environ[:len(environ):len(environ)], name+"="+v)
		}
	}
	home, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	defer func() { ts.Check(os.Chdir(home)) }()
	opts := scriptOptions(args, environ)
	opts.Stdin, opts.Stdout, opts.Stderr = strings.NewReader(""), ts.Stdout(), ts.Stderr()
	return Run(context.Background(), opts)
}

// TestScripts runs testdata/*.txtar. Commands of ours:
//
//	hansom ARGS                  runs a command line in this process; `exec program ARGS` runs it in one of its own
//	exits CODE hansom ARGS       the same, for one that ends with another exit code than 0
//	server                       starts a server for HANSOM_API; its port is in PORT
//	server DIR                   starts one that is found through the data directory DIR alone
//	call METHOD PATH             shows what the Lambda API answers there
//	many FUNCTION N              publishes N versions there
//	forget                       removes all stored code there
//	log FUNCTION MESSAGE [AGO]   writes to a function's log there
func TestScripts(t *testing.T) {
	var caches []string
	for _, name := range []string{"GOMODCACHE", "GOCACHE"} { // a script has a home of its own
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		caches = append(caches, name+"="+strings.TrimSpace(string(out)))
	}
	servers := map[*testscript.TestScript]*testServer{}
	testscript.RunT(oneByOne{t}, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Values["environ"] = slices.DeleteFunc(slices.Concat(os.Environ(), env.Vars, caches, []string{"XDG_CACHE_HOME=" + filepath.Join(env.WorkDir, ".cache")}), func(e string) bool {
				return strings.HasPrefix(e, "HANSOM_") || strings.HasPrefix(e, "AWS_")
			})
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"hansom": func(ts *testscript.TestScript, _ bool, args []string) {
				if code := runLine(ts, args); code != command.ExitOK {
					ts.Fatalf("exit code %d", code)
				}
			},
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if got := runLine(ts, args[2:]); got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			"server": func(ts *testscript.TestScript, _ bool, args []string) {
				dir := ts.MkAbs(".server")
				ts.Check(os.MkdirAll(dir, 0o755))
				s := newTestServer(scriptHost{ts}, dir)
				s.start(scriptHost{ts})
				servers[ts] = s
				_, port, err := net.SplitHostPort(s.APIAddr())
				ts.Check(err)
				ts.Setenv("PORT", port)
				if len(args) == 0 {
					ts.Setenv("HANSOM_API", s.APIAddr())
					return
				}
				text, err := json.Marshal(map[string]any{"api": s.APIAddr(), "pid": os.Getpid()})
				ts.Check(errors.Join(err, os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "server.json"), text, 0o644)))
			},
			"call": func(ts *testscript.TestScript, _ bool, args []string) {
				cl := client.New("http://"+servers[ts].APIAddr(), "", hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, "")
				defer cl.Close()
				resp, err := cl.Send(context.Background(), "lambda", args[0], args[1], http.Header{}, nil, 0, client.Digest(nil))
				ts.Check(err)
				defer resp.Body.Close()
				_, err = io.Copy(ts.Stdout(), resp.Body)
				ts.Check(err)
			},
			"many": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ctx, functions := context.Background(), servers[ts].functions
				for i := range n {
					in := function.UpdateConfigurationInput{Description: new(strconv.Itoa(i))}
					for err = hansom.Errorf(hansom.Conflict, "", ""); hansom.KindOf(err) == hansom.Conflict; { // an update is under way
						_, err = functions.UpdateConfiguration(ctx, hansom.DefaultProject, args[0], in)
					}
					ts.Check(err)
					for err = hansom.Errorf(hansom.Conflict, "", ""); hansom.KindOf(err) == hansom.Conflict; {
						_, err = functions.Publish(ctx, hansom.DefaultProject, args[0], function.PublishInput{})
					}
					ts.Check(err)
				}
			},
			"forget": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.RemoveAll(filepath.Join(ts.MkAbs(".server"), "blob")))
			},
			"log": func(ts *testscript.TestScript, _ bool, args []string) {
				var ago time.Duration
				if len(args) > 2 {
					var err error
					ago, err = time.ParseDuration(args[2])
					ts.Check(err)
				}
				servers[ts].log(args[0], args[1], ago)
			},
		},
	})
}
