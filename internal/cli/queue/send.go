package queue

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
)

// message is what the flags of send say.
type message struct {
	group, dedup string
	delay        time.Duration
	attributes   []string
}

func (c *commands) sendCommand() *cobra.Command {
	var in message
	cmd := &cobra.Command{
		Use: "send QUEUE BODY", Short: "Send a message to a queue",
		Long: "Send a message and print its id. BODY is text, @FILE, or - for standard input. A FIFO queue needs --group, and --dedup\n" +
			"unless it takes the body for it (dedup: content).",
		Example: "  hansom queue send orders-charge '{\"order\":1}' --attribute kind=order\n" +
			"  hansom queue send orders-charge @event.json --delay 5s\n" +
			"  echo later | hansom queue send orders-ledger.fifo - --group ada --dedup 1",
		Args: command.Exactly(2),
	}
	f := cmd.Flags()
	f.StringVar(&in.group, "group", "", "message group, within which a FIFO queue keeps the order")
	f.StringVar(&in.dedup, "dedup", "", "deduplication id: a FIFO queue takes a message with the same one once in five minutes")
	f.DurationVar(&in.delay, "delay", 0, "time before the message can be received, up to 15m; default: the queue's")
	f.StringArrayVar(&in.attributes, "attribute", nil, "message attribute, name=value; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := c.body(args[1])
		if err != nil {
			return err
		}
		request := map[string]any{"MessageBody": body}
		if in.group != "" {
			request["MessageGroupId"] = in.group
		}
		if in.dedup != "" {
			request["MessageDeduplicationId"] = in.dedup
		}
		if cmd.Flags().Changed("delay") {
			if in.delay%time.Second != 0 || in.delay < 0 || in.delay > 15*time.Minute {
				return command.Usagef("--delay %s must be whole seconds, up to 15m", in.delay)
			}
			request["DelaySeconds"] = int(in.delay / time.Second)
		}
		attributes := map[string]any{}
		for _, a := range in.attributes {
			name, value, ok := strings.Cut(a, "=")
			if !ok || name == "" || value == "" {
				return command.Usagef("--attribute %q must be name=value", a)
			}
			attributes[name] = map[string]string{"DataType": "String", "StringValue": value}
		}
		if len(attributes) > 0 {
			request["MessageAttributes"] = attributes
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		q, err := cl.Queue(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		switch {
		case q.FIFO && in.group == "":
			return command.Usagef("%s keeps the order within groups; name one with --group", q.Name)
		case !q.FIFO && in.dedup != "":
			return command.Usagef("%s is no FIFO queue and knows no --dedup", q.Name)
		}
		request["QueueUrl"] = q.URL()
		var sent struct{ MessageId, SequenceNumber string }
		if err := cl.SQS(cmd.Context(), "SendMessage", request, &sent); err != nil {
			return err
		}
		if c.JSON {
			out := map[string]string{"id": sent.MessageId}
			if sent.SequenceNumber != "" {
				out["sequence"] = sent.SequenceNumber
			}
			return c.PrintJSON(out)
		}
		c.Printf("%s\n", sent.MessageId)
		return nil
	}
	return cmd
}

// body is the text of a message, without the last end of line that a file has.
func (c *commands) body(arg string) (string, error) {
	text, err := c.Text(arg)
	if err != nil {
		return "", err
	}
	if arg == "-" || strings.HasPrefix(arg, "@") {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	if text == "" {
		return "", command.Usagef("the message is empty; SQS takes none without a body")
	}
	return text, nil
}
