// Package queue holds the commands for queues: ls, send, peek, redrive and purge.
package queue

import (
	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
)

// commands of one command line.
type commands struct{ *command.Context }

// Command returns the command that has them. args are those of a command that only has others.
func Command(c *command.Context, args cobra.PositionalArgs) *cobra.Command {
	q := &commands{c}
	cmd := &cobra.Command{
		Use: "queue", Short: "List queues, send to them, look into them, move dead letters back",
		Long: "Queues are those of hansom.yaml, called APP-KEY and with .fifo at the end when they keep an order, and those made through\n" +
			"the SQS API.",
		Example: "  hansom queue ls\n  hansom queue send orders-charge 'a message'",
		Args:    args,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(q.lsCommand(), q.sendCommand(), q.peekCommand(), q.redriveCommand(), q.purgeCommand())
	return cmd
}
