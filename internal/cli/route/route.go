// Package route holds the commands that tell what answers web requests: routes and routes test.
package route

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

// commands of one command line.
type commands struct{ *command.Context }

// Command returns the command that has them.
func Command(c *command.Context) *cobra.Command {
	r := &commands{c}
	cmd := &cobra.Command{
		Use: "routes [APP]", Short: "List what answers web requests where, and test a request",
		Long: "List the hosts of the project with their routes: those of apps, of APIs made through the API Gateway API, custom domains and\n" +
			"function URLs, or what is one app's. TO says what answers, CALLERS who may call, LIMIT how often. `hansom routes test` explains\n" +
			"what becomes of a request.",
		Example: "  hansom routes\n  hansom routes guestbook --json\n  hansom routes test GET /messages/7 --app guestbook",
		Args:    command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			hosts, err := cl.Hosts(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(append([]client.Host{}, hosts...))
			}
			r.list(hosts)
			return nil
		},
	}
	cmd.AddCommand(r.testCommand())
	return cmd
}

func (c *commands) list(hosts []client.Host) {
	if len(hosts) == 0 {
		c.Note(`nothing answers web requests; list routes with a function in hansom.yaml, such as http: ["GET /"]`)
		return
	}
	var rows [][]string
	for i := 0; i < len(hosts); {
		if i > 0 {
			rows = append(rows, []string{" "})
		}
		routes := hosts[i].Routes
		for ; i < len(hosts) && reflect.DeepEqual(hosts[i].Routes, routes); i++ { // an app has several hosts
			rows = append(rows, []string{hosts[i].URL + "  " + about(&hosts[i])})
		}
		if len(routes) == 0 {
			rows = append(rows, []string{"  no routes"})
		}
		for _, r := range routes {
			rows = append(rows, []string{"  " + r.Key, strings.TrimSpace(r.Target + " " + r.Value), callers(r.Settings), limits(r.Settings)})
			if r.Broken != "" {
				rows = append(rows, []string{"    error: " + r.Broken})
			}
		}
	}
	c.Out.Table([]string{"ROUTE", "TO", "CALLERS", "LIMIT"}, rows)
}

// about says what a host is.
func about(h *client.Host) string {
	switch {
	case h.Kind == "api" || h.Kind == "domain" && h.API != "" && h.API != h.Name:
		return h.Kind + " " + strings.TrimSpace(h.Name+" "+h.API) + ", stage " + h.Stage
	case h.Kind == "domain":
		return "domain of " + h.Name
	}
	return h.Kind + " " + h.Name
}

// callers says who may call a route.
func callers(settings map[string]string) string {
	out := settings["authorizer"]
	if s := settings["scopes"]; s != "" {
		out += " [" + s + "]"
	}
	if settings["key"] != "" {
		out = strings.TrimPrefix(out+" + key", " + ")
	}
	if out == "" {
		return "all"
	}
	return out
}

// limits are how often a route may be called, and how long it may take.
func limits(settings map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		switch {
		case name == "throttle":
			out = append(out, settings[name])
		case strings.HasPrefix(name, "throttle "):
			out = append(out, settings[name]+strings.TrimPrefix(name, "throttle"))
		case name == "timeout":
			out = append(out, settings[name]+" long")
		}
	}
	return strings.Join(out, ", ")
}

func (c *commands) testCommand() *cobra.Command {
	var host, app string
	var headers []string
	cmd := &cobra.Command{
		Use: "test METHOD PATH", Short: "Explain what becomes of a web request",
		Long: "Ask the server what it would do with a request, without doing it: whose host it is, which routes fit the path and why one of\n" +
			"them is chosen, who may call it how often, and what answers. Authorizers are not asked.",
		Example: "  hansom routes test GET /messages/7 --app guestbook\n" +
			"  hansom routes test POST '/messages?draft=1' --app guestbook -H 'authorization: Bearer x'\n" +
			"  hansom routes test GET / --host www.example.com --json",
		Args: command.Exactly(2),
	}
	cmd.Flags().StringVar(&host, "host", "", "the host that the request is for (default: that of --app)")
	cmd.Flags().StringVar(&app, "app", "", "the app that the request is for (default: the project's only app)")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header of the request, 'name: value'; may be given several times")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := client.WebRequest{Method: strings.ToUpper(args[0]), Path: args[1], Host: host, App: app, Headers: map[string]string{}}
		switch {
		case host != "" && app != "":
			return command.Usagef("--host and --app do not go together")
		case !strings.HasPrefix(in.Path, "/"):
			return command.Usagef("%q is no path; it begins with /", in.Path)
		}
		for _, h := range headers {
			name, value, ok := strings.Cut(h, ":")
			if name = strings.TrimSpace(name); !ok || name == "" {
				return command.Usagef("-H %q is no header; write 'name: value'", h)
			}
			in.Headers[name] = strings.TrimSpace(value)
		}
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		if host == "" && app == "" {
			apps, err := cl.Apps(cmd.Context())
			switch {
			case err != nil:
				return err
			case len(apps) != 1:
				return command.Usagef("the project has %d apps; say for which the request is, with --app or --host", len(apps))
			}
			in.App = apps[0].Name
		}
		e, err := cl.Explain(cmd.Context(), in)
		if err != nil {
			return err
		}
		if c.JSON {
			return c.PrintJSON(e)
		}
		c.explain(&e)
		return nil
	}
	return cmd
}

func (c *commands) explain(e *client.Explanation) {
	var rows [][]string
	for _, s := range e.Steps {
		rows = append(rows, []string{s.What, s.Text})
	}
	c.Out.Table([]string{"STEP", "DECISION"}, rows)
	if len(e.Candidates) > 0 {
		rows = nil
		for _, x := range e.Candidates {
			mark := "  "
			if x.Chosen {
				mark = "* "
			}
			reason := x.Reason
			for _, name := range slices.Sorted(maps.Keys(x.Parameters)) {
				reason += ", " + name + " = " + x.Parameters[name]
			}
			rows = append(rows, []string{mark + x.Key, reason})
		}
		c.Printf("\n")
		c.Out.Table([]string{"  ROUTES THAT FIT", "WHY"}, rows)
	}
	c.Printf("\n")
	switch {
	case e.Status != 0:
		c.Printf("%s %s is answered with %d %s\n", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	default:
		last := e.Steps[len(e.Steps)-1]
		c.Printf("%s %s is answered by %s\n", e.Method, e.Path, strings.TrimSpace(strings.SplitN(last.Text, ",", 2)[0]))
	}
}
