// Package schedule holds the commands for schedules: ls and next.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cron"
)

// commands of one command line.
type commands struct{ *command.Context }

// Command returns the command that has them. args are those of a command that only has others.
func Command(c *command.Context, args cobra.PositionalArgs) *cobra.Command {
	s := &commands{c}
	cmd := &cobra.Command{
		Use: "schedule", Short: "List schedules, show when they come",
		Long: "Schedules are those of hansom.yaml, called APP-KEY-1 and so on, and those made through the EventBridge Scheduler API. One in\n" +
			"another group than default is called GROUP/NAME.",
		Example: "  hansom schedule ls\n  hansom schedule next 'cron(0 9 ? * MON-FRI *)' --timezone Europe/Berlin",
		Args:    args,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.lsCommand(), s.nextCommand())
	return cmd
}

func (c *commands) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [APP]", Short: "List the schedules of the project, or of one app",
		Long:    "List schedules with the time at which they come next, in their own time zone.",
		Example: "  hansom schedule ls\n  hansom schedule ls orders", Args: command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			app := strings.Join(args, "")
			list, err := cl.Schedules(cmd.Context(), app)
			if err == nil && app != "" && len(list) == 0 {
				_, err = cl.App(cmd.Context(), app) // is there one?
			}
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(append([]client.Schedule{}, list...))
			}
			if len(list) == 0 {
				c.Note(`there are no schedules; list them with a function in hansom.yaml, such as schedule: ["rate(5 minutes)"]`)
				return nil
			}
			var rows [][]string
			for i := range list {
				s := &list[i]
				next := "-"
				switch {
				case !s.Enabled:
					next = "disabled"
				case len(s.Next) > 0:
					next = s.Next[0].In(zoneOf(s.Timezone)).Format(time.DateTime)
				}
				rows = append(rows, []string{s.Path(), s.Expression, s.Timezone, next, s.Target[strings.LastIndexByte(s.Target, ':')+1:]})
			}
			c.Out.Table([]string{"SCHEDULE", "EXPRESSION", "TIME ZONE", "NEXT", "TARGET"}, rows)
			return nil
		},
	}
}

func (c *commands) nextCommand() *cobra.Command {
	timezone, count := "", 5
	cmd := &cobra.Command{
		Use: "next SCHEDULE|EXPRESSION", Short: "Show the next times of a schedule, or of an expression",
		Long: "Show when a schedule comes next, or when one would with this expression: rate(VALUE UNIT), of which the first time is now,\n" +
			"cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR) or at(YYYY-MM-DDTHH:MM:SS). An expression needs no server.",
		Example: "  hansom schedule next orders-report-1\n" +
			"  hansom schedule next 'cron(0 9 ? * MON-FRI *)' --timezone Europe/Berlin --count 3\n" +
			"  hansom schedule next 'rate(5 minutes)' --json",
		Args: command.Exactly(1),
	}
	cmd.Flags().StringVar(&timezone, "timezone", "", "of the time zone database, in which times are shown and an expression is meant (default UTC, or the schedule's)")
	cmd.Flags().IntVarP(&count, "count", "n", count, "how many times, 1 to 100")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if count < 1 || count > 100 {
			return command.Usagef("--count %d is out of range: 1 to 100", count)
		}
		zone, err := time.LoadLocation(timezone) // "" is UTC
		if err != nil || timezone == "Local" {
			return command.Usagef("--timezone %s is not in the time zone database; write one such as Europe/Berlin", timezone)
		}
		var times []time.Time
		if strings.Contains(args[0], "(") {
			times, err = upcoming(args[0], zone, count)
		} else {
			var s client.Schedule
			if s, err = c.find(cmd, args[0], count); err == nil {
				times = s.Next
				if timezone == "" {
					zone = zoneOf(s.Timezone)
				}
				if !s.Enabled {
					c.Note("%s is disabled", args[0])
				}
			}
		}
		if err != nil {
			return err
		}
		out := []string{}
		for _, t := range times {
			out = append(out, shown(t, zone))
		}
		if c.JSON {
			return c.PrintJSON(out)
		}
		if len(out) == 0 {
			c.Note("it does not come any more")
		}
		for _, line := range out {
			c.Printf("%s\n", line)
		}
		return nil
	}
	return cmd
}

// find asks the server for a schedule.
func (c *commands) find(cmd *cobra.Command, path string, count int) (client.Schedule, error) {
	cl, err := c.Client(cmd.Context())
	if err != nil {
		return client.Schedule{}, err
	}
	return cl.Schedule(cmd.Context(), path, count)
}

// upcoming are the next times of an expression.
func upcoming(text string, zone *time.Location, count int) ([]time.Time, error) {
	e, err := cron.Parse(text)
	if err != nil {
		return nil, command.UsageError{Err: fmt.Errorf("the expression %s cannot be used: %w", text, err)}
	}
	now := time.Now().Truncate(time.Second)
	t := cron.Times{Expression: e, Zone: zone}
	after := now
	if e.Kind() == cron.Rate {
		t.Start, after = now, now.Add(-1)
	}
	var list []time.Time
	for at, ok := t.Next(after); ok && len(list) < count; at, ok = t.Next(at) {
		list = append(list, at)
	}
	return list, nil
}

// zoneOf is the time zone of a schedule; UTC when this program does not know it.
func zoneOf(name string) *time.Location {
	if zone, err := time.LoadLocation(name); err == nil {
		return zone
	}
	return time.UTC
}

func shown(t time.Time, zone *time.Location) string { return t.In(zone).Format(time.RFC3339) }
