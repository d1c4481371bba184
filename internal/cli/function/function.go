// Package function holds the commands that call and change single functions: invoke, env, versions and alias.
package function

import (
	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
)

// commands of one command line.
type commands struct{ *command.Context }

// Commands returns them.
func Commands(c *command.Context) []*cobra.Command {
	f := &commands{c}
	return []*cobra.Command{f.invokeCommand(), f.envCommand(), f.versionsCommand(), f.aliasCommand()}
}
