// Package cli is the command line. Commands talk to a server over its public APIs: the management API
// (docs/reference/management-api.md) and the Lambda API; serve and dev start one.
//
// Exit codes: see the constants below. Errors go to standard error on one line that says what to do next.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/buildinfo"
	"github.com/hansomcloud/hansom/internal/cli/bus"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/completion"
	"github.com/hansomcloud/hansom/internal/cli/function"
	"github.com/hansomcloud/hansom/internal/cli/key"
	"github.com/hansomcloud/hansom/internal/cli/queue"
	"github.com/hansomcloud/hansom/internal/cli/route"
	"github.com/hansomcloud/hansom/internal/cli/schedule"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/server"
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
	// NATSAddr is where clients of NATS connect; "" for nowhere.
	NATSAddr() string
	// Isolation says in one line what keeps functions in.
	Isolation() string
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
	c := newProgram(opts)
	root := c.root()
	root.SetArgs(opts.Args)
	root.SetIn(opts.Stdin)
	root.SetOut(c.Out)
	root.SetErr(c.Errs)
	return c.finish(root.ExecuteContext(ctx))
}

// program is one run of the program.
type program struct {
	command.Context
	newServer func(ctx context.Context, cfg server.Config, logger *slog.Logger) (Server, error)
}

func newProgram(opts Options) *program {
	c := &program{newServer: opts.NewServer}
	c.Stdin, c.Environ, c.Env = opts.Stdin, opts.Environ, map[string]string{}
	for _, e := range opts.Environ {
		name, value, _ := strings.Cut(e, "=")
		c.Env[name] = value
	}
	c.Out, c.Errs = terminal.New(opts.Stdout, c.Env), terminal.New(opts.Stderr, c.Env)
	return c
}

func (c *program) root() *cobra.Command {
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
	root.PersistentFlags().BoolVar(&c.JSON, "json", false, "print JSON for machines")
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
			c.ClientFlags(sub)
		}
		return commands
	}
	add("write", c.initCommand(), c.devCommand())
	add("write", remote(c.deployCommand(), c.planCommand(), c.diffCommand(), c.historyCommand(), c.rollbackCommand())...)
	add("use", remote(function.Commands(&c.Context)...)...)
	add("use", remote(c.logsCommand(), c.lsCommand(), c.urlCommand(), queue.Command(&c.Context, subcommand), bus.Command(&c.Context, subcommand), schedule.Command(&c.Context, subcommand), route.Command(&c.Context), c.layersCommand(), c.rmCommand())...)
	add("operate", c.serveCommand(), c.restoreCommand(), c.systemdCommand())
	add("operate", remote(c.projectsCommand(), key.Command(&c.Context, subcommand), c.doctorCommand(), c.backupCommand())...)
	add("", c.versionCommand(), completion.Command(), exitCodesTopic())
	root.SetHelpCommand(helpCommand())
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetHelpFunc(c.fitted(root.HelpFunc()))
	root.CompletionOptions.DisableDefaultCmd = true
	completion.Add(&c.Context, root, completion.Fixed{Command: []string{"init"}, Flag: "template", Values: templateNames},
		completion.Fixed{Command: []string{"projects", "set"}, Flag: "egress", Values: []string{hansom.EgressNone, hansom.EgressPlatform, hansom.EgressInternet, serverEgress}})
	return root
}

// kinds of values of flags, in words.
var kinds = map[string]string{"int": "a whole number", "int64": "a whole number", "bool": "true or false", "duration": "a duration such as 10s or 2m"}

// flagError says which flag may have been meant, or what its value must be.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) && kinds[bad.GetFlag().Value.Type()] != "" {
		return command.Usagef("--%s %q must be %s", bad.GetFlag().Name, bad.GetValue(), kinds[bad.GetFlag().Value.Type()])
	}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return command.Usagef("%v", err)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := manifest.Nearest(name, known); near != "" {
		return command.Usagef("unknown flag --%s; did you mean --%s?", name, near)
	}
	return command.Usagef("unknown flag --%s; `%s --help` lists them", name, cmd.CommandPath())
}

// subcommand are the arguments of a command that only has others: what comes here is none of them.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for cmd.SuggestionsMinimumDistance = 1; cmd.SuggestionsMinimumDistance <= 2; cmd.SuggestionsMinimumDistance++ { // the nearest
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return command.Usagef("unknown command %q; did you mean %s?", args[0], near[0])
		}
	}
	return command.Usagef("unknown command %q; `%s --help` lists them", args[0], cmd.CommandPath())
}

// finish reports err and turns it into an exit code.
func (c *program) finish(err error) int {
	if err == nil {
		return command.ExitOK
	}
	code := command.ExitFailure
	var exit *command.ExitError
	var usage command.UsageError
	var faults manifest.Errors
	var broken *build.Error
	var refused *client.Error
	var connect *client.ConnectError
	switch {
	case errors.As(err, &exit):
		code = exit.Code
	case errors.As(err, &usage):
		code = command.ExitUsage
	case errors.As(err, &faults), errors.As(err, &broken):
		code = command.ExitManifest
	case errors.As(err, &connect):
		code = command.ExitConnect
	case errors.As(err, &refused) && (refused.Status == 401 || refused.Status == 403):
		code = command.ExitDenied
	}
	message := err.Error()
	switch {
	case message == "":
	case c.JSON:
		out := struct {
			Message string          `json:"message"`
			Exit    int             `json:"exit"`
			Code    string          `json:"code,omitempty"`
			Faults  manifest.Errors `json:"faults,omitempty"`
		}{Message: message, Exit: code, Faults: faults}
		if refused != nil {
			out.Code = refused.Code
		}
		c.PrintJSON(map[string]any{"error": out})
	case broken != nil:
		fmt.Fprintln(c.Errs, c.Errs.Paint("hansom:", terminal.Bold, terminal.Red)+" "+message)
	case len(faults) > 0:
		c.printFaults(faults)
	default:
		fmt.Fprintln(c.Errs, c.Errs.Paint("hansom:", terminal.Bold, terminal.Red)+" "+strings.ReplaceAll(message, "\n", "; "))
	}
	return code
}

// printFaults shows a fault on a line each, as compilers do, and on a terminal the place in the source.
func (c *program) printFaults(faults manifest.Errors) {
	for _, f := range faults {
		if !terminal.IsTerminal(c.Errs) {
			fmt.Fprintln(c.Errs, f)
			continue
		}
		place := fmt.Sprintf("%s:%d:%d:", f.File, f.Line, f.Column)
		fmt.Fprintln(c.Errs, c.Errs.Paint(place, terminal.Bold), terminal.Printable(f.Message))
		if f.Source != "" {
			c.Errs.Excerpt(f.Line, f.Column, f.Source)
		}
	}
}

func (c *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program",
		Example: "  hansom version",
		Args:    command.Exactly(0),
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Read()
			if c.JSON {
				return c.PrintJSON(info)
			}
			c.Printf("hansom %s (commit %s, %s)\n", info.Version, info.Commit, info.Go)
			return nil
		},
	}
}
