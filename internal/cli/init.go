package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// templates holds a folder for each of templateNames. "x.tmpl" becomes "x": Go does not embed folders with a go.mod. __NAME__ becomes
// the app's name.
//
//go:embed templates
var templates embed.FS

// templateNames, in the order of the help; the first is the default.
var templateNames = []string{"nodejs", "typescript", "python", "go", "express", "flask", "nethttp"}

func (c *program) initCommand() *cobra.Command {
	var template string
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Make a new app with one function",
		Long:    "Make a new app with one function in a folder (default: this one). Nothing that is there is overwritten.",
		Example: "  hansom init hello --template typescript\n  hansom init shop --template express",
		Args:    command.AtMost(1),
	}
	known := strings.Join(templateNames[:len(templateNames)-1], ", ") + " or " + templateNames[len(templateNames)-1]
	cmd.Flags().StringVar(&template, "template", templateNames[0], known)
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "runtime" {
			name = "template"
		}
		return pflag.NormalizedName(name)
	})
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		dir := "."
		if len(args) > 0 {
			dir = args[0]
		}
		if !slices.Contains(templateNames, template) {
			return command.Usagef("--template is %s, not %q", known, template)
		}
		name, err := appName(dir)
		if err != nil {
			return err
		}
		files, err := render("templates/"+template, name)
		if err != nil {
			return err
		}
		if err := writeNew(dir, files); err != nil {
			return err
		}
		if c.JSON {
			return c.PrintJSON(map[string]any{"app": name, "dir": dir})
		}
		where := "hansom dev"
		if dir != "." {
			where += " " + dir
		}
		c.Printf("made the app %s in %s; run it with `%s`\n", name, dir, where)
		return nil
	}
	return cmd
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// appName makes an app's name of a folder's.
func appName(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	name := notInName.ReplaceAllString(strings.ToLower(filepath.Base(abs)), "-")
	name = strings.TrimLeft(name, "-0123456789")
	name = strings.TrimRight(name[:min(len(name), 40)], "-")
	if name == "" {
		name = "app"
	}
	return name, nil
}

type newFile struct {
	path string // slash form, below the app's folder
	text string
}

func render(root, name string) ([]newFile, error) {
	var out []newFile
	err := fs.WalkDir(templates, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := templates.ReadFile(p)
		if err != nil {
			return err
		}
		rel := strings.TrimSuffix(strings.TrimPrefix(p, root+"/"), ".tmpl")
		out = append(out, newFile{rel, strings.ReplaceAll(string(data), "__NAME__", name)})
		return nil
	})
	return out, err
}

// writeNew writes files, none of which may be there.
func writeNew(dir string, files []newFile) error {
	for _, f := range append([]newFile{{path: manifest.FileName}}, files...) {
		_, err := os.Lstat(filepath.Join(dir, f.path))
		if err == nil {
			return fmt.Errorf("%s is there already; choose another folder", filepath.Join(dir, f.path))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range files {
		file := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
