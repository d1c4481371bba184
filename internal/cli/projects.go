package cli

import (
	"cmp"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

type project struct {
	ID      string    `json:"id"`
	Slug    string    `json:"slug"`
	Created time.Time `json:"created"`
	Egress  string    `json:"egress"` // "" is the server's default
}

// serverEgress is what people call the egress of a project that has none of its own.
const serverEgress = "default"

const egressValues = hansom.EgressNone + ", " + hansom.EgressPlatform + ", " + hansom.EgressInternet + " or " + serverEgress

func (c *program) projectsCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "projects", Short: "List, create, set and remove projects (root keys only)",
		Long:    "List, create, set and remove projects. A project is the unit of tenancy, as an account in AWS; root keys alone manage them.",
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
				rows = append(rows, []string{p.ID, p.Slug, cmp.Or(p.Egress, serverEgress), terminal.Ago(p.Created)})
			}
			c.Out.Table([]string{"ID", "SLUG", "EGRESS", "CREATED"}, rows)
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
	var egress string
	set := &cobra.Command{
		Use: "set PROJECT --egress EGRESS", Short: "Set what the functions of a project reach",
		Long: "Set what those functions of a project reach that do not say themselves: none, platform or internet, or default for what the\n" +
			"server says. Instances that start from now on have it; those that run keep what they have.",
		Example: "  hansom projects set acme --egress platform\n  hansom projects set acme --egress default",
		Args:    command.Exactly(1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !cmd.Flags().Changed("egress"):
				return command.Usagef("usage: %s", cmd.UseLine())
			case egress == serverEgress:
				egress = ""
			case egress == "" || hansom.CheckEgress(egress) != nil:
				return command.Usagef("--egress %q is not %s", egress, egressValues)
			}
			cl, err := c.Connect()
			if err != nil {
				return err
			}
			var p project
			if err := cl.Call(cmd.Context(), "PATCH", "/_hansom/v1/projects/"+url.PathEscape(args[0]), map[string]string{"egress": egress}, &p); err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(p)
			}
			c.Printf("%s  egress %s\n", p.Slug, cmp.Or(p.Egress, serverEgress))
			c.Note("instances that run keep the egress they have; those that start from now on have the new one")
			return nil
		},
	}
	set.Flags().StringVar(&egress, "egress", "", egressValues)
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
	cmd.AddCommand(set, rm)
	return cmd
}
