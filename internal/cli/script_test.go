package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hansomcloud/hansom/internal/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hansom": func() {
		os.Exit(Main(Options{
			// The scripts look at the configuration that reaches the server.
			NewServer: func(_ context.Context, cfg server.Config, _ *slog.Logger) (Server, error) {
				return nil, fmt.Errorf("edge %s, region %s, memory %d, idle %s, dev %v, no isolation %v",
					cfg.Edge, cfg.Region, cfg.Memory, cfg.Idle, cfg.Dev, cfg.InsecureNoIsolation)
			},
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		}))
	}})
}

// scriptHost lets a script have a test server.
type scriptHost struct{ *testscript.TestScript }

func (scriptHost) Helper()             {}
func (h scriptHost) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }
func (h scriptHost) Cleanup(f func())  { h.Defer(f) }

// TestScripts runs testdata/*.txtar. Commands of ours: "server" starts a server for HANSOM_API, "log FUNCTION MESSAGE" writes
// to a function's log there, "exits CODE CMD ARGS" runs a command that ends with a code.
func TestScripts(t *testing.T) {
	servers := map[*testscript.TestScript]*testServer{}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"GOPROXY", "GOSUMDB", "GOMODCACHE", "GOCACHE", "HTTPS_PROXY"} {
				env.Setenv(name, os.Getenv(name))
			}
			for _, name := range []string{"GOMODCACHE", "GOCACHE"} { // a script has a home of its own, without caches
				out, err := exec.Command("go", "env", name).Output()
				if err != nil {
					return err
				}
				env.Setenv(name, string(out[:len(out)-1]))
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server": func(ts *testscript.TestScript, _ bool, _ []string) {
				dir := ts.MkAbs(".server")
				ts.Check(os.MkdirAll(dir, 0o755))
				s := newTestServer(scriptHost{ts}, dir)
				s.start(scriptHost{ts})
				ts.Setenv("HANSOM_API", s.APIAddr())
				servers[ts] = s
			},
			"log": func(ts *testscript.TestScript, _ bool, args []string) {
				servers[ts].log(args[0], args[1])
			},
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}
