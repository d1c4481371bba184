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
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/buildinfo"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
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
	c := &command{Options: opts, env: map[string]string{}}
	for _, e := range opts.Environ {
		name, value, _ := strings.Cut(e, "=")
		c.env[name] = value
	}
	c.out, c.errs = terminal.New(opts.Stdout, c.env), terminal.New(opts.Stderr, c.env)
	root := c.root()
	root.SetArgs(opts.Args)
	root.SetIn(opts.Stdin)
	root.SetOut(c.out)
	root.SetErr(c.errs)
	return c.finish(root.ExecuteContext(ctx))
}

// command is the state that the commands of one run share.
type command struct {
	Options
	out     *terminal.Writer // Stdout
	errs    *terminal.Writer // Stderr
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
			"  hansom invoke hello-node '{\"name\":\"Ada\"}'",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON for machines")
	root.AddGroup(&cobra.Group{ID: "write", Title: "Write and deploy"}, &cobra.Group{ID: "use", Title: "Use and look"}, &cobra.Group{ID: "operate", Title: "Operate"})
	add := func(group string, commands ...*cobra.Command) {
		for _, sub := range commands {
			if group != "" {
				sub.GroupID = group
			}
			root.AddCommand(sub)
		}
	}
	remote := func(commands ...*cobra.Command) []*cobra.Command {
		for _, sub := range commands {
			c.clientFlags(sub)
		}
		return commands
	}
	add("write", c.initCommand(), c.devCommand())
	add("write", remote(c.deployCommand(), c.planCommand(), c.diffCommand(), c.historyCommand(), c.rollbackCommand())...)
	add("use", remote(c.invokeCommand(), c.logsCommand(), c.lsCommand(), c.urlCommand(), c.envCommand(), c.versionsCommand(), c.aliasCommand(), c.layersCommand(), c.rmCommand())...)
	add("operate", c.serveCommand(), c.restoreCommand(), c.systemdCommand())
	add("operate", remote(c.projectsCommand(), c.keysCommand(), c.doctorCommand(), c.backupCommand())...)
	add("", c.versionCommand(), completionCommand(), exitCodesTopic())
	root.SetHelpCommand(helpCommand())
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.CompletionOptions.DisableDefaultCmd = true
	c.completions(root)
	return root
}

// flagError says which flag may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return usagef("%v", err)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := manifest.Nearest(name, known); near != "" {
		return usagef("unknown flag --%s; did you mean --%s?", name, near)
	}
	return usagef("unknown flag --%s; `%s --help` lists them", name, cmd.CommandPath())
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

// functionAnd checks that args are the name of a function and between least and most others.
func functionAnd(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := between(least+1, most+1)(cmd, args); err != nil {
			return err
		}
		return checkFunction(args[0])
	}
}

// functionPattern is the Lambda API's FunctionName: a name, or an ARN in full or in part, with a qualifier or without.
var functionPattern = regexp.MustCompile(`^(arn:aws[a-z-]*:lambda:[a-z0-9-]+:)?(\d{12}:)?(function:)?[a-zA-Z0-9_-]{1,64}(:(\$LATEST|[a-zA-Z0-9_-]+))?$`)

func checkFunction(name string) error {
	if functionPattern.MatchString(name) {
		return nil
	}
	return usagef("%q is not the name of a function: that has at most 64 letters, digits, - and _; `hansom ls` lists those there are", name)
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
	var refused *client.Error
	var connect *client.ConnectError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.As(err, &usage):
		code = ExitUsage
	case errors.As(err, &faults), errors.As(err, &broken):
		code = ExitManifest
	case errors.As(err, &connect):
		code = ExitConnect
	case errors.As(err, &refused) && (refused.Status == 401 || refused.Status == 403):
		code = ExitDenied
	}
	message := err.Error()
	switch {
	case message == "":
	case c.json:
		out := struct {
			Message string          `json:"message"`
			Exit    int             `json:"exit"`
			Code    string          `json:"code,omitempty"`
			Faults  manifest.Errors `json:"faults,omitempty"`
		}{Message: message, Exit: code, Faults: faults}
		if refused != nil {
			out.Code = refused.Code
		}
		c.printJSON(map[string]any{"error": out})
	case broken != nil:
		fmt.Fprintln(c.errs, c.errs.Paint("hansom:", terminal.Bold, terminal.Red)+" "+message)
	case len(faults) > 0:
		c.printFaults(faults)
	default:
		fmt.Fprintln(c.errs, c.errs.Paint("hansom:", terminal.Bold, terminal.Red)+" "+strings.ReplaceAll(message, "\n", "; "))
	}
	return code
}

func (c *command) printJSON(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printf writes to standard output.
func (c *command) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// note writes to standard error: what people want to know and machines do not.
func (c *command) note(format string, args ...any) {
	if !c.json {
		fmt.Fprintf(c.errs, format+"\n", args...)
	}
}

// progress shows what is being done, on a terminal only; the next one, or an empty one, takes its place.
func (c *command) progress(format string, args ...any) {
	if !c.json {
		c.errs.Progress(format, args...)
	}
}

// printFaults shows a fault on a line each, as compilers do, and on a terminal the place in the source.
func (c *command) printFaults(faults manifest.Errors) {
	for _, f := range faults {
		if !terminal.IsTerminal(c.errs) {
			fmt.Fprintln(c.errs, f)
			continue
		}
		place := fmt.Sprintf("%s:%d:%d:", f.File, f.Line, f.Column)
		fmt.Fprintln(c.errs, c.errs.Paint(place, terminal.Bold), terminal.Printable(f.Message))
		if f.Source != "" {
			c.errs.Excerpt(f.Line, f.Column, f.Source)
		}
	}
}

// client connects with the settings of flags and environment. A named project is entered with a session of its own.
func (c *command) client(ctx context.Context) (*client.Client, error) {
	cl, err := c.connect()
	if err != nil {
		return nil, err
	}
	if project := firstOf(c.project, c.env["HANSOM_PROJECT"]); project != "" {
		if err := cl.Enter(ctx, project); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

// connect is client without a project.
func (c *command) connect() (*client.Client, error) {
	cl, err := client.Connect(client.Config{API: c.api, Data: c.data, Env: c.env})
	switch hansom.KindOf(err) {
	case hansom.Invalid:
		return nil, usageError{err}
	case hansom.Unauthenticated:
		return nil, &exitError{ExitDenied, err.Error()}
	}
	return cl, err
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
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
