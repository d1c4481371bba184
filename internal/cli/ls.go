package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/queue"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

func (c *program) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [APP]", Short: "List apps, functions and queues",
		Long: "List the apps of the project, its functions and its queues, or those of one app. INSTANCES counts those that run,\n" +
			"busy ones in brackets. Below a function are its URL, its provisioned concurrency, and what is wrong with it, if anything.",
		Example: "  hansom ls\n  hansom ls hello --json",
		Args:    command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			app := strings.Join(args, "")
			apps := make([]client.App, 1)
			if app != "" {
				apps[0], err = cl.App(cmd.Context(), app)
			} else {
				apps, err = cl.Apps(cmd.Context())
			}
			if err != nil {
				return err
			}
			functions, err := cl.Functions(cmd.Context(), app)
			if err != nil {
				return err
			}
			queues, err := cl.Queues(cmd.Context(), app)
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(map[string]any{"apps": notNil(apps), "functions": notNil(functions), "queues": notNil(queues)})
			}
			if len(apps)+len(functions)+len(queues) == 0 {
				c.Note("nothing is deployed; `hansom init hello && hansom deploy hello` makes a start")
				return nil
			}
			if len(apps) > 0 {
				var rows [][]string
				for _, a := range apps {
					rows = append(rows, []string{a.Name, strconv.FormatInt(a.Deployment, 10), terminal.Ago(a.Updated), a.URL})
				}
				c.Out.Table([]string{"APP", "DEPLOYMENT", "UPDATED", "URL"}, rows)
				c.printSites(apps)
			}
			if len(functions) > 0 {
				if len(apps) > 0 {
					c.Printf("\n")
				}
				var rows [][]string
				for _, f := range functions {
					rows = append(rows, []string{f.Name, f.Runtime, strconv.Itoa(f.Memory) + " MB", strconv.Itoa(f.Timeout) + "s",
						terminal.Bytes(f.CodeSize), state(f), instances(f)})
					for _, u := range f.URLs {
						rows = append(rows, []string{"  " + u})
					}
					for _, p := range f.Provisioned {
						rows = append(rows, []string{"  provisioned " + p.Qualifier + ": " + p.String()})
					}
					if f.Reason != "" {
						label := "warning"
						if f.Failed() {
							label = "error"
						}
						rows = append(rows, []string{"  " + label + ": " + f.Reason})
					}
				}
				c.Out.Table([]string{"FUNCTION", "RUNTIME", "MEMORY", "TIMEOUT", "CODE", "STATE", "INSTANCES"}, rows)
			}
			if len(queues) > 0 {
				if len(apps)+len(functions) > 0 {
					c.Printf("\n")
				}
				c.Out.Table(queue.Rows(queues))
			}
			return nil
		},
	}
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// state is what matters of a function's states: a failed or running update goes before the state.
func state(f client.Function) string {
	switch f.LastUpdateStatus {
	case "Failed":
		return "update failed"
	case "InProgress":
		return "updating"
	}
	return f.State
}

func instances(f client.Function) string {
	if f.Busy == 0 {
		return strconv.Itoa(f.Instances)
	}
	return strconv.Itoa(f.Instances) + " (" + strconv.Itoa(f.Busy) + ")"
}
