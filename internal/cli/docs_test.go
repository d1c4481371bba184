package cli

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/runtimes"
)

var update = flag.Bool("update", false, "write the examples of the help into docs/reference/cli.md")

const reference = "../../docs/reference/cli.md"

// settings of the server are flags that docs/reference/server.md lists.
var withSettings = []string{"dev", "serve", "systemd"}

// The reference says what the program has: a section for each command with all of its examples, subcommands and flags, and no flag
// that is not there.
func TestReference(t *testing.T) {
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(data), "\n## ")
	byName := map[string][]*cobra.Command{} // by heading
	var headings []string
	for _, s := range sections[1:] {
		heading, _, _ := strings.Cut(s, "\n")
		headings = append(headings, heading)
	}
	commands(func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())
		if len(words) == 1 {
			return
		}
		i := slices.IndexFunc(headings, func(h string) bool { return slices.Contains(strings.Fields(h), words[1]) })
		if i < 0 {
			t.Errorf("%s has no section", cmd.CommandPath())
			return
		}
		byName[headings[i]] = append(byName[headings[i]], cmd)
		if !strings.Contains(sections[0], "`"+words[1]) {
			t.Errorf("%s is not in the table of commands", words[1])
		}
	})
	for i, heading := range headings {
		list := byName[heading]
		if list == nil {
			continue
		}
		var examples []string
		flags := map[string]bool{"json": true}
		section := sections[i+1]
		for _, cmd := range list {
			for line := range strings.Lines(cmd.Example) {
				if line = "    " + strings.TrimSpace(line); !slices.Contains(examples, line) {
					examples = append(examples, line)
				}
			}
			if words := strings.Fields(cmd.CommandPath()); len(words) > 2 && !strings.Contains(section, "`"+words[2]) {
				t.Errorf("%s is not in its section", cmd.CommandPath())
			}
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if flags[f.Name] = true; slices.Contains([]string{"api", "data", "project", "help", "json"}, f.Name) || slices.Contains(withSettings, list[0].Name()) {
					return
				}
				if !strings.Contains(section, "`--"+f.Name) {
					t.Errorf("--%s of %s is not in its section", f.Name, cmd.CommandPath())
				}
			})
		}
		for _, m := range regexp.MustCompile("(?m)^\\| `.*?--([a-z-]+)").FindAllStringSubmatch(section, -1) {
			if !flags[m[1]] {
				t.Errorf("%s has no flag --%s", heading, m[1])
			}
		}
		text := strings.Join(examples, "\n") + "\n"
		block := regexp.MustCompile(`\A` + regexp.QuoteMeta(heading) + `\n\n((?:    .*\n)*)\n?`)
		if *update {
			sections[i+1] = block.ReplaceAllLiteralString(section, heading+"\n\n"+text+"\n")
			continue
		}
		found := block.FindStringSubmatch(section)
		if len(found) == 0 {
			t.Errorf("%s: there are no examples", heading)
		} else if diff := cmp.Diff(text, found[1]); diff != "" {
			t.Errorf("%s: the examples are others than those of the help; -update writes them\n%s", heading, diff)
		}
	}
	if *update {
		if err := os.WriteFile(reference, []byte(strings.Join(sections, "\n## ")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What the server takes for new functions, a manifest takes too.
func TestManifestRuntimes(t *testing.T) {
	for _, name := range runtimes.AWS() {
		text := "name: a\nfunctions: {b: {runtime: " + name + ", code: ., handler: a.b}}\n"
		if _, err := manifest.Parse(manifest.FileName, []byte(text)); (err == nil) == strings.HasPrefix(name, "dotnet") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"nodejs23.x", "nodejs2.x", "python3.7", "java8", "ruby2.7"} {
		text := "name: a\nfunctions: {b: {runtime: " + name + ", code: ., handler: a.b}}\n"
		if _, err := manifest.Parse(manifest.FileName, []byte(text)); err == nil || runtimes.Validate(name) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
