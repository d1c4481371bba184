package function

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/dotenv"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

func (c *commands) envCommand() *cobra.Command {
	var show bool
	list := func(cmd *cobra.Command, args []string) error { return c.listEnvironment(cmd.Context(), args[0], show) }
	cmd := &cobra.Command{
		Use: "env FUNCTION", Short: "List, set and remove the environment variables of a function",
		Long: "List, set and remove the environment variables of a function's $LATEST. Values are hidden unless --show is given.\n" +
			"The variables of an app's function are those of " + manifest.FileName + ": the next deploy sets them again.",
		Example: "  hansom env hello-node\n  hansom env set hello-node GREETING=Hi",
		Args:    command.FunctionAnd(0, 0), RunE: list,
	}
	ls := &cobra.Command{
		Use: "ls FUNCTION", Short: "List the variables", Example: "  hansom env ls hello-node --show", Args: command.FunctionAnd(0, 0), RunE: list,
	}
	for _, sub := range []*cobra.Command{cmd, ls} {
		sub.Flags().BoolVar(&show, "show", false, "show the values")
	}
	cmd.AddCommand(ls, &cobra.Command{
		Use: "set FUNCTION NAME[=VALUE]...", Short: "Set variables; others stay",
		Long: "Set variables of a function; others stay. A NAME without a value takes it from standard input, so that a secret is in no\n" +
			"history of a shell; a terminal asks for it. The function runs with them from its next invocation on.",
		Example: "  hansom env set hello-node GREETING=Hi COLOUR=green\n  hansom env set hello-node TOKEN < token.txt",
		Args:    command.FunctionAnd(1, 1000),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := c.assignments(args[1:])
			if err != nil {
				return err
			}
			return c.setVariables(cmd.Context(), args[0], set)
		},
	}, &cobra.Command{
		Use: "unset FUNCTION NAME...", Short: "Remove variables", Example: "  hansom env unset hello-node GREETING", Args: command.FunctionAnd(1, 1000),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.editEnvironment(cmd.Context(), args[0], func(variables map[string]string) error {
				for _, name := range args[1:] {
					if _, ok := variables[name]; !ok {
						if near := manifest.Nearest(name, slices.Sorted(maps.Keys(variables))); near != "" {
							return fmt.Errorf("%s has no variable %s; did you mean %s?", args[0], name, near)
						}
						return fmt.Errorf("%s has no variable %s; `hansom env %s` lists them", args[0], name, args[0])
					}
					delete(variables, name)
				}
				return nil
			})
		},
	}, &cobra.Command{
		Use: "import FUNCTION FILE", Short: "Set the variables of a file of NAME=value lines; others stay",
		Long: "Set the variables of a file of NAME=value lines, as many tools read them from .env; - is standard input. Others stay.\n" +
			"Values may be in single quotes, or in double quotes with \\n for the end of a line.",
		Example: "  hansom env import hello-node .env", Args: command.FunctionAnd(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var text []byte
			var err error
			if args[1] == "-" {
				text, err = io.ReadAll(c.Stdin)
			} else {
				text, err = os.ReadFile(args[1])
			}
			if err != nil {
				return err
			}
			set, err := dotenv.Parse(string(text))
			if err != nil {
				return command.Usagef("%s: %v", args[1], err)
			}
			return c.setVariables(cmd.Context(), args[0], set)
		},
	}, &cobra.Command{
		Use: "export FUNCTION", Short: "Print the variables with their values as NAME=value lines, for import",
		Example: "  hansom env export hello-node > .env", Args: command.FunctionAnd(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			variables, err := c.environment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(variables)
			}
			c.Printf("%s", dotenv.Format(variables))
			return nil
		},
	})
	return cmd
}

// assignments reads NAME=VALUE arguments; a single NAME has its value on standard input.
func (c *commands) assignments(args []string) (map[string]string, error) {
	out, bare := map[string]string{}, ""
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case name == "":
			return nil, command.Usagef("%q is not NAME=VALUE", arg)
		case ok:
			out[name] = value
		case bare != "":
			return nil, command.Usagef("%s and %s have no values; standard input can be that of one", bare, name)
		default:
			bare = name
		}
	}
	if bare == "" {
		return out, nil
	}
	value, err := c.secret(bare)
	out[bare] = value
	return out, err
}

// secret reads a value from standard input, without its last end of a line; on a terminal it is not shown.
func (c *commands) secret(name string) (string, error) {
	f, ok := c.Stdin.(*os.File)
	if !ok || !terminal.IsTerminal(f) {
		data, err := io.ReadAll(c.Stdin)
		return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), err
	}
	fmt.Fprintf(c.Errs, "%s: ", name)
	data, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(c.Errs)
	return string(data), err
}

func (c *commands) environment(ctx context.Context, function string) (map[string]string, error) {
	cl, err := c.Client(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := cl.Configuration(ctx, function, "")
	if conf.Environment.Variables == nil {
		conf.Environment.Variables = map[string]string{}
	}
	return conf.Environment.Variables, client.Missing(err, command.NoFunction, function)
}

func (c *commands) listEnvironment(ctx context.Context, function string, show bool) error {
	variables, err := c.environment(ctx, function)
	if err != nil {
		return err
	}
	type variable struct {
		Name  string  `json:"name"`
		Value *string `json:"value,omitempty"`
	}
	out := []variable{}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		value := variables[name]
		if show {
			out = append(out, variable{name, &value})
			rows = append(rows, []string{name, value})
		} else {
			out = append(out, variable{Name: name})
			rows = append(rows, []string{name, "(" + terminal.Count(len(value), "byte") + ")"})
		}
	}
	switch {
	case c.JSON:
		return c.PrintJSON(map[string]any{"function": function, "variables": out})
	case len(rows) == 0:
		c.Note("%s has no variables; `hansom env set %s NAME=VALUE` sets one", function, function)
		return nil
	}
	c.Out.Table([]string{"NAME", "VALUE"}, rows)
	return nil
}

func (c *commands) setVariables(ctx context.Context, function string, set map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if err := manifest.CheckVariable(name); err != nil {
			return command.UsageError{Err: err}
		}
	}
	return c.editEnvironment(ctx, function, func(variables map[string]string) error {
		maps.Copy(variables, set)
		return nil
	})
}

// editEnvironment changes the variables of a function and says which changed.
func (c *commands) editEnvironment(ctx context.Context, function string, edit func(variables map[string]string) error) error {
	cl, err := c.Client(ctx)
	if err != nil {
		return err
	}
	var changed []string
	conf, err := cl.EditEnvironment(ctx, function, func(variables map[string]string) (bool, error) {
		before := maps.Clone(variables)
		if err := edit(variables); err != nil {
			return false, err
		}
		changed = []string{}
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			if old, had := before[name]; !had {
				changed = append(changed, "+"+name)
			} else if old != variables[name] {
				changed = append(changed, "~"+name)
			}
			delete(before, name)
		}
		for _, name := range slices.Sorted(maps.Keys(before)) {
			changed = append(changed, "-"+name)
		}
		return len(changed) > 0, nil
	})
	if err != nil {
		return client.Missing(err, command.NoFunction, function)
	}
	if c.JSON {
		return c.PrintJSON(map[string]any{"function": function, "changed": changed})
	}
	if len(changed) == 0 {
		c.Printf("%s has these variables already\n", function)
		return nil
	}
	c.Printf("%s: %s\n", function, strings.Join(changed, " "))
	if f, err := cl.Function(ctx, conf.FunctionName); err == nil && f.App != "" {
		c.Note("%s belongs to the app %s: its next deploy sets the variables of %s again", function, f.App, manifest.FileName)
	}
	return nil
}
