package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/stream"
)

func (c *program) logsCommand() *cobra.Command {
	var follow bool
	var since, grep, app string
	cmd := &cobra.Command{
		Use: "logs [FUNCTION]", Short: "Print the logs of functions",
		Long:    "Print the logs of a function, of an app's functions, or of all. With --json each line is one JSON object.\nThe START line of a call says what triggered it: api (Invoke), url, http (a route of an app), async (an event),\nqueue or subject (a batch of messages), authorizer.",
		Example: "  hansom logs -f --app hello\n  hansom logs hello-node --since 2h --grep ERROR",
		Args:    command.AtMost(1),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now")
	cmd.Flags().StringVar(&since, "since", "1h", "how far back: a duration such as 10m, or a time such as 2026-11-23T10:00:00Z")
	cmd.Flags().StringVar(&grep, "grep", "", "only lines that match this regular expression")
	cmd.Flags().StringVar(&app, "app", "", "only functions of this app")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := sinceTime(since)
		if err != nil {
			return err
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		q := url.Values{"since": {from.Format(time.RFC3339Nano)}}
		for key, value := range map[string]string{"function": strings.Join(args, ""), "app": app, "grep": grep} {
			if value != "" {
				q.Set(key, value)
			}
		}
		if follow {
			q.Set("follow", "1")
		}
		lines := 0
		err = cl.Logs(cmd.Context(), q, func(e hansom.LogEvent) error {
			lines++
			return c.printLog(e)
		})
		if err == nil && lines == 0 {
			c.Note("no lines since %s; --since 24h looks further back", localTime(from, time.DateTime))
		}
		if follow && errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how following ends
		}
		return err
	}
	return cmd
}

func sinceTime(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, command.Usagef("--since %q is neither a duration such as 10m nor a time such as 2026-11-23T10:00:00Z", s)
}

func (c *program) printLog(e hansom.LogEvent) error {
	if c.JSON {
		return json.NewEncoder(c.Out).Encode(e)
	}
	function := e.Function
	if e.Source != "" { // the first line of a call
		function += " (" + e.Source + ")"
	}
	return stream.Event(c.Out, localTime(e.Time, "2006-01-02 15:04:05.000"), function, e.Message)
}

// localTime formats t with a layout that begins with the date, which is left out for today's.
func localTime(t time.Time, layout string) string {
	text, today := t.Local().Format(layout), time.Now().Format(time.DateOnly)
	return strings.TrimPrefix(text, today+" ")
}
