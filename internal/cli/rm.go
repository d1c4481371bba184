package cli

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func appPath(app string) string { return "/_hansom/v1/apps/" + url.PathEscape(app) }

func functionPath(name string) string { return "/2015-03-31/functions/" + url.PathEscape(name) }

func (c *command) rmCommand() *cobra.Command {
	var fn, yes bool
	cmd := &cobra.Command{
		Use: "rm APP", Short: "Remove an app with its functions, or one function",
		Long:    "Remove an app with its functions, routes and history; with --function, one function. On a terminal it asks first.",
		Example: "  hansom rm hello\n  hansom rm --function my-function --yes",
		Args:    exactly(1),
	}
	cmd.Flags().BoolVar(&fn, "function", false, "the name is that of a function")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		what := "app"
		if fn {
			what = "function"
		}
		if !yes && isTerminal(c.Stdin) && !c.confirm("remove the %s %s?", what, args[0]) {
			return &exitError{ExitFailure, "nothing was removed"}
		}
		if fn {
			resp, err := cl.send(cmd.Context(), "lambda", "DELETE", functionPath(args[0]), http.Header{}, nil, 0, digest(nil))
			if err != nil {
				return err
			}
			resp.Body.Close()
		} else if err := cl.call(cmd.Context(), "DELETE", appPath(args[0]), nil, nil); err != nil {
			return err
		}
		return c.removed(what, args[0])
	}
	return cmd
}

func (c *command) removed(what, name string) error {
	if c.json {
		return c.printJSON(map[string]string{"removed": name})
	}
	c.printf("removed %s %s\n", what, name)
	return nil
}

func (c *command) confirm(format string, args ...any) bool {
	fmt.Fprintf(c.Stderr, format+" [y/N] ", args...)
	line, _ := bufio.NewReader(c.Stdin).ReadString('\n') // an end without an answer is a no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
