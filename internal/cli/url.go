package cli

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

func (c *program) urlCommand() *cobra.Command {
	var create, remove bool
	var authType string
	var deployment int64
	cmd := &cobra.Command{
		Use: "url NAME", Short: "Print the address of an app or of a function",
		Long: "Print the address of an app, or the function URL of a function. --create gives a function a URL, or changes the\n" +
			"--auth of the one it has: NONE is open to everybody, AWS_IAM takes signed requests.",
		Example: "  hansom url hello\n  hansom url hello-node --create --auth NONE",
		Args:    command.Exactly(1),
	}
	cmd.Flags().BoolVar(&create, "create", false, "give the function a URL")
	cmd.Flags().BoolVar(&remove, "rm", false, "remove the function's URL")
	cmd.Flags().Int64Var(&deployment, "deployment", 0, "the address of the site of an app as this deployment has it")
	cmd.Flags().StringVar(&authType, "auth", "AWS_IAM", "with --create: NONE or AWS_IAM")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if create && remove {
			return command.Usagef("--create and --rm do not go together")
		}
		if (create || remove) && cmd.Flags().Changed("deployment") {
			return command.Usagef("--deployment goes with an app, --create and --rm with a function")
		}
		if authType != "NONE" && authType != "AWS_IAM" {
			return command.Usagef("--auth is NONE or AWS_IAM, not %q", authType)
		}
		if !create && cmd.Flags().Changed("auth") {
			return command.Usagef("--auth goes with --create")
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		name := args[0]
		if cmd.Flags().Changed("deployment") {
			return c.printPreview(cmd.Context(), cl, name, deployment)
		}
		if !create && !remove {
			app, err := cl.App(cmd.Context(), name)
			if err == nil {
				return c.printURL(app.URL)
			}
			if !client.IsStatus(err, http.StatusNotFound) {
				return err
			}
		}
		if err := command.CheckFunction(name); err != nil {
			return err
		}
		path := strings.Replace(client.FunctionPath(name), "2015-03-31", "2021-10-31", 1) + "/url"
		var out struct{ FunctionUrl string } // the Lambda API's spelling
		lambda := func(method string, in any) error { return cl.Call(cmd.Context(), method, path, in, &out) }
		switch body := map[string]string{"AuthType": authType}; {
		case create:
			err = lambda("POST", body)
			if !client.IsStatus(err, http.StatusConflict) {
				break
			}
			if cmd.Flags().Changed("auth") { // it has one
				err = lambda("PUT", body)
			} else {
				err = lambda("GET", nil)
			}
		case remove:
			err = cl.Call(cmd.Context(), "DELETE", path, nil, nil)
		default:
			err = lambda("GET", nil)
		}
		switch {
		case create:
			err = client.Missing(err, command.NoFunction, name)
		case remove:
			err = client.Missing(err, "there is no function %q with a URL", name)
		default:
			err = client.Missing(err, "there is no app %q and no function %q with a URL; `hansom url %s --create` gives a function one", name, name, name)
		}
		if err != nil {
			return err
		}
		if remove {
			return c.Removed("the URL of", name)
		}
		return c.printURL(out.FunctionUrl)
	}
	return cmd
}

func (c *program) printURL(url string) error {
	if c.JSON {
		return c.PrintJSON(map[string]string{"url": url})
	}
	c.Printf("%s\n", url)
	return nil
}
