package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

// pace is how often the state of a task is asked for.
const pace = 200 * time.Millisecond

// task is what the SQS API says of a move task.
type task struct {
	Status        string
	Moved         int    `json:"ApproximateNumberOfMessagesMoved"`
	Total         int    `json:"ApproximateNumberOfMessagesToMove"`
	FailureReason string `json:"FailureReason"`
}

func (c *commands) redriveCommand() *cobra.Command {
	var to string
	rate := 0
	cmd := &cobra.Command{
		Use: "redrive QUEUE", Short: "Move the messages of a dead-letter queue back",
		Long: "Move the messages of a dead-letter queue back to the queues that they come from, or all to one with --to, and wait until\n" +
			"that is done. They are new messages there: their attempts begin again.",
		Example: "  hansom queue redrive orders-charge-dead\n  hansom queue redrive orders-charge-dead --to orders-later --rate 100", Args: command.Exactly(1),
	}
	cmd.Flags().StringVar(&to, "to", "", "queue that they go to")
	cmd.Flags().IntVar(&rate, "rate", 0, "most messages a second, 1 to 500; default: as fast as it goes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if rate < 0 || rate > 500 || rate == 0 && cmd.Flags().Changed("rate") {
			return command.Usagef("--rate %d is out of range: 1 to 500", rate)
		}
		ctx := cmd.Context()
		cl, err := c.Client(ctx)
		if err != nil {
			return err
		}
		q, err := cl.Queue(ctx, args[0])
		if err != nil {
			return err
		}
		if len(q.Sources) == 0 {
			hint := "`hansom queue ls` shows which are"
			if q.DeadLetters != "" {
				hint = "its dead letters are in " + q.DeadLetters
			}
			return fmt.Errorf("%s is no dead-letter queue: %s", q.Name, hint)
		}
		request := map[string]any{"SourceArn": q.ARN}
		if to != "" {
			target, err := cl.Queue(ctx, to)
			if err != nil {
				return err
			}
			request["DestinationArn"] = target.ARN
		}
		if rate > 0 {
			request["MaxNumberOfMessagesPerSecond"] = rate
		}
		if err := cl.SQS(ctx, "StartMessageMoveTask", request, nil); err != nil {
			return err
		}
		t, err := c.follow(ctx, cl, q.ARN)
		if err != nil {
			return err
		}
		if t.Status != "COMPLETED" {
			return fmt.Errorf("moving stopped after %d of %s (%s); `hansom queue redrive %s` goes on, --to names where to", t.Moved, terminal.Count(t.Total, "message"),
				strings.TrimSpace(t.Status+" "+t.FailureReason), q.Name)
		}
		if c.JSON {
			return c.PrintJSON(map[string]int{"moved": t.Moved})
		}
		c.Printf("moved %s\n", terminal.Count(t.Moved, "message"))
		return nil
	}
	return cmd
}

// follow shows how the last task of a queue gets on until it has ended.
func (c *commands) follow(ctx context.Context, cl *client.Client, arn string) (task, error) {
	defer c.Progress("")
	for {
		var out struct{ Results []task }
		if err := cl.SQS(ctx, "ListMessageMoveTasks", map[string]any{"SourceArn": arn, "MaxResults": 1}, &out); err != nil {
			return task{}, err
		}
		if len(out.Results) == 0 {
			return task{}, fmt.Errorf("the queue was deleted while its messages were moved")
		}
		t := out.Results[0]
		if t.Status != "RUNNING" && t.Status != "CANCELLING" {
			return t, nil
		}
		c.Progress("moving: %d of %d", t.Moved, t.Total)
		select {
		case <-ctx.Done():
			return task{}, ctx.Err()
		case <-time.After(pace):
		}
	}
}
