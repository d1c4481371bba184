// Package command is what the commands of the program stand on: output, errors with their exit codes, and the connection to a server.
package command

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
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

// Context is the state that the commands of one command line share.
type Context struct {
	Stdin   io.Reader
	Out     *terminal.Writer // standard output
	Errs    *terminal.Writer // standard error
	Environ []string         // NAME=value
	Env     map[string]string

	JSON    bool // --json
	api     string
	project string
	data    string
}

// ClientFlags gives cmd the flags of commands that talk to a server.
func (c *Context) ClientFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.api, "api", "", "address of the server's api listener (HANSOM_API; default http://127.0.0.1:4566)")
	f.StringVar(&c.data, "data", "", "the server's data directory, with its credentials (HANSOM_DATA; default ./.hansom, then /var/lib/hansom)")
	if cmd.Name() != "projects" { // they are in no project
		f.StringVar(&c.project, "project", "", "act in this project, by id or slug (HANSOM_PROJECT; root keys only)")
	}
}

// UsageError is a wrong flag or argument.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Exactly checks that there are n arguments; what is wrong is answered with the usage, as by AtMost and Between.
func Exactly(n int) cobra.PositionalArgs { return Between(n, n) }

// AtMost checks that there are not more than n arguments.
func AtMost(n int) cobra.PositionalArgs { return Between(0, n) }

// Between checks that there are least to most arguments.
func Between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return Usagef("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// FunctionAnd checks that args are the name of a function and between least and most others.
func FunctionAnd(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := Between(least+1, most+1)(cmd, args); err != nil {
			return err
		}
		return CheckFunction(args[0])
	}
}

// functionPattern is the Lambda API's FunctionName: a name, or an ARN in full or in part, with a qualifier or without.
var functionPattern = regexp.MustCompile(`^(arn:aws[a-z-]*:lambda:[a-z0-9-]+:)?(\d{12}:)?(function:)?[a-zA-Z0-9_-]{1,64}(:(\$LATEST|[a-zA-Z0-9_-]+))?$`)

// CheckFunction says what the name of a function looks like, when name is none.
func CheckFunction(name string) error {
	if functionPattern.MatchString(name) {
		return nil
	}
	return Usagef("%q is not the name of a function: that has at most 64 letters, digits, - and _; `hansom ls` lists those there are", name)
}

// NoFunction says that there is no function of a name.
const NoFunction = "there is no function %q; `hansom ls` lists them"

// ExitError ends the program with a code; its message was printed already when it is "".
type ExitError struct {
	Code    int
	Message string
}

func (e *ExitError) Error() string { return e.Message }

// PrintJSON writes v to standard output.
func (c *Context) PrintJSON(v any) error {
	enc := json.NewEncoder(c.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Text is an argument as it is, or with @FILE what the file has, or with - standard input.
func (c *Context) Text(arg string) (string, error) {
	var data []byte
	var err error
	file, isFile := strings.CutPrefix(arg, "@")
	switch {
	case arg == "-":
		data, err = io.ReadAll(c.Stdin)
	case isFile:
		data, err = os.ReadFile(file)
	default:
		return arg, nil
	}
	return string(data), err
}

// Printf writes to standard output.
func (c *Context) Printf(format string, args ...any) { fmt.Fprintf(c.Out, format, args...) }

// Note writes to standard error: what people want to know and machines do not.
func (c *Context) Note(format string, args ...any) {
	if !c.JSON {
		fmt.Fprintf(c.Errs, format+"\n", args...)
	}
}

// Progress shows what is being done, on a terminal only; the next one, or an empty one, takes its place.
func (c *Context) Progress(format string, args ...any) {
	if !c.JSON {
		c.Errs.Progress(format, args...)
	}
}

// Client connects with the settings of flags and environment. A named project is entered with a session of its own.
func (c *Context) Client(ctx context.Context) (*client.Client, error) {
	cl, err := c.Connect()
	if err != nil {
		return nil, err
	}
	if project := cmp.Or(c.project, c.Env["HANSOM_PROJECT"]); project != "" {
		if err := cl.Enter(ctx, project); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

// Connect is Client without a project.
func (c *Context) Connect() (*client.Client, error) {
	cl, err := client.Connect(client.Config{API: c.api, Data: c.data, Env: c.Env})
	switch hansom.KindOf(err) {
	case hansom.Invalid:
		return nil, UsageError{err}
	case hansom.Unauthenticated:
		return nil, &ExitError{ExitDenied, err.Error()}
	}
	return cl, err
}

// Removed reports that something was removed.
func (c *Context) Removed(what, name string) error {
	if c.JSON {
		return c.PrintJSON(map[string]string{"removed": name})
	}
	c.Printf("removed %s %s\n", what, name)
	return nil
}

// YesFlag gives cmd --yes, for Sure.
func YesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// Sure asks before something is removed. Where there is nobody to ask, --yes is the answer.
func (c *Context) Sure(yes bool, what, name string) error {
	switch {
	case yes:
		return nil
	case !terminal.IsTerminal(c.Stdin):
		return Usagef("there is no terminal to ask on; add --yes to remove the %s %s", what, name)
	}
	fmt.Fprintf(c.Errs, "remove the %s %s? [y/N] ", what, terminal.Printable(name))
	line, _ := bufio.NewReader(c.Stdin).ReadString('\n') // an end without an answer is a no
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	return &ExitError{ExitFailure, "nothing was removed"}
}
