// Package key holds the commands for access keys: ls, create and rm.
package key

import (
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

type accessKey struct {
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey,omitempty"` // only when it is made
	Name            string    `json:"name"`
	Created         time.Time `json:"created"`
}

// Command returns the command that has them. args are those of a command that only has others.
func Command(c *command.Context, args cobra.PositionalArgs) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "keys", Short: "List, create and remove access keys of a project",
		Example: "  hansom keys ls\n  hansom keys create ci --project acme",
		Args:    args,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "List access keys", Example: "  hansom keys ls", Args: command.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			var out struct {
				Keys []accessKey `json:"keys"`
			}
			if err := cl.Call(cmd.Context(), "GET", "/_hansom/v1/keys", nil, &out); err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(append([]accessKey{}, out.Keys...))
			}
			if len(out.Keys) == 0 {
				c.Note("the project has no keys; `hansom keys create` makes one")
				return nil
			}
			var rows [][]string
			for _, k := range out.Keys {
				rows = append(rows, []string{k.AccessKeyID, k.Name, terminal.Ago(k.Created)})
			}
			c.Out.Table([]string{"ACCESS KEY", "NAME", "CREATED"}, rows)
			return nil
		},
	}, &cobra.Command{
		Use: "create [NAME]", Short: "Create an access key; its secret is shown this once",
		Long:    "Create an access key and print it as lines of an AWS credentials file. The secret cannot be shown again.",
		Example: "  hansom keys create ci", Args: command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			name := "cli"
			if len(args) > 0 {
				name = args[0]
			}
			var k accessKey
			if err := cl.Call(cmd.Context(), "POST", "/_hansom/v1/keys", map[string]string{"name": name}, &k); err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(k)
			}
			c.Printf("aws_access_key_id = %s\naws_secret_access_key = %s\n", k.AccessKeyID, k.SecretAccessKey)
			return nil
		},
	})
	rm := &cobra.Command{
		Use: "rm ACCESSKEY", Short: "Remove an access key; requests signed with it are refused at once",
		Example: "  hansom keys rm AKIAIOSFODNN7EXAMPLE --yes", Args: command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.Sure(yes, "key", args[0]); err != nil {
				return err
			}
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			if err := cl.Call(cmd.Context(), "DELETE", "/_hansom/v1/keys/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return c.Removed("key", args[0])
		},
	}
	command.YesFlag(rm, &yes)
	cmd.AddCommand(rm)
	return cmd
}
