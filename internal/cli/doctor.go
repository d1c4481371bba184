package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/buildinfo"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
)

// serverInfo is what a server tells about itself.
type serverInfo struct {
	Version  string        `json:"version"`
	Commit   string        `json:"commit"`
	Arch     string        `json:"arch"`
	Region   string        `json:"region"`
	Domain   string        `json:"domain"`
	Edge     string        `json:"edge"`
	API      string        `json:"api"`
	Database string        `json:"database"`
	Sync     string        `json:"sync"`
	Driver   string        `json:"driver"`
	Egress   string        `json:"egress"`
	Memory   int64         `json:"memory"`
	Time     time.Time     `json:"time"`
	Runtimes []runtimeInfo `json:"runtimes"`
	Checks   []check       `json:"checks"`
}

type runtimeInfo struct {
	Identifier  string `json:"identifier"`
	HostVersion string `json:"hostVersion"`
	Warning     string `json:"warning,omitempty"`
}

type check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warning or error
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // what to do, unless the status is ok
}

func (c *program) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check the server and this machine, and say what to do",
		Long: "Check the server (isolation, runtimes, durability) and what deploying from this machine needs.\n" +
			"Exit code 1 when something is an error.",
		Example: "  hansom doctor",
		Args:    command.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, info, err := c.diagnose(cmd.Context())
			if err != nil {
				return err
			}
			failed := 0
			var rows [][]string
			for i, k := range checks {
				if k.Status == "error" {
					failed++
				}
				rows = append(rows, []string{k.Status, k.Name, k.Detail})
				if k.Fix != "" && (i+1 == len(checks) || checks[i+1].Fix != k.Fix) { // once for all that it helps
					rows = append(rows, []string{"  fix: " + k.Fix})
				}
			}
			if c.JSON {
				err = c.PrintJSON(map[string]any{"checks": checks, "server": info})
			} else {
				c.Out.Table([]string{"STATUS", "CHECK", "DETAIL"}, rows)
			}
			if err == nil && failed > 0 {
				err = &command.ExitError{Code: command.ExitFailure}
			}
			return err
		},
	}
}

// clockSkew is how far the clocks may be apart before signatures are about to be refused.
const clockSkew = 5 * time.Minute

// diagnose checks this machine and then the server, nil when there is none.
func (c *program) diagnose(ctx context.Context) ([]check, *serverInfo, error) {
	checks := []check{
		toolCheck(ctx, "go", "go functions", "install Go from https://go.dev/dl", "version"),
		toolCheck(ctx, "npm", "packages of Node.js", "install Node.js with npm from https://nodejs.org or Debian's npm", "--version"),
		toolCheck(ctx, "pip3", "packages of Python", "install pip: Debian's python3-pip, or python3 -m ensurepip", "--version"),
	}
	cl, err := c.Client(ctx)
	var info serverInfo
	if err == nil {
		err = cl.Call(ctx, "GET", "/_hansom/v1/info", nil, &info)
	}
	var usage command.UsageError
	var connect *client.ConnectError
	switch {
	case errors.As(err, &usage) || ctx.Err() != nil:
		return nil, nil, err
	case errors.As(err, &connect):
		return append(checks, check{"server", "error", fmt.Sprintf("none answers at %s (%v)", connect.Base, connect.Cause()),
			"start one with `hansom dev` or `hansom serve`, or name one with --api"}), nil, nil
	case err != nil:
		return append(checks, check{"server", "error", err.Error(),
			"use the credentials of its data directory (--data), or of `hansom keys create`; a clock that is wrong makes signatures wrong too"}), nil, nil
	}
	server := check{"server", "ok", fmt.Sprintf("%s, version %s, region %s, edge %s", cl.Base, info.Version, info.Region, info.Edge), ""}
	if mine := buildinfo.Read().Version; mine != info.Version {
		server.Status, server.Detail, server.Fix = "warning", server.Detail+"; this program is version "+mine, "install the same version on both sides"
	}
	durability := "survives kill -9; `--sync always` survives a power cut too"
	if info.Sync == "always" {
		durability = "survives a power cut"
	}
	checks = append(checks, server,
		check{"durability", "ok", fmt.Sprintf("%s, sync %s: %s", info.Database, info.Sync, durability), ""})
	if skew := time.Since(info.Time).Round(time.Second); skew.Abs() > clockSkew {
		checks = append(checks, check{"clock", "warning", fmt.Sprintf("it is %s off the server's", skew.Abs()), "synchronise both with NTP, e.g. Debian's systemd-timesyncd"})
	}
	slices.SortFunc(info.Runtimes, func(a, b runtimeInfo) int { return byVersion(a.Identifier, b.Identifier) })
	for _, r := range info.Runtimes {
		k := check{"runtime " + r.Identifier, "ok", cmp.Or(r.HostVersion, "ready"), ""}
		if r.Warning != "" {
			k.Status, k.Detail, k.Fix = "warning", r.Warning, "install that version on the server, or name the one it has in hansom.yaml"
		}
		checks = append(checks, k)
	}
	return append(checks, info.Checks...), &info, nil
}

// byVersion orders identifiers of runtimes by family, then by version as numbers: python3.9 before python3.11.
func byVersion(a, b string) int {
	split := func(id string) (family string, version []int) {
		family = strings.TrimRight(id, "0123456789.x")
		for part := range strings.SplitSeq(id[len(family):], ".") {
			if n, err := strconv.Atoi(part); err == nil {
				version = append(version, n)
			}
		}
		return family, version
	}
	familyA, versionA := split(a)
	familyB, versionB := split(b)
	return cmp.Or(strings.Compare(familyA, familyB), slices.Compare(versionA, versionB))
}

// toolCheck looks for a program that building code for some functions needs.
func toolCheck(ctx context.Context, tool, needs, fix string, args ...string) check {
	path, err := exec.LookPath(tool)
	if err != nil {
		return check{tool, "warning", "not installed; only " + needs + " need it", fix}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = os.TempDir() // a go.mod here could ask for another toolchain
	out, err := cmd.Output()
	if err != nil {
		return check{tool, "error", fmt.Sprintf("%s does not run: %v", path, err), fix}
	}
	return check{tool, "ok", strings.TrimPrefix(firstLine(string(out)), "go version "), ""}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
