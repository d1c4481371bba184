// Package cli is the command line. Commands talk to a server over its public APIs: the management API
// (docs/reference/management-api.md) and the Lambda API; serve and dev start one.
//
// Exit codes: see the constants below. Errors go to standard error on one line that says what to do next.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/buildinfo"
	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/server"
)

// Exit codes of the program.
const (
	ExitOK       = 0
	ExitFailure  = 1 // the server said no, or something broke
	ExitUsage    = 2 // wrong flags or arguments
	ExitFunction = 3 // invoke: the function returned an error
	ExitConnect  = 4 // no server answers
	ExitDenied   = 5 // the credentials were refused
	ExitManifest = 6 // hansom.yaml is wrong or code does not build
)

// Server is a running Hansom, as serve and dev need it.
type Server interface {
	// Run serves until ctx ends, then drains and closes. It returns nil after a clean end.
	Run(ctx context.Context) error
	// Ready is closed when both listeners answer.
	Ready() <-chan struct{}
	// EdgeAddr and APIAddr are the bound addresses, host:port; valid after Ready.
	EdgeAddr() string
	APIAddr() string
}

// Options are what the program's entry point gives the command line.
type Options struct {
	// NewServer makes a server; it is server.New.
	NewServer func(ctx context.Context, cfg server.Config, logger *slog.Logger) (Server, error)
	// Args are the arguments after the program's name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // NAME=value
}

// Main runs the program and returns its exit code. SIGINT and SIGTERM end a command in good order; a second one ends the
// process at once.
func Main(opts Options) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		second := (<-signals).(syscall.Signal)
		signal.Reset(second)
		_ = syscall.Kill(os.Getpid(), second) // its default effect
	}()
	return Run(ctx, opts)
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, opts Options) int {
	opts.Stdout, opts.Stderr = &lockedWriter{w: opts.Stdout}, &lockedWriter{w: opts.Stderr}
	c := &command{Options: opts, env: map[string]string{}}
	for _, e := range opts.Environ {
		name, value, _ := strings.Cut(e, "=")
		c.env[name] = value
	}
	root := c.root()
	root.SetArgs(opts.Args)
	root.SetIn(opts.Stdin)
	root.SetOut(opts.Stdout)
	root.SetErr(opts.Stderr)
	return c.finish(root.ExecuteContext(ctx))
}

// command is the state that the commands of one run share.
type command struct {
	Options
	env     map[string]string
	json    bool
	api     string
	project string
	data    string
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hansom",
		Short: "Run functions on one machine: deploy, invoke, scale to zero and back",
		Example: "  hansom init hello && hansom dev hello\n" +
			"  hansom invoke hello-api '{\"name\":\"Ada\"}'",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON for machines")
	root.AddCommand(c.initCommand(), c.devCommand(), c.serveCommand())
	for _, sub := range []*cobra.Command{
		c.deployCommand(), c.planCommand(), c.invokeCommand(), c.logsCommand(), c.lsCommand(), c.rmCommand(), c.urlCommand(),
		c.layersCommand(), c.projectsCommand(), c.keysCommand(), c.doctorCommand(), c.backupCommand(),
	} {
		c.clientFlags(sub)
		root.AddCommand(sub)
	}
	root.AddCommand(c.restoreCommand(), c.systemdCommand(), c.versionCommand())
	root.SetHelpTemplate(helpTemplate)
	root.CompletionOptions.HiddenDefaultCmd = false
	return root
}

// subcommand are the arguments of a command that only has others: what comes here is none of them.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for cmd.SuggestionsMinimumDistance = 1; cmd.SuggestionsMinimumDistance <= 2; cmd.SuggestionsMinimumDistance++ { // the nearest
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("unknown command %q; did you mean %s?", args[0], near[0])
		}
	}
	return usagef("unknown command %q; `%s --help` lists them", args[0], cmd.CommandPath())
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

// clientFlags are those of commands that talk to a server.
func (c *command) clientFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.api, "api", "", "address of the server's api listener (HANSOM_API; default http://127.0.0.1:4566)")
	f.StringVar(&c.data, "data", "", "the server's data directory, with its credentials (HANSOM_DATA; default ./.hansom, then /var/lib/hansom)")
	if cmd.Name() != "projects" { // they are in no project
		f.StringVar(&c.project, "project", "", "act in this project, by id or slug (HANSOM_PROJECT; root keys only)")
	}
}

// usageError is a wrong flag or argument.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exactly, atMost and atLeast check the number of arguments and answer with the usage.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }
func atMost(n int) cobra.PositionalArgs  { return between(0, n) }

func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// exitError ends the program with a code; its message was printed already when it is "".
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

// finish reports err and turns it into an exit code.
func (c *command) finish(err error) int {
	if err == nil {
		return ExitOK
	}
	code := ExitFailure
	var exit *exitError
	var usage usageError
	var faults manifest.Errors
	var broken *build.Error
	var api *apiError
	var connect *connectError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.As(err, &usage):
		code = ExitUsage
	case errors.As(err, &faults), errors.As(err, &broken):
		code = ExitManifest
	case errors.As(err, &connect):
		code = ExitConnect
	case errors.As(err, &api) && (api.status == 401 || api.status == 403):
		code = ExitDenied
	}
	message := err.Error()
	switch {
	case message == "":
	case c.json:
		c.printJSON(map[string]any{"error": map[string]any{"message": message, "exit": code}})
	case broken != nil:
		fmt.Fprintln(c.Stderr, "hansom: "+message)
	case len(faults) > 0:
		fmt.Fprintln(c.Stderr, message) // file:line:column: each on its line, as compilers do
	default:
		fmt.Fprintln(c.Stderr, "hansom: "+strings.ReplaceAll(message, "\n", "; "))
	}
	return code
}

func (c *command) printJSON(v any) error {
	enc := json.NewEncoder(c.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printf writes to standard output.
func (c *command) printf(format string, args ...any) { fmt.Fprintf(c.Stdout, format, args...) }

// note writes to standard error: what people want to know and machines do not.
func (c *command) note(format string, args ...any) {
	if !c.json {
		fmt.Fprintf(c.Stderr, format+"\n", args...)
	}
}

// progress shows what is being done, on a terminal only; the next one, or an empty one, takes its place.
func (c *command) progress(format string, args ...any) {
	if !c.json && isTerminal(c.Stderr) {
		fmt.Fprintf(c.Stderr, "\r\x1b[K"+format, args...)
	}
}

// lockedWriter lets the log, the deployments and the server of dev write side by side.
type lockedWriter struct {
	sync.Mutex
	w io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.w.Write(p)
}

func isTerminal(v any) bool {
	if l, ok := v.(*lockedWriter); ok {
		v = l.w
	}
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (c *command) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program",
		Example: "  hansom version",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Read()
			if c.json {
				return c.printJSON(info)
			}
			c.printf("hansom %s (commit %s, %s)\n", info.Version, info.Commit, info.Go)
			return nil
		},
	}
}
