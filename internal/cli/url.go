package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) urlCommand() *cobra.Command {
	var create, remove bool
	var authType string
	cmd := &cobra.Command{
		Use: "url NAME", Short: "Print the address of an app or of a function",
		Long: "Print the address of an app, or the function URL of a function. --create gives a function a URL, or changes the\n" +
			"--auth of the one it has: NONE is open to everybody, AWS_IAM takes signed requests.",
		Example: "  hansom url hello\n  hansom url hello-node --create --auth NONE",
		Args:    exactly(1),
	}
	cmd.Flags().BoolVar(&create, "create", false, "give the function a URL")
	cmd.Flags().BoolVar(&remove, "rm", false, "remove the function's URL")
	cmd.Flags().StringVar(&authType, "auth", "AWS_IAM", "with --create: NONE or AWS_IAM")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if create && remove {
			return usagef("--create and --rm do not go together")
		}
		if authType != "NONE" && authType != "AWS_IAM" {
			return usagef("--auth is NONE or AWS_IAM, not %q", authType)
		}
		if !create && cmd.Flags().Changed("auth") {
			return usagef("--auth goes with --create")
		}
		cl, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		name := args[0]
		if !create && !remove {
			var app appInfo
			err := cl.call(cmd.Context(), "GET", appPath(name), nil, &app)
			if err == nil {
				return c.printURL(app.URL)
			}
			if refused, ok := errors.AsType[*apiError](err); !ok || refused.status != http.StatusNotFound {
				return err
			}
		}
		method, body := "GET", []byte(nil)
		switch {
		case create:
			method = "POST"
			if body, err = json.Marshal(map[string]string{"AuthType": authType}); err != nil {
				return err
			}
		case remove:
			method = "DELETE"
		}
		path := strings.Replace(functionPath(name), "2015-03-31", "2021-10-31", 1) + "/url"
		send := func() (*http.Response, error) {
			return cl.send(cmd.Context(), "lambda", method, path, http.Header{}, bytes.NewReader(body), int64(len(body)), digest(body))
		}
		resp, err := send()
		if refused, ok := errors.AsType[*apiError](err); ok && create && refused.status == http.StatusConflict { // it has one
			if method = "PUT"; !cmd.Flags().Changed("auth") {
				method, body = "GET", nil
			}
			resp, err = send()
		}
		switch {
		case create:
			err = missing(err, "there is no function %q; `hansom ls` lists them", name)
		case remove:
			err = missing(err, "there is no function %q with a URL", name)
		default:
			err = missing(err, "there is no app %q and no function %q with a URL; `hansom url %s --create` gives a function one", name, name, name)
		}
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if remove {
			return c.removed("the URL of", name)
		}
		var out struct{ FunctionUrl string } // the Lambda API's spelling
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			return fmt.Errorf("the server's answer broke off: %w", err)
		}
		return c.printURL(out.FunctionUrl)
	}
	return cmd
}

func (c *command) printURL(url string) error {
	if c.json {
		return c.printJSON(map[string]string{"url": url})
	}
	c.printf("%s\n", url)
	return nil
}
