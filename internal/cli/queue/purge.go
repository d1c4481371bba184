package queue

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

func (c *commands) purgeCommand() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use: "purge QUEUE", Short: "Delete all messages of a queue",
		Long:    "Delete all messages of a queue, also those in flight; once a minute. On a terminal it asks first; elsewhere it needs --yes.",
		Example: "  hansom queue purge orders-charge --yes", Args: command.Exactly(1),
	}
	command.YesFlag(cmd, &yes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Sure(yes, "messages of", args[0]); err != nil {
			return err
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		q, err := cl.Queue(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		err = cl.SQS(cmd.Context(), "PurgeQueue", map[string]string{"QueueUrl": q.URL()}, nil)
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == "PurgeQueueInProgress" { // 403, but not for the credentials
			return fmt.Errorf("%s was purged less than a minute ago; try again later", q.Name)
		}
		if err != nil {
			return err
		}
		return c.Removed("all messages of", q.Name)
	}
	return cmd
}
