package cli

import (
	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

func (c *program) rmCommand() *cobra.Command {
	var fn, yes bool
	cmd := &cobra.Command{
		Use: "rm APP", Short: "Remove an app with its functions, or one function",
		Long: "Remove an app with its functions, its queues and their messages, routes and history; with --function, one function.\n" +
			"On a terminal it asks first; elsewhere it needs --yes.",
		Example: "  hansom rm hello --yes\n  hansom rm --function my-function --yes",
		Args:    command.Exactly(1),
	}
	cmd.Flags().BoolVar(&fn, "function", false, "the name is that of a function")
	command.YesFlag(cmd, &yes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what := "app"
		if fn {
			what = "function"
			if err := command.CheckFunction(args[0]); err != nil {
				return err
			}
		}
		if err := c.Sure(yes, what, args[0]); err != nil {
			return err
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		if fn {
			err = client.Missing(cl.Call(cmd.Context(), "DELETE", client.FunctionPath(args[0]), nil, nil), command.NoFunction, args[0])
		} else {
			err = cl.Call(cmd.Context(), "DELETE", client.AppPath(args[0]), nil, nil)
		}
		if err != nil {
			return err
		}
		return c.Removed(what, args[0])
	}
	return cmd
}
