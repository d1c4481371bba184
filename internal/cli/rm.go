package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

func (c *command) rmCommand() *cobra.Command {
	var fn, yes bool
	cmd := &cobra.Command{
		Use: "rm APP", Short: "Remove an app with its functions, or one function",
		Long: "Remove an app with its functions, routes and history; with --function, one function.\n" +
			"On a terminal it asks first; elsewhere it needs --yes.",
		Example: "  hansom rm hello --yes\n  hansom rm --function my-function --yes",
		Args:    exactly(1),
	}
	cmd.Flags().BoolVar(&fn, "function", false, "the name is that of a function")
	yesFlag(cmd, &yes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what := "app"
		if fn {
			what = "function"
			if err := checkFunction(args[0]); err != nil {
				return err
			}
		}
		if err := c.sure(yes, what, args[0]); err != nil {
			return err
		}
		cl, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		if fn {
			err = client.Missing(cl.Call(cmd.Context(), "DELETE", client.FunctionPath(args[0]), nil, nil), noFunction, args[0])
		} else {
			err = cl.Call(cmd.Context(), "DELETE", client.AppPath(args[0]), nil, nil)
		}
		if err != nil {
			return err
		}
		return c.removed(what, args[0])
	}
	return cmd
}

func (c *command) removed(what, name string) error {
	if c.json {
		return c.printJSON(map[string]string{"removed": name})
	}
	c.printf("removed %s %s\n", what, name)
	return nil
}

func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// sure asks before something is removed. Where there is nobody to ask, --yes is the answer.
func (c *command) sure(yes bool, what, name string) error {
	switch {
	case yes:
		return nil
	case !terminal.IsTerminal(c.Stdin):
		return usagef("there is no terminal to ask on; add --yes to remove the %s %s", what, name)
	}
	fmt.Fprintf(c.errs, "remove the %s %s? [y/N] ", what, terminal.Printable(name))
	line, _ := bufio.NewReader(c.Stdin).ReadString('\n') // an end without an answer is a no
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	return &exitError{ExitFailure, "nothing was removed"}
}
