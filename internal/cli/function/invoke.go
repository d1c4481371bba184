package function

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/events"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// invocation is what the flags of invoke say.
type invocation struct {
	file, event                             string
	sets                                    []string
	qualifier                               string
	quiet, async, dryRun, stream, listEvent bool
}

func (c *commands) invokeCommand() *cobra.Command {
	var in invocation
	cmd := &cobra.Command{
		Use: "invoke FUNCTION [PAYLOAD]", Short: "Invoke a function and print what it returns",
		Long: "Invoke a function and print what it returns, then its log on standard error. PAYLOAD is JSON, @FILE, or - for standard\n" +
			"input; --event takes a sample of what an AWS service sends; without any the event is {}. --set changes values of it.\n" +
			"A function that returns an error ends the command with exit code 3.",
		Example: "  hansom invoke hello-node '{\"name\":\"Ada\"}'\n" +
			"  hansom invoke hello-node @event.json --quiet\n" +
			"  echo '{\"name\":\"Ada\"}' | hansom invoke hello-python -\n" +
			"  hansom invoke hello-node --event apigw --set pathParameters.name=Ada\n" +
			"  hansom invoke hello-go --stream\n" +
			"  hansom invoke --list-events",
	}
	f := cmd.Flags()
	f.StringVar(&in.file, "file", "", "file with the event, as @FILE; - for standard input")
	f.StringVar(&in.event, "event", "", "send a sample event; --list-events shows their names")
	f.StringArrayVar(&in.sets, "set", nil, "set a value of the event: path=value, such as Records.0.body=hello; may be repeated")
	f.BoolVar(&in.listEvent, "list-events", false, "list the sample events")
	f.StringVar(&in.qualifier, "qualifier", "", "version or alias")
	f.BoolVarP(&in.quiet, "quiet", "q", false, "do not show the log (also --no-logs)")
	f.BoolVar(&in.async, "async", false, "do not wait: the function runs once the event is accepted")
	f.BoolVar(&in.dryRun, "dry-run", false, "check that the function is there and may be invoked; do not run it")
	f.BoolVar(&in.stream, "stream", false, "print the answer as it comes")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "no-logs" {
			name = "quiet"
		}
		return pflag.NormalizedName(name)
	})
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if in.listEvent {
			return command.Exactly(0)(cmd, args)
		}
		return command.FunctionAnd(0, 1)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case in.listEvent:
			return c.listEvents()
		case in.async && in.dryRun, in.async && in.stream, in.dryRun && in.stream:
			return command.Usagef("--async, --dry-run and --stream do not go together")
		}
		payload, err := c.payload(&in, args[1:])
		if err != nil {
			return err
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		call := client.Invocation{Function: args[0], Qualifier: in.qualifier, Payload: payload, Type: "RequestResponse", LogTail: !in.quiet}
		switch {
		case in.async:
			call.Type, call.LogTail = "Event", false
		case in.dryRun:
			call.Type, call.LogTail = "DryRun", false
		}
		var result *client.Result
		if in.stream {
			end := endOfLine{w: c.Out}
			var answer bytes.Buffer
			w := io.Writer(&end)
			if c.JSON {
				w = &answer
			}
			if result, err = cl.Stream(cmd.Context(), call, w); err == nil {
				if end.missing {
					c.Printf("\n")
				}
				if result.Error == "" {
					result.Payload = answer.Bytes()
				}
			}
		} else {
			result, err = cl.Invoke(cmd.Context(), call)
		}
		if err != nil {
			if in.qualifier != "" {
				return client.Missing(err, "there is no function %q with a version or alias %q", args[0], in.qualifier)
			}
			return client.Missing(err, command.NoFunction, args[0])
		}
		return c.printResult(args[0], &in, result)
	}
	return cmd
}

// endOfLine notes whether what was written ends without the end of a line.
type endOfLine struct {
	w       io.Writer
	missing bool
}

func (e *endOfLine) Write(p []byte) (int, error) {
	if len(p) > 0 {
		e.missing = p[len(p)-1] != '\n'
	}
	return e.w.Write(p)
}

func (c *commands) listEvents() error {
	if c.JSON {
		return c.PrintJSON(events.Samples)
	}
	var rows [][]string
	for _, s := range events.Samples {
		rows = append(rows, []string{s.Name, s.Description})
	}
	c.Out.Table([]string{"EVENT", "WHAT"}, rows)
	return nil
}

// payload reads the event that flags and args name.
func (c *commands) payload(in *invocation, args []string) (data []byte, err error) {
	file := in.file
	switch {
	case len(args) > 0 && (file != "" || in.event != ""), file != "" && in.event != "":
		return nil, command.Usagef("PAYLOAD, --file and --event do not go together")
	case len(args) > 0 && strings.HasPrefix(args[0], "@"):
		file = args[0][1:]
	case len(args) > 0:
		data = []byte(args[0])
		if args[0] == "-" {
			file = "-"
		}
	case in.event != "":
		var ok bool
		if data, ok = events.Read(in.event); !ok {
			if near := manifest.Nearest(in.event, events.Names()); near != "" {
				return nil, command.Usagef("there is no event %q; did you mean %s?", in.event, near)
			}
			return nil, command.Usagef("there is no event %q; `hansom invoke --list-events` lists them", in.event)
		}
	default:
		data = []byte("{}")
	}
	switch file {
	case "":
	case "-":
		data, err = io.ReadAll(c.Stdin)
	default:
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(data) {
		return nil, command.Usagef("the payload is not JSON; quote it for the shell, such as '{\"name\":\"Ada\"}'")
	}
	if len(in.sets) > 0 {
		if data, err = events.Set(data, in.sets); err != nil {
			return nil, command.Usagef("--set %v", err)
		}
	}
	return data, nil
}

// printResult prints an answer, then the log, then what went wrong.
func (c *commands) printResult(function string, in *invocation, r *client.Result) error {
	failed := r.Error != ""
	exit := &command.ExitError{Code: command.ExitFunction}
	switch {
	case c.JSON && (in.async || in.dryRun):
		return c.PrintJSON(map[string]string{"requestId": r.RequestID})
	case c.JSON:
		out := map[string]any{"version": r.Version, "requestId": r.RequestID, "payload": jsonOrText(r.Payload), "log": r.LogTail}
		if failed {
			out["functionError"] = r.Error
		}
		if err := c.PrintJSON(out); err != nil || !failed {
			return err
		}
		return exit
	case in.async:
		c.Printf("accepted; `hansom logs %s` shows what request %s does\n", function, r.RequestID)
		return nil
	case in.dryRun:
		c.Printf("%s can be invoked\n", function)
		return nil
	}
	people := terminal.IsTerminal(c.Out)
	if !failed || !people {
		c.printPayload(r.Payload, people)
	}
	for line := range strings.Lines(r.LogTail) {
		fmt.Fprintln(c.Errs, c.Errs.Paint(terminal.Printable(strings.TrimRight(line, "\r\n\t ")), terminal.Dim))
	}
	if !failed {
		return nil
	}
	exit.Message = fmt.Sprintf("%s returned an error; `hansom logs %s` has its log", function, function)
	if people {
		c.printFunctionError(r.Payload)
	}
	return exit
}

// printPayload prints an answer as it is; for people, JSON is laid out.
func (c *commands) printPayload(payload []byte, people bool) {
	if len(payload) == 0 {
		return
	}
	var text bytes.Buffer
	if !people || json.Indent(&text, payload, "", "  ") != nil {
		text.Reset()
		text.Write(payload)
	}
	end := endOfLine{w: c.Out}
	if _, err := text.WriteTo(&end); err == nil && end.missing {
		c.Printf("\n")
	}
}

// printFunctionError shows the error that a runtime reports: type, message and stack. One in another form is shown as it is.
func (c *commands) printFunctionError(payload []byte) {
	var e struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
		Trace   []any  `json:"trace"`
		Stack   []any  `json:"stackTrace"`
	}
	if json.Unmarshal(payload, &e) != nil || e.Type == "" && e.Message == "" {
		c.printPayload(payload, true)
		return
	}
	head := strings.Trim(terminal.Printable(e.Type)+": "+printableLines(e.Message), ": ")
	fmt.Fprintln(c.Errs, c.Errs.Paint(head, terminal.Red))
	repeated := strings.Split(head, "\n") // at the beginning of Node's trace
	for _, frame := range append(e.Trace, e.Stack...) {
		text, ok := frame.(string)
		if !ok { // aws-lambda-go reports frames as objects
			var f struct {
				Path, Label string
				Line        int
			}
			if b, err := json.Marshal(frame); err != nil || json.Unmarshal(b, &f) != nil {
				continue
			}
			text = fmt.Sprintf("    at %s (%s:%d)", f.Label, f.Path, f.Line)
		}
		text = printableLines(strings.TrimRight(text, "\n"))
		if len(repeated) > 0 && text == repeated[0] {
			repeated = repeated[1:]
			continue
		}
		repeated = nil
		fmt.Fprintln(c.Errs, text)
	}
}

func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = terminal.Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

func jsonOrText(b []byte) any {
	if json.Valid(b) {
		return json.RawMessage(b)
	}
	return string(b)
}
