package cli

import (
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

type project struct {
	ID      string    `json:"id"`
	Slug    string    `json:"slug"`
	Created time.Time `json:"created"`
}

func (c *program) projectsCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "projects", Short: "List, create and remove projects (root keys only)",
		Long:    "List, create and remove projects. A project is the unit of tenancy, as an account in AWS; root keys alone manage them.",
		Example: "  hansom projects ls\n  hansom projects create acme",
		Args:    subcommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "List projects", Example: "  hansom projects ls", Args: command.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.Connect()
			if err != nil {
				return err
			}
			var out struct {
				Projects []project `json:"projects"`
			}
			if err := cl.Call(cmd.Context(), "GET", "/_hansom/v1/projects", nil, &out); err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(notNil(out.Projects))
			}
			var rows [][]string
			for _, p := range out.Projects {
				rows = append(rows, []string{p.ID, p.Slug, terminal.Ago(p.Created)})
			}
			c.Out.Table([]string{"ID", "SLUG", "CREATED"}, rows)
			return nil
		},
	}, &cobra.Command{
		Use: "create SLUG", Short: "Create a project", Example: "  hansom projects create acme", Args: command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Connect()
			if err != nil {
				return err
			}
			var p project
			if err := cl.Call(cmd.Context(), "POST", "/_hansom/v1/projects", map[string]string{"slug": args[0]}, &p); err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(p)
			}
			c.Printf("%s  %s\n", p.ID, p.Slug)
			c.Note("`hansom keys create --project %s` makes an access key for it", p.Slug)
			return nil
		},
	})
	rm := &cobra.Command{
		Use: "rm PROJECT", Short: "Remove an empty project and its keys", Example: "  hansom projects rm acme --yes", Args: command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.Sure(yes, "project", args[0]); err != nil {
				return err
			}
			cl, err := c.Connect()
			if err != nil {
				return err
			}
			if err := cl.Call(cmd.Context(), "DELETE", "/_hansom/v1/projects/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return c.Removed("project", args[0])
		},
	}
	command.YesFlag(rm, &yes)
	cmd.AddCommand(rm)
	return cmd
}
