// Package completion offers what can come next on a command line: commands, flags, and names that a server knows.
package completion

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/events"
	"github.com/hansomcloud/hansom/internal/cli/layers"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

// Command prints the scripts for shells.
func Command() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print a script that completes commands, flags and names in a shell",
		Long: "Print a script that completes commands, flags and the names of functions, apps, aliases and more. To have it in each new\n" +
			"shell:\n\n" +
			"  bash  echo 'source <(hansom completion bash)' >> ~/.bashrc\n" +
			"  zsh   hansom completion zsh > \"${fpath[1]}/_hansom\"   (after compinit in ~/.zshrc)\n" +
			"  fish  hansom completion fish > ~/.config/fish/completions/hansom.fish",
		Example:   "  source <(hansom completion bash)\n  hansom completion zsh > _hansom\n  hansom completion fish > hansom.fish",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !strings.Contains(" bash zsh fish powershell ", " "+args[0]+" ") {
				return command.Usagef("usage: %s", cmd.UseLine())
			}
			return nil
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				if _, err := io.WriteString(out, bashWords); err != nil {
					return err
				}
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return root.GenPowerShellCompletionWithDesc(out)
		},
	}
}

// bashWords stands in for what the script takes from the package bash-completion, where that is not installed.
const bashWords = `if ! declare -F _filedir >/dev/null; then
_filedir() {
    local kind=-f
    [[ ${1-} == -d ]] && kind=-d
    compopt -o filenames 2>/dev/null
    local path
    while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen "$kind" -- "$cur")
}
fi
if ! declare -F _get_comp_words_by_ref >/dev/null; then
_get_comp_words_by_ref() {
    local line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cword=$((${#words[@]} - 1))
    cur=${words[cword]} prev=${words[cword-1]}
}
fi
`

// patience is how long completion waits for a server. It offers nothing when none answers.
const patience = time.Second

// names lists what can stand at an argument, given those before it.
type names func(ctx context.Context, cl *client.Client, args []string) ([]string, error)

// Fixed are the values of a flag that no server has to be asked for.
type Fixed struct {
	Command []string // without the program
	Flag    string
	Values  []string
}

// Add tells the commands below root what their arguments and flags can be.
func Add(c *command.Context, root *cobra.Command, fixed ...Fixed) {
	folders := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	arguments := map[string][]names{ // by command
		"invoke": {functions}, "logs": {functions}, "ls": {apps}, "rm": {both}, "url": {both}, "history": {apps}, "rollback": {apps},
		"env": {functions}, "env ls": {functions}, "env set": {functions, variables}, "env unset": {functions, variables},
		"env import": {functions, nil}, "env export": {functions},
		"versions": {functions}, "versions ls": {functions}, "versions publish": {functions}, "versions rm": {functions, published},
		"alias": {functions}, "alias ls": {functions}, "alias set": {functions, aliases, versions}, "alias rm": {functions, aliases},
		"projects rm": {projects}, "projects set": {projects}, "keys rm": {keys}, "layers ls": {layerNames}, "layers rm": {layerVersions},
		"queue ls": {apps}, "queue send": {queues, nil}, "queue peek": {queues}, "queue redrive": {deadQueues}, "queue purge": {queues},
		"schedule ls": {apps}, "schedule next": {schedules}, "routes": {apps},
	}
	flags := map[string]names{"qualifier": qualifiers, "app": apps, "project": projects, "to": deployments}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		_, path, _ := strings.Cut(cmd.CommandPath(), " ")
		if at, ok := arguments[path]; ok {
			cmd.ValidArgsFunction = completeArgs(c, at)
		}
		switch path {
		case "init", "dev", "deploy", "plan", "diff":
			cmd.ValidArgsFunction = folders
		}
		for name, list := range flags {
			if name == "to" && path == "queue redrive" {
				list = queues
			}
			if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, completeArgs(c, []names{list, list, list})) // the flag is there
			}
		}
		if cmd.Flags().Lookup("event") != nil {
			_ = cmd.RegisterFlagCompletionFunc("event", cobra.FixedCompletions(events.Names(), cobra.ShellCompDirectiveNoFileComp))
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, f := range fixed {
		if cmd, _, err := root.Find(f.Command); err == nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Flag, cobra.FixedCompletions(f.Values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
		}
	}
}

// completeArgs offers what at has for the argument after those that are there; nil are files.
func completeArgs(c *command.Context, at []names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(at) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list := at[len(args)]
		if list == nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		cl, err := c.Client(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := list(ctx, cl, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func apps(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := cl.Apps(ctx)
	return each(list, func(a client.App) string { return a.Name }), err
}

func functions(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := cl.Functions(ctx, "")
	return each(list, func(f client.Function) string { return cobra.CompletionWithDesc(f.Name, f.Runtime) }), err
}

func schedules(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := cl.Schedules(ctx, "")
	var out []string
	for i := range list {
		out = append(out, list[i].Path())
	}
	return out, err
}

func queues(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := cl.Queues(ctx, "")
	return each(list, func(q client.Queue) string {
		return cobra.CompletionWithDesc(q.Name, terminal.Count(q.Ready+q.InFlight+q.Delayed, "message"))
	}), err
}

// deadQueues are those that dead letters come to.
func deadQueues(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := cl.Queues(ctx, "")
	list = slices.DeleteFunc(list, func(q client.Queue) bool { return len(q.Sources) == 0 })
	return each(list, func(q client.Queue) string { return q.Name }), err
}

func both(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	a, err := apps(ctx, cl, args)
	if err != nil {
		return nil, err
	}
	b, err := functions(ctx, cl, args)
	return append(a, b...), err
}

func aliases(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	list, err := cl.Aliases(ctx, args[0])
	return each(list, func(a client.Alias) string { return cobra.CompletionWithDesc(a.Name, "version "+a.FunctionVersion) }), err
}

func versions(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	list, err := cl.Versions(ctx, args[0])
	return each(list, func(v client.Configuration) string { return cobra.CompletionWithDesc(v.Version, v.Description) }), err
}

// published are versions without $LATEST, which cannot be removed.
func published(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	list, err := versions(ctx, cl, args)
	return slices.DeleteFunc(list, func(v string) bool { return strings.HasPrefix(v, "$") }), err
}

func layerNames(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := layers.List(ctx, cl.Call, "")
	return each(list, func(v layers.Version) string { return v.Name }), err
}

func layerVersions(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	list, err := layers.List(ctx, cl.Call, "")
	return each(list, layers.Version.String), err
}

func qualifiers(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	a, err := aliases(ctx, cl, args)
	if err != nil {
		return nil, err
	}
	b, err := versions(ctx, cl, args)
	return append(a, b...), err
}

func variables(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	conf, err := cl.Configuration(ctx, args[0], "")
	var out []string
	for name := range conf.Environment.Variables {
		out = append(out, name)
	}
	return out, err
}

func deployments(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	list, err := cl.Deployments(ctx, args[0])
	return each(list, func(d client.Deployment) string {
		return cobra.CompletionWithDesc(strconv.FormatInt(d.Number, 10), terminal.Ago(d.Created))
	}), err
}

func projects(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	var out struct{ Projects []struct{ Slug string } }
	err := cl.Call(ctx, "GET", "/_hansom/v1/projects", nil, &out)
	return each(out.Projects, func(p struct{ Slug string }) string { return p.Slug }), err
}

func keys(ctx context.Context, cl *client.Client, _ []string) ([]string, error) {
	var out struct {
		Keys []struct{ AccessKeyID, Name string }
	}
	err := cl.Call(ctx, "GET", "/_hansom/v1/keys", nil, &out)
	return each(out.Keys, func(k struct{ AccessKeyID, Name string }) string {
		return cobra.CompletionWithDesc(k.AccessKeyID, k.Name)
	}), err
}

func each[T any](list []T, f func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}
