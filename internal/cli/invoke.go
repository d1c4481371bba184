package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) invokeCommand() *cobra.Command {
	var qualifier string
	var showLog bool
	cmd := &cobra.Command{
		Use: "invoke FUNCTION [PAYLOAD]", Short: "Invoke a function and print what it returns",
		Long: "Invoke a function and print what it returns. PAYLOAD is JSON, @FILE, or - for standard input; without it the event is {}.\n" +
			"A function that returns an error ends the command with exit code 3.",
		Example: "  hansom invoke hello-node '{\"name\":\"Ada\"}'\n  hansom invoke hello-node @event.json --log",
		Args:    between(1, 2),
	}
	cmd.Flags().StringVar(&qualifier, "qualifier", "", "version or alias")
	cmd.Flags().BoolVar(&showLog, "log", false, "print the end of the log to standard error")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		payload, err := c.payload(args[1:])
		if err != nil {
			return err
		}
		cl, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		path := "/2015-03-31/functions/" + url.PathEscape(args[0]) + "/invocations"
		if qualifier != "" {
			path += "?Qualifier=" + url.QueryEscape(qualifier)
		}
		header := http.Header{}
		if showLog || c.json {
			header.Set("X-Amz-Log-Type", "Tail")
		}
		resp, err := cl.send(cmd.Context(), "lambda", "POST", path, header, bytes.NewReader(payload), int64(len(payload)), digest(payload))
		if err != nil {
			if qualifier != "" {
				return missing(err, "there is no function %q with a version or alias %q", args[0], qualifier)
			}
			return missing(err, "there is no function %q; `hansom ls` lists them", args[0])
		}
		defer resp.Body.Close()
		result, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("the server's answer broke off: %w", err)
		}
		tail, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Amz-Log-Result"))
		if err != nil {
			return fmt.Errorf("the server's log result is not base64: %w", err)
		}
		failed := resp.Header.Get("X-Amz-Function-Error")
		if c.json {
			out := map[string]any{"version": resp.Header.Get("X-Amz-Executed-Version"), "payload": jsonOrText(result), "log": string(tail)}
			if failed != "" {
				out["functionError"] = failed
			}
			if err := c.printJSON(out); err != nil {
				return err
			}
			if failed != "" {
				return &exitError{code: ExitFunction}
			}
			return nil
		}
		if showLog {
			for line := range strings.Lines(string(tail)) {
				fmt.Fprintln(c.Stderr, printable(strings.TrimRight(line, "\r\n")))
			}
		}
		if _, err := c.Stdout.Write(result); err != nil {
			return err
		}
		if len(result) > 0 && result[len(result)-1] != '\n' {
			c.printf("\n")
		}
		if failed != "" {
			return &exitError{ExitFunction, fmt.Sprintf("%s returned an error; `hansom logs %s` has its log", args[0], args[0])}
		}
		return nil
	}
	return cmd
}

// payload reads the event that args name.
func (c *command) payload(args []string) (data []byte, err error) {
	switch {
	case len(args) == 0:
		return []byte("{}"), nil
	case args[0] == "-":
		data, err = io.ReadAll(c.Stdin)
	case strings.HasPrefix(args[0], "@"):
		data, err = os.ReadFile(args[0][1:])
	default:
		data = []byte(args[0])
	}
	if err == nil && !json.Valid(data) {
		err = usagef("the payload is not JSON; quote it for the shell, such as '{\"name\":\"Ada\"}'")
	}
	return data, err
}

func jsonOrText(b []byte) any {
	if json.Valid(b) {
		return json.RawMessage(b)
	}
	return string(b)
}
