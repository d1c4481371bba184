package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/build/sdk"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/layers"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/runtimes"
)

func (c *program) layersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "layers", Short: "List, publish and remove layers, and make those with the AWS SDKs",
		Long: "A layer is a zip whose files functions see at /opt. It has versions, which never change: NAME:VERSION stands in\n" +
			"the layers of a function in hansom.yaml.",
		Example: "  hansom layers add boto3\n  hansom layers ls",
		Args:    subcommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.layersLsCommand(), c.layersPublishCommand(), c.layersAddCommand(), c.layersRmCommand())
	return cmd
}

func (c *program) layersLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [NAME]", Short: "List the layers of the project, or all versions of one",
		Example: "  hansom layers ls\n  hansom layers ls boto3", Args: command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			name := strings.Join(args, "")
			list, err := layers.List(cmd.Context(), cl.Call, name)
			if err != nil {
				return err
			}
			if name != "" && len(list) == 0 {
				return fmt.Errorf("there is no layer %q; `hansom layers ls` lists them", name)
			}
			if c.JSON {
				return c.PrintJSON(list)
			}
			if len(list) == 0 {
				c.Note("there are no layers; `hansom layers add boto3` makes one with the AWS SDK for Python")
				return nil
			}
			var rows [][]string
			for _, v := range list {
				rows = append(rows, []string{v.String(), terminal.Ago(v.Created), v.Description})
			}
			c.Out.Table([]string{"LAYER", "CREATED", "DESCRIPTION"}, rows)
			return nil
		},
	}
}

func (c *program) layersRmCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "rm NAME:VERSION", Short: "Remove a version of a layer; functions that use it go on",
		Example: "  hansom layers rm boto3:1 --yes", Args: command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, text, _ := strings.Cut(args[0], ":")
			number, err := strconv.ParseInt(text, 10, 32)
			if err != nil || number < 1 || name == "" {
				return command.Usagef("%q does not name a version of a layer; write one such as boto3:1", args[0])
			}
			if err := c.Sure(yes, "layer", args[0]); err != nil {
				return err
			}
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			if err := layers.Remove(cmd.Context(), cl.Call, name, number); err != nil {
				return client.Missing(err, "there is no layer %s; `hansom layers ls` lists them", args[0])
			}
			return c.Removed("layer", args[0])
		},
	}
	command.YesFlag(cmd, &yes)
	return cmd
}

func (c *program) layersPublishCommand() *cobra.Command {
	var p layers.Publication
	cmd := &cobra.Command{
		Use: "publish NAME DIR|ZIP", Short: "Publish a folder or a zip as a new version of a layer",
		Long: "Publish a folder or a zip as a new version of a layer. Functions find what is in its python/, nodejs/node_modules/,\n" +
			"bin/ and lib/. The content of the latest version again makes no new one.",
		Example: "  hansom layers publish tools ./layer", Args: command.Exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Name = args[0]
			return c.publishLayer(cmd.Context(), p, args[1])
		},
	}
	cmd.Flags().StringVar(&p.Description, "description", "", "what is in it, up to 256 bytes")
	cmd.Flags().StringVar(&p.License, "license", "", "its license, up to 512 bytes")
	cmd.Flags().StringSliceVar(&p.Runtimes, "runtime", nil, "a runtime that it goes with, such as python3.12; may be given again")
	return cmd
}

func (c *program) layersAddCommand() *cobra.Command {
	var p layers.Publication
	var python string
	cmd := &cobra.Command{
		Use: "add boto3|aws-sdk [PACKAGE...]", Short: "Publish a layer with an AWS SDK",
		Long: "Publish a layer with boto3 and what it needs, from a Python of this machine; or with packages of the AWS SDK for\n" +
			"JavaScript v3, which npm fetches. The content of the latest version again makes no new one.",
		Example: "  hansom layers add boto3\n  hansom layers add aws-sdk client-s3 client-lambda",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 1 && args[0] == "boto3", len(args) > 1 && args[0] == "aws-sdk":
				return nil
			case len(args) == 1 && args[0] == "aws-sdk":
				return command.Usagef("name the packages, such as `hansom layers add aws-sdk client-s3`")
			}
			return command.Usagef("usage: hansom layers add boto3, or hansom layers add aws-sdk PACKAGE...")
		},
	}
	cmd.Flags().StringVar(&p.Name, "name", "", "name of the layer (default: boto3 or aws-sdk)")
	cmd.Flags().StringVar(&python, "python", "", "the Python that has boto3 (default: the first one here)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := os.MkdirTemp("", "hansom-sdk-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Progress("collecting %s", strings.Join(args, " "))
		var content sdk.Content
		if args[0] == "boto3" {
			content, err = sdk.Boto3(cmd.Context(), dir, python, c.Environ)
		} else {
			content, err = sdk.JavaScript(cmd.Context(), dir, args[1:], c.Environ)
		}
		c.Progress("")
		if err != nil {
			return err
		}
		if content.Note != "" {
			c.Note("%s", content.Note)
		}
		p.Name, p.Description = cmp.Or(p.Name, args[0]), content.Description
		for _, id := range runtimes.AWS() {
			if strings.HasPrefix(id, content.Family) {
				p.Runtimes = append(p.Runtimes, id)
			}
		}
		return c.publishLayer(cmd.Context(), p, dir)
	}
	return cmd
}

func (c *program) publishLayer(ctx context.Context, p layers.Publication, src string) error {
	cl, err := c.Client(ctx)
	if err != nil {
		return err
	}
	v, fresh, err := layers.Publish(ctx, cl.Call, p, src, c.Progress)
	if err != nil {
		return err
	}
	if c.JSON {
		return c.PrintJSON(struct {
			layers.Version
			New bool `json:"new"`
		}{v, fresh})
	}
	if !fresh {
		c.Note("%s has this content already; nothing was published", v)
	}
	c.Printf("%s\n", v)
	return nil
}
