package cli

import (
	"archive/zip"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// difference is a change, and the files that are others in the code.
type difference struct {
	client.Change
	Files []fileChange `json:"files,omitempty"`
}

type fileChange struct {
	Name   string `json:"name"`
	Action string `json:"action"` // create, update or delete
}

func (c *program) diffCommand() *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use: "diff [DIR]", Short: "Show line by line what deploy would change, with the names of changed files",
		Long: "Build the app of a folder (default: this one) and show line by line what deploying it would change: configuration, names of\n" +
			"variables (not their values), routes, and which files of the code. Nothing is uploaded.",
		Example: "  hansom diff examples/hello\n  hansom diff examples/hello --exit-code && echo up to date",
		Args:    command.AtMost(1),
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with exit code 1 when there are differences")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := c.prepare(cmd.Context(), args)
		if err != nil {
			return err
		}
		defer d.Close()
		app, differences, err := d.diff(cmd.Context())
		if err != nil {
			return err
		}
		if c.JSON {
			err = c.PrintJSON(map[string]any{"app": app, "changes": notNil(differences)})
		} else {
			c.printDifferences(app, differences)
		}
		if err == nil && exitCode && len(differences) > 0 {
			err = &command.ExitError{Code: command.ExitFailure}
		}
		return err
	}
	return cmd
}

// diff plans and compares the files of functions whose code would change.
func (d *deployer) diff(ctx context.Context) (app string, out []difference, err error) {
	r, artifacts, err := d.resolve(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := d.offerSite(ctx); err != nil {
		return "", nil, err
	}
	plan, err := d.client.Plan(ctx, r)
	if err != nil {
		return "", nil, err
	}
	for _, ch := range client.Changed(plan.Changes) {
		one := difference{Change: ch}
		key := strings.TrimPrefix(ch.Name, r.Name+"-")
		switch {
		case ch.Kind == "function" && ch.Action == "create":
			one.Details = describe(r.Functions[key])
		case ch.Kind == "function" && slices.ContainsFunc(ch.Details, func(s string) bool { return strings.HasPrefix(s, "code ") }):
			if one.Files, err = d.files(ctx, ch.Name, artifacts[key].Path); err != nil {
				return "", nil, err
			}
		}
		out = append(out, one)
	}
	return r.Name, out, nil
}

// describe lists what a new function will be.
func describe(f manifest.ResolvedFunction) []string {
	out := []string{"runtime " + f.Runtime, "handler " + f.Handler, "memory " + strconv.Itoa(f.Memory), "timeout " + strconv.Itoa(f.Timeout) + "s"}
	for _, name := range slices.Sorted(maps.Keys(f.Environment)) {
		out = append(out, "environment +"+name)
	}
	return out
}

// files compares the deployed code of a function with a package.
func (d *deployer) files(ctx context.Context, function, path string) ([]fileChange, error) {
	old, err := d.client.CodeFiles(ctx, function)
	if err != nil {
		return nil, err
	}
	r, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	next := client.Files(&r.Reader)
	names := maps.Clone(next)
	maps.Copy(names, old)
	var out []fileChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, had := old[name]
		b, has := next[name]
		switch {
		case !had:
			out = append(out, fileChange{name, "create"})
		case !has:
			out = append(out, fileChange{name, "delete"})
		case a != b:
			out = append(out, fileChange{name, "update"})
		}
	}
	return out, nil
}

// marks of actions, as diffs have them.
var marks = map[string]struct {
	text   string
	colour terminal.Colour
}{"create": {"+", terminal.Green}, "update": {"~", terminal.Yellow}, "delete": {"-", terminal.Red}}

func (c *program) printDifferences(app string, list []difference) {
	if len(list) == 0 {
		c.Note("%s is up to date", app)
		return
	}
	for _, d := range list {
		m := marks[d.Action]
		c.Printf("%s\n", c.Out.Paint(m.text+" "+d.Kind+" "+terminal.Printable(d.Name), terminal.Bold, m.colour))
		for _, detail := range d.Details {
			colour := m.colour
			if i := strings.LastIndexByte(detail, ' '); strings.HasPrefix(detail, "environment ") {
				switch detail[i+1] {
				case '+':
					colour = terminal.Green
				case '-':
					colour = terminal.Red
				}
			}
			c.Printf("    %s\n", c.Out.Paint(terminal.Printable(detail), colour))
		}
		for _, f := range d.Files {
			m := marks[f.Action]
			c.Printf("      %s\n", c.Out.Paint(m.text+" "+terminal.Printable(f.Name), m.colour))
		}
	}
}
