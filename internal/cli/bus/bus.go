// Package bus holds the commands for the events of buses: send, tail and test-pattern.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/stream"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// commands of one command line.
type commands struct{ *command.Context }

// Command returns the command that has them. args are those of a command that only has others.
func Command(c *command.Context, args cobra.PositionalArgs) *cobra.Command {
	b := &commands{c}
	cmd := &cobra.Command{
		Use: "events", Short: "Send events to a bus, watch a bus, try event patterns",
		Long: "Events go to a bus, and from there to the targets of the rules that they match: those of hansom.yaml (on: event) and those\n" +
			"made through the EventBridge API. Every project has the bus \"default\".",
		Example: "  hansom events tail\n  hansom events send --source shop --type paid '{\"total\":120}'",
		Args:    args,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(b.sendCommand(), b.tailCommand(), b.testCommand())
	return cmd
}

const defaultBus = "default"

func (c *commands) sendCommand() *cobra.Command {
	var bus, source, kind string
	var resources []string
	cmd := &cobra.Command{
		Use: "send DETAIL", Short: "Send an event to a bus",
		Long: "Send an event and print its id. DETAIL is a JSON object: text, @FILE, or - for standard input. The answer comes when the event\n" +
			"is stored for, or has reached, the targets of all rules that it matches.",
		Example: "  hansom events send --source shop --type paid '{\"total\":120}'\n" +
			"  hansom events send --bus partners --source shop --type paid @detail.json",
		Args: command.Exactly(1),
	}
	f := cmd.Flags()
	f.StringVar(&bus, "bus", defaultBus, "name of the bus")
	f.StringVar(&source, "source", "", "where the event comes from, such as shop (required)")
	f.StringVar(&kind, "type", "", "what it tells of: its detail-type, such as paid (required)")
	f.StringArrayVar(&resources, "resource", nil, "ARN that the event is about; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if source == "" || kind == "" {
			return command.Usagef("an event needs --source and --type")
		}
		detail, err := c.Text(args[0])
		if err != nil {
			return err
		}
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(detail), &object) != nil || object == nil {
			return command.Usagef("DETAIL is not a JSON object; quote it for the shell, such as '{\"total\":120}'")
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		if err := cl.AWS(cmd.Context(), "events", "AWSEvents.DescribeEventBus", map[string]string{"Name": bus}, nil); err != nil {
			return err // PutEvents says nothing of a bus that is not there
		}
		var out struct {
			Entries []struct{ EventId, ErrorCode, ErrorMessage string }
		}
		entry := map[string]any{"EventBusName": bus, "Source": source, "DetailType": kind, "Detail": detail, "Resources": append([]string{}, resources...)}
		if err := cl.AWS(cmd.Context(), "events", "AWSEvents.PutEvents", map[string]any{"Entries": []any{entry}}, &out); err != nil {
			return err
		}
		if len(out.Entries) != 1 {
			return errors.New("the server's answer does not say what became of the event")
		}
		if e := out.Entries[0]; e.ErrorCode != "" {
			return hansom.Errorf(hansom.Invalid, "send event", "%s", e.ErrorMessage).WithCode(e.ErrorCode)
		}
		if c.JSON {
			return c.PrintJSON(map[string]string{"id": out.Entries[0].EventId})
		}
		c.Printf("%s\n", out.Entries[0].EventId)
		return nil
	}
	return cmd
}

func (c *commands) tailCommand() *cobra.Command {
	var bus, text string
	cmd := &cobra.Command{
		Use: "tail", Short: "Show the events that come to a bus",
		Long: "Show each event that comes to a bus from now on, and the rules that it matches, until Ctrl-C. With --json each line is an object with\n" +
			"event and rules.",
		Example: "  hansom events tail\n  hansom events tail --bus partners --pattern '{\"source\":[\"shop\"]}' --json",
		Args:    command.Exactly(0),
	}
	cmd.Flags().StringVar(&bus, "bus", defaultBus, "name of the bus")
	cmd.Flags().StringVar(&text, "pattern", "", "only events that match this event pattern: text, @FILE, or - for standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if text != "" {
			if text, err = c.Text(text); err != nil {
				return err
			}
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		err = cl.FollowBus(cmd.Context(), bus, text, c.print)
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how it ends
		}
		return err
	}
	return cmd
}

// print shows an event in one line.
func (c *commands) print(f client.Followed) error {
	if c.JSON {
		return json.NewEncoder(c.Out).Encode(f)
	}
	var e struct {
		Time       string
		Source     string
		DetailType string `json:"detail-type"`
		Detail     json.RawMessage
	}
	if err := json.Unmarshal(f.Event, &e); err != nil {
		return fmt.Errorf("the server sent what is no event: %w", err)
	}
	to := "no rule"
	if len(f.Rules) > 0 {
		to = strings.Join(f.Rules, ", ")
	}
	return stream.Event(c.Out, e.Time, e.Source, fmt.Sprintf("%s -> %s  %s", e.DetailType, to, e.Detail))
}

func (c *commands) testCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test-pattern PATTERN EVENT", Short: "Say whether an event matches an event pattern",
		Long: "Say whether an event matches an event pattern. Both are JSON: text, @FILE, or one of them - for standard input. It ends with exit\n" +
			"code 1 when the event does not match. No server is needed.",
		Example: "  hansom events test-pattern '{\"source\":[\"shop\"]}' @event.json\n" +
			"  hansom events test-pattern @pattern.json - <event.json",
		Args: command.Exactly(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] == "-" && args[1] == "-" {
				return command.Usagef("standard input can be the pattern or the event, not both")
			}
			var texts [2]string
			for i, arg := range args {
				var err error
				if texts[i], err = c.Text(arg); err != nil {
					return err
				}
			}
			p, err := pattern.Parse(texts[0])
			if err != nil {
				return err
			}
			ok, err := p.Match([]byte(texts[1]))
			if err != nil {
				return hansom.Errorf(hansom.Invalid, "test pattern", "the event is no JSON object")
			}
			message := "the event does not match"
			if c.JSON {
				message = ""
				err = c.PrintJSON(map[string]bool{"matches": ok})
			} else if ok {
				c.Printf("The event matches.\n")
			}
			if err == nil && !ok {
				err = &command.ExitError{Code: command.ExitFailure, Message: message}
			}
			return err
		},
	}
}
