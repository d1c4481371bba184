package queue

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

func (c *commands) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [APP]", Short: "List the queues of the project, or of one app",
		Long: "List queues with their messages: those that can be received, those that were and are hidden meanwhile, and those whose\n" +
			"delay has not passed. CONSUMERS are the functions that are called with them; below a queue is why one is not.",
		Example: "  hansom queue ls\n  hansom queue ls orders", Args: command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			app := strings.Join(args, "")
			list, err := cl.Queues(cmd.Context(), app)
			if err == nil && app != "" && len(list) == 0 {
				_, err = cl.App(cmd.Context(), app) // is there one?
			}
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(append([]client.Queue{}, list...))
			}
			if len(list) == 0 {
				c.Note("there are no queues; list them in hansom.yaml, such as queues: {jobs: {retries: 3, deadLetter: jobs-dead}}")
				return nil
			}
			c.Out.Table(Rows(list))
			return nil
		},
	}
}

// Rows is a table of queues.
func Rows(list []client.Queue) (header []string, rows [][]string) {
	for i := range list {
		q := &list[i]
		dead := "-"
		if q.DeadLetters != "" {
			dead = q.DeadLetters + " after " + strconv.Itoa(q.Receives)
		}
		var consumers, problems []string
		for _, x := range q.Consumers {
			state := ""
			if x.State != "Enabled" {
				state = " (" + strings.ToLower(x.State) + ")"
			}
			consumers = append(consumers, x.Function+state)
			if x.Problem != "" {
				problems = append(problems, x.Problem)
			}
		}
		rows = append(rows, []string{q.Name, strconv.Itoa(q.Ready), strconv.Itoa(q.InFlight), strconv.Itoa(q.Delayed), dead, cmp.Or(strings.Join(consumers, ", "), "-")})
		for _, p := range problems {
			rows = append(rows, []string{"  error: " + strings.TrimPrefix(p, "PROBLEM: ")})
		}
	}
	return []string{"QUEUE", "READY", "IN FLIGHT", "DELAYED", "DEAD LETTERS", "CONSUMERS"}, rows
}
