// Command hansom is the whole platform: server and command line.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/hansomcloud/hansom/internal/cli"
	"github.com/hansomcloud/hansom/internal/server"
)

func main() {
	os.Exit(cli.Main(cli.Options{
		NewServer: func(ctx context.Context, cfg server.Config, logger *slog.Logger) (cli.Server, error) {
			return server.New(ctx, cfg, logger)
		},
		Args:    os.Args[1:],
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Environ: os.Environ(),
	}))
}
