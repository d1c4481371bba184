package cli

import (
	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
)

func (c *program) planCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan [DIR]", Short: "Show what deploy would change",
		Long: "Build the app of a folder (default: this one) and show what deploying it would change. Nothing is\n" +
			"uploaded but the list of the files of its site.",
		Example: "  hansom plan examples/hello",
		Args:    command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := c.prepare(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			plan, err := d.plan(cmd.Context())
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(plan)
			}
			c.printChanges(plan)
			return nil
		},
	}
}
