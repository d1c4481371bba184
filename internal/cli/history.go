package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

func (c *program) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history APP", Short: "List the deployments of an app: when, by whom, what changed",
		Long:    "List the deployments of an app, the latest first. The last 100 are kept; `hansom rollback` goes back to one.",
		Example: "  hansom history hello",
		Args:    command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := cl.Deployments(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(map[string]any{"app": args[0], "deployments": list})
			}
			var rows [][]string
			for _, d := range list {
				rows = append(rows, []string{strconv.FormatInt(d.Number, 10), terminal.Ago(d.Created), who(d.Actor), summary(&d)})
			}
			c.Out.Table([]string{"DEPLOYMENT", "WHEN", "WHO", "WHAT"}, rows)
			return nil
		},
	}
}

// who is the last part of an ARN: "root", "user/ci".
func who(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

// summary of what a deployment changed.
func summary(d *client.Deployment) string {
	var parts []string
	if d.Restored > 0 {
		parts = append(parts, fmt.Sprintf("rollback to %d", d.Restored))
	}
	for _, ch := range d.Changes {
		text := ch.Action + " " + ch.Name
		if ch.Action == "update" && len(ch.Details) > 0 {
			text += " (" + strings.Join(ch.Details, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func (c *program) rollbackCommand() *cobra.Command {
	var to int64
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rollback APP", Short: "Make an app what it was at an earlier deployment",
		Long: "Make an app what it was at an earlier deployment, all or nothing: functions, variables, routes, and the code of then.\n" +
			"Without --to that is the deployment before the current one. It becomes a new deployment; `hansom history` lists them.",
		Example: "  hansom rollback hello --dry-run\n  hansom rollback hello --to 1",
		Args:    command.Exactly(1),
	}
	cmd.Flags().Int64Var(&to, "to", 0, "number of the deployment (default: the one before the current)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change; change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("to") && to < 1 {
			return command.Usagef("--to is the number of a deployment; `hansom history %s` lists them", args[0])
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		plan, err := cl.Rollback(cmd.Context(), args[0], to, dryRun)
		if err != nil {
			return err
		}
		var functions []client.Function
		if !dryRun {
			if functions, err = c.settle(cmd.Context(), cl, plan.App); err != nil {
				return err
			}
		}
		if c.JSON {
			return c.PrintJSON(plan)
		}
		c.printChanges(plan)
		if !dryRun {
			c.printAddresses(plan)
		}
		return c.warn(functions)
	}
	return cmd
}
