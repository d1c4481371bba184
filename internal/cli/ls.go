package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// appInfo is one entry of the apps list.
type appInfo struct {
	Name       string    `json:"name"`
	Deployment int64     `json:"deployment"`
	Updated    time.Time `json:"updated"`
	URL        string    `json:"url"`
	Functions  int       `json:"functions"`
	Routes     int       `json:"routes"`
}

func (c *command) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [APP]", Short: "List apps and functions",
		Long:    "List the apps of the project and its functions, or the functions of one app. INSTANCES counts those that run, busy ones in brackets.",
		Example: "  hansom ls\n  hansom ls hello --json",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var apps struct {
				Apps []appInfo `json:"apps"`
			}
			app := strings.Join(args, "")
			if app != "" {
				apps.Apps = make([]appInfo, 1)
				err = cl.call(cmd.Context(), "GET", appPath(app), nil, &apps.Apps[0])
			} else {
				err = cl.call(cmd.Context(), "GET", "/_hansom/v1/apps", nil, &apps)
			}
			if err != nil {
				return err
			}
			functions, err := cl.functions(cmd.Context(), app)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]any{"apps": notNil(apps.Apps), "functions": notNil(functions)})
			}
			if len(apps.Apps) == 0 && len(functions) == 0 {
				c.note("nothing is deployed; `hansom init hello && hansom deploy hello` makes a start")
				return nil
			}
			if len(apps.Apps) > 0 {
				var rows [][]string
				for _, a := range apps.Apps {
					rows = append(rows, []string{a.Name, strconv.FormatInt(a.Deployment, 10), ago(a.Updated), a.URL})
				}
				table(c.Stdout, []string{"APP", "DEPLOYMENT", "UPDATED", "URL"}, rows)
			}
			if len(functions) > 0 {
				if len(apps.Apps) > 0 {
					c.printf("\n")
				}
				var rows [][]string
				for _, f := range functions {
					rows = append(rows, []string{f.Name, f.Runtime, strconv.Itoa(f.Memory) + " MB", strconv.Itoa(f.Timeout) + "s",
						bytesText(f.CodeSize), state(f), instances(f), strings.Join(f.URLs, " ")})
				}
				table(c.Stdout, []string{"FUNCTION", "RUNTIME", "MEMORY", "TIMEOUT", "CODE", "STATE", "INSTANCES", "URL"}, rows)
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

// state is the one word that matters: a failed or running update goes before the state.
func state(f functionInfo) string {
	if f.LastUpdateStatus == "Failed" || f.LastUpdateStatus == "InProgress" {
		return "update " + f.LastUpdateStatus
	}
	return f.State
}

func instances(f functionInfo) string {
	if f.Busy == 0 {
		return strconv.Itoa(f.Instances)
	}
	return strconv.Itoa(f.Instances) + " (" + strconv.Itoa(f.Busy) + ")"
}

func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h ago"
	}
	return t.Local().Format(time.DateOnly)
}
