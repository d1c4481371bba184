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

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/buildinfo"
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
	Memory   int64         `json:"memory"`
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
}

func (c *command) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check the server and this machine, and say what to do",
		Long: "Check the server (isolation, runtimes, durability) and what deploying from this machine needs.\n" +
			"Exit code 1 when something is an error.",
		Example: "  hansom doctor",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, info, err := c.diagnose(cmd.Context())
			if err != nil {
				return err
			}
			failed := 0
			var rows [][]string
			for _, k := range checks {
				if k.Status == "error" {
					failed++
				}
				rows = append(rows, []string{k.Status, k.Name, k.Detail})
			}
			if c.json {
				err = c.printJSON(map[string]any{"checks": checks, "server": info})
			} else {
				table(c.Stdout, []string{"STATUS", "CHECK", "DETAIL"}, rows)
			}
			if err == nil && failed > 0 {
				err = &exitError{ExitFailure, ""}
			}
			return err
		},
	}
}

// diagnose checks this machine and then the server, nil when there is none.
func (c *command) diagnose(ctx context.Context) ([]check, *serverInfo, error) {
	checks := []check{goCheck(ctx)}
	cl, err := c.client(ctx)
	var info serverInfo
	if err == nil {
		err = cl.call(ctx, "GET", "/_hansom/v1/info", nil, &info)
	}
	var usage usageError
	switch {
	case errors.As(err, &usage) || ctx.Err() != nil:
		return nil, nil, err
	case err != nil:
		return append(checks, check{"server", "error", err.Error()}), nil, nil
	}
	server := check{"server", "ok", fmt.Sprintf("%s, version %s, region %s, edge %s", cl.base, info.Version, info.Region, info.Edge)}
	if mine := buildinfo.Read().Version; mine != info.Version {
		server.Status, server.Detail = "warning", server.Detail+"; this program is version "+mine
	}
	durability := "survives kill -9; `--sync always` survives a power cut too"
	if info.Sync == "always" {
		durability = "survives a power cut"
	}
	checks = append(checks, server,
		check{"durability", "ok", fmt.Sprintf("%s, sync %s: %s", info.Database, info.Sync, durability)})
	slices.SortFunc(info.Runtimes, func(a, b runtimeInfo) int { return byVersion(a.Identifier, b.Identifier) })
	for _, r := range info.Runtimes {
		k := check{"runtime " + r.Identifier, "ok", firstOf(r.HostVersion, "ready")}
		if r.Warning != "" {
			k.Status, k.Detail = "warning", r.Warning
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

func goCheck(ctx context.Context) check {
	tool, err := exec.LookPath("go")
	if err != nil {
		return check{"go toolchain", "warning", "not installed; only go functions need it: https://go.dev/dl"}
	}
	cmd := exec.CommandContext(ctx, tool, "version")
	cmd.Dir = os.TempDir() // a go.mod here could ask for another toolchain
	out, err := cmd.Output()
	if err != nil {
		return check{"go toolchain", "error", fmt.Sprintf("%s version: %v", tool, err)}
	}
	return check{"go toolchain", "ok", strings.TrimSpace(strings.TrimPrefix(string(out), "go version "))}
}
