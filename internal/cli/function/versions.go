package function

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

// versionInfo is the JSON of a version.
type versionInfo struct {
	Version     string    `json:"version"`
	Modified    time.Time `json:"modified"`
	Description string    `json:"description"`
	CodeSHA256  string    `json:"codeSha256"` // hex
	CodeSize    int64     `json:"codeSize"`
	Aliases     []string  `json:"aliases"` // that send it traffic

	Provisioned *client.Provisioned `json:"provisioned,omitempty"`
}

func newVersionInfo(v *client.Configuration, aliases []client.Alias, provisioned []client.Provisioned) versionInfo {
	digest, _ := base64.StdEncoding.DecodeString(v.CodeSha256)
	out := versionInfo{v.Version, v.Modified(), v.Description, hex.EncodeToString(digest), v.CodeSize, []string{}, of(provisioned, v.Version)}
	for _, a := range aliases {
		if _, part := a.RoutingConfig.AdditionalVersionWeights[v.Version]; part || a.FunctionVersion == v.Version {
			out.Aliases = append(out.Aliases, a.Name)
		}
	}
	return out
}

// of finds what is provisioned for a version or an alias; nil when nothing is.
func of(list []client.Provisioned, qualifier string) *client.Provisioned {
	for i := range list {
		if list[i].Qualifier == qualifier {
			return &list[i]
		}
	}
	return nil
}

// ready is what a table shows of it.
func ready(p *client.Provisioned) string {
	if p == nil {
		return ""
	}
	return p.String()
}

func (c *commands) versionsCommand() *cobra.Command {
	var description string
	var yes bool
	list := func(cmd *cobra.Command, args []string) error {
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		versions, err := cl.Versions(cmd.Context(), args[0])
		if err != nil {
			return client.Missing(err, command.NoFunction, args[0])
		}
		aliases, err := cl.Aliases(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		f, err := cl.Function(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		out := []versionInfo{}
		var rows [][]string
		for i := range versions {
			v := newVersionInfo(&versions[i], aliases, f.Provisioned)
			out = append(out, v)
			rows = append(rows, []string{v.Version, terminal.Ago(v.Modified), v.CodeSHA256[:min(12, len(v.CodeSHA256))], terminal.Bytes(v.CodeSize),
				strings.Join(v.Aliases, ", "), ready(v.Provisioned), v.Description})
		}
		if c.JSON {
			return c.PrintJSON(map[string]any{"function": args[0], "versions": out})
		}
		c.Out.Table([]string{"VERSION", "MODIFIED", "CODE", "SIZE", "ALIASES", "PROVISIONED", "DESCRIPTION"}, rows)
		return nil
	}
	cmd := &cobra.Command{
		Use: "versions FUNCTION", Short: "List, publish and remove versions of a function",
		Long:    "List, publish and remove versions of a function. A version is code and configuration that never change again; $LATEST does.",
		Example: "  hansom versions hello-node\n  hansom versions publish hello-node",
		Args:    command.FunctionAnd(0, 0), RunE: list,
	}
	ls := &cobra.Command{Use: "ls FUNCTION", Short: "List the versions", Example: "  hansom versions ls hello-node", Args: command.FunctionAnd(0, 0), RunE: list}
	publish := &cobra.Command{
		Use: "publish FUNCTION", Short: "Make a version of what $LATEST is",
		Long:    "Make a version of what $LATEST is. When nothing changed since the last version, it is that one.",
		Example: "  hansom versions publish hello-node --description \"before the sale\"",
		Args:    command.FunctionAnd(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			v, err := cl.Publish(cmd.Context(), args[0], description)
			if err != nil {
				return client.Missing(err, command.NoFunction, args[0])
			}
			if c.JSON {
				return c.PrintJSON(newVersionInfo(&v, nil, nil))
			}
			c.Printf("%s\n", v.Version)
			return nil
		},
	}
	publish.Flags().StringVar(&description, "description", "", "what to say of the version")
	rm := &cobra.Command{
		Use: "rm FUNCTION VERSION", Short: "Remove a version that no alias names", Example: "  hansom versions rm hello-node 1 --yes", Args: command.FunctionAnd(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := strconv.ParseUint(args[1], 10, 63); err != nil {
				return command.Usagef("%q is not the number of a version; `hansom versions %s` lists them", args[1], args[0])
			}
			if err := c.Sure(yes, "version", args[1]+" of "+args[0]); err != nil {
				return err
			}
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			// The Lambda API says nothing of a version that is not there.
			if _, err := cl.Configuration(cmd.Context(), args[0], args[1]); err != nil {
				return client.Missing(err, "there is no version %s of a function %q", args[1], args[0])
			}
			if err := cl.DeleteVersion(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			return c.Removed("version", args[1])
		},
	}
	command.YesFlag(rm, &yes)
	cmd.AddCommand(ls, publish, rm)
	return cmd
}

// aliasInfo is the JSON of an alias.
type aliasInfo struct {
	Name        string             `json:"name"`
	Version     string             `json:"version"`
	Weights     map[string]float64 `json:"weights"` // of other versions, 0 to 1
	Description string             `json:"description"`

	Provisioned *client.Provisioned `json:"provisioned,omitempty"`
}

func newAliasInfo(a *client.Alias, provisioned []client.Provisioned) aliasInfo {
	out := aliasInfo{a.Name, a.FunctionVersion, map[string]float64{}, a.Description, of(provisioned, a.Name)}
	maps.Copy(out.Weights, a.RoutingConfig.AdditionalVersionWeights)
	return out
}

// traffic says where the calls of an alias go: "1", "1 90%, 2 10%".
func (a *aliasInfo) traffic() string {
	if len(a.Weights) == 0 {
		return a.Version
	}
	rest, parts := 1.0, []string{}
	percent := func(w float64) string { return strconv.FormatFloat(math.Round(w*1e4)/100, 'f', -1, 64) + "%" }
	for _, version := range slices.Sorted(maps.Keys(a.Weights)) {
		rest -= a.Weights[version]
		parts = append(parts, version+" "+percent(a.Weights[version]))
	}
	return strings.Join(append([]string{a.Version + " " + percent(rest)}, parts...), ", ")
}

func (c *commands) aliasCommand() *cobra.Command {
	var weights []string
	var provisioned int
	var yes bool
	list := func(cmd *cobra.Command, args []string) error {
		cl, err := c.Client(cmd.Context())
		if err != nil {
			return err
		}
		aliases, err := cl.Aliases(cmd.Context(), args[0])
		if err != nil {
			return client.Missing(err, command.NoFunction, args[0])
		}
		f, err := cl.Function(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		out := []aliasInfo{}
		var rows [][]string
		for i := range aliases {
			a := newAliasInfo(&aliases[i], f.Provisioned)
			out = append(out, a)
			rows = append(rows, []string{a.Name, a.traffic(), ready(a.Provisioned), a.Description})
		}
		switch {
		case c.JSON:
			return c.PrintJSON(map[string]any{"function": args[0], "aliases": out})
		case len(out) == 0:
			c.Note("%s has no aliases; `hansom alias set %s live VERSION` makes one", args[0], args[0])
			return nil
		}
		c.Out.Table([]string{"ALIAS", "VERSION", "PROVISIONED", "DESCRIPTION"}, rows)
		return nil
	}
	cmd := &cobra.Command{
		Use: "alias FUNCTION", Short: "List, set and remove aliases of a function, and share traffic between versions",
		Long: "List, set and remove aliases of a function. An alias is a name for a version; a second version can get a share of its\n" +
			"calls. `hansom invoke FUNCTION --qualifier ALIAS` calls one.",
		Example: "  hansom alias hello-node\n  hansom alias set hello-node live 1",
		Args:    command.FunctionAnd(0, 0), RunE: list,
	}
	ls := &cobra.Command{Use: "ls FUNCTION", Short: "List the aliases", Example: "  hansom alias ls hello-node", Args: command.FunctionAnd(0, 0), RunE: list}
	set := &cobra.Command{
		Use: "set FUNCTION NAME VERSION", Short: "Make an alias, or point it at another version",
		Long: "Make an alias of a version, or point one that is there at it. --weight gives another version a share of the calls;\n" +
			"without it all go to VERSION. --provisioned has instances for that many calls at once kept ready, 0 for none.",
		Example: "  hansom alias set hello-node live 1\n  hansom alias set hello-node live 1 --weight 2=0.1\n  hansom alias set hello-node live 1 --provisioned 2",
		Args:    command.FunctionAnd(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			shares := map[string]float64{}
			for _, w := range weights {
				version, share, err := parseWeight(w)
				if err != nil {
					return err
				}
				shares[version] = share
			}
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			a, err := cl.SetAlias(cmd.Context(), args[0], args[1], args[2], shares)
			if err != nil {
				asked := append([]string{args[2]}, slices.Sorted(maps.Keys(shares))...)
				return client.Missing(err, "%s lacks version %s; `hansom versions %s` lists them", args[0], strings.Join(asked, " or "), args[0])
			}
			if cmd.Flags().Changed("provisioned") {
				if err := cl.Provision(cmd.Context(), args[0], args[1], provisioned); err != nil {
					return err
				}
			}
			f, err := cl.Function(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := newAliasInfo(&a, f.Provisioned)
			if c.JSON {
				return c.PrintJSON(out)
			}
			c.Printf("%s -> %s\n", out.Name, out.traffic())
			return nil
		},
	}
	set.Flags().StringArrayVar(&weights, "weight", nil, "share of another version: VERSION=0.1 or VERSION=10%")
	set.Flags().IntVar(&provisioned, "provisioned", 0, "calls at once for which instances are kept ready")
	rm := &cobra.Command{
		Use: "rm FUNCTION NAME", Short: "Remove an alias", Example: "  hansom alias rm hello-node live --yes", Args: command.FunctionAnd(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.Sure(yes, "alias", args[1]+" of "+args[0]); err != nil {
				return err
			}
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			// The Lambda API says nothing of an alias that is not there.
			aliases, err := cl.Aliases(cmd.Context(), args[0])
			if err != nil {
				return client.Missing(err, command.NoFunction, args[0])
			}
			if !slices.ContainsFunc(aliases, func(a client.Alias) bool { return a.Name == args[1] }) {
				return fmt.Errorf("%s has no alias %s; `hansom alias %s` lists them", args[0], args[1], args[0])
			}
			if err := cl.DeleteAlias(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			return c.Removed("alias", args[1])
		},
	}
	command.YesFlag(rm, &yes)
	cmd.AddCommand(ls, set, rm)
	return cmd
}

// parseWeight reads VERSION=SHARE; a share is 0 to 1, or 0% to 100%.
func parseWeight(s string) (version string, share float64, err error) {
	version, text, _ := strings.Cut(s, "=")
	number, percent := strings.CutSuffix(text, "%")
	share, err = strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || version == "" || !(share >= 0 && share <= 1) {
		return "", 0, command.Usagef("--weight %q is not VERSION=SHARE, such as 2=0.1 or 2=10%%", s)
	}
	return version, share, nil
}
