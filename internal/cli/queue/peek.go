package queue

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

func (c *commands) peekCommand() *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use: "peek QUEUE", Short: "Show the first messages of a queue without taking them",
		Long: "Show the oldest messages of a queue, also those that are in flight or delayed. None of them is taken: RECEIVED, how often\n" +
			"that was done, stays as it is.",
		Example: "  hansom queue peek orders-charge\n  hansom queue peek orders-charge-dead --limit 100 --json", Args: command.Exactly(1),
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 10, "most messages, 1 to 100")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 || limit > 100 {
			return command.Usagef("--limit %d is out of range: 1 to 100", limit)
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		list, err := cl.Peek(cmd.Context(), args[0], limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return c.PrintJSON(append([]client.Message{}, list...))
		}
		if len(list) == 0 {
			c.Note("%s is empty", args[0])
			return nil
		}
		var rows [][]string
		for i := range list {
			m := &list[i]
			rows = append(rows, []string{m.ID, terminal.Ago(m.Sent), strconv.Itoa(m.Receives), cmp.Or(m.Group, "-"), m.Body})
			if text := attributes(m); text != "" {
				rows = append(rows, []string{"  " + text})
			}
		}
		c.Out.Table([]string{"MESSAGE", "SENT", "RECEIVED", "GROUP", "BODY"}, rows)
		return nil
	}
	return cmd
}

// attributes are those of a message in one line.
func attributes(m *client.Message) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		a := m.Attributes[name]
		value := a.Value
		if len(a.Binary) > 0 {
			value = terminal.Count(len(a.Binary), "byte")
		}
		out = append(out, name+"="+value)
	}
	return strings.Join(out, " ")
}
