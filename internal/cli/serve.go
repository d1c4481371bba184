package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/server"
)

func (c *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run a server",
		Long: "Run a server. Every setting is a flag, a variable HANSOM_... and a key of the YAML file that --config names;\n" +
			"a flag goes before a variable, a variable before the file.",
		Example: "  hansom serve --data ./data --domain example.com",
		Args:    command.Exactly(0),
	}
	config := configFlags(cmd, server.DefaultConfig())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config(c.Env, c.Environ)
		if err != nil {
			return err
		}
		srv, err := c.newServer(cmd.Context(), cfg, c.logger(cfg))
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), srv, func(ctx context.Context) error {
			if err := c.notifySystemd("READY=1"); err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { _ = c.notifySystemd("STOPPING=1") }) // it asked for it, most likely
			c.reloadOnHangup(ctx, srv)
			nats, edgeTLS := srv.NATSAddr(), edgeTLSAddr(srv)
			if c.JSON {
				out := map[string]string{"edge": srv.EdgeAddr(), "api": srv.APIAddr(), "data": cfg.Data, "isolation": srv.Isolation()}
				if nats != "" {
					out["nats"] = nats
				}
				if edgeTLS != "" {
					out["edgeTls"] = edgeTLS
				}
				return c.PrintJSON(out)
			}
			if edgeTLS != "" {
				c.Printf("edge       https://%s\n", edgeTLS)
			}
			c.Printf("edge       http://%s\napi        http://%s\n", srv.EdgeAddr(), srv.APIAddr())
			if nats != "" {
				c.Printf("nats       nats://%s\n", nats)
			}
			c.Printf("data       %s\nisolation  %s\n", cfg.Data, srv.Isolation())
			return nil
		})
	}
	return cmd
}

// configFlags gives cmd a flag for each setting, and --config. The function it returns reads file, environment and flags, in
// this order, over the defaults; changes come last.
func configFlags(cmd *cobra.Command, defaults server.Config) func(env map[string]string, environ []string, changes ...func(*server.Config)) (server.Config, error) {
	shown := defaults
	for _, s := range shown.Settings() {
		f := cmd.Flags().VarPF(s, s.Key, "", s.Usage)
		if s.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	file := cmd.Flags().String("config", "", "YAML file of settings (HANSOM_CONFIG)")
	return func(env map[string]string, environ []string, changes ...func(*server.Config)) (server.Config, error) {
		cfg := defaults
		path := *file
		if path == "" {
			path = env["HANSOM_CONFIG"]
		}
		if err := cfg.Load(path, environ); err != nil {
			return cfg, command.UsageError{Err: err}
		}
		for _, s := range cfg.Settings() {
			if f := cmd.Flags().Lookup(s.Key); f.Changed {
				if err := s.Set(f.Value.String()); err != nil {
					return cfg, command.Usagef("--%s: %v", s.Key, err)
				}
			}
		}
		for _, change := range changes {
			change(&cfg)
		}
		if err := cfg.Validate(); err != nil {
			return cfg, command.UsageError{Err: err}
		}
		return cfg, nil
	}
}

var _ pflag.Value = (*server.Setting)(nil)

// logger of the server itself, to standard error.
func (c *program) logger(cfg server.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level()}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(c.Errs, options))
	}
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 && c.Env["JOURNAL_STREAM"] != "" {
			return slog.Attr{} // the journal has the time itself
		}
		return a
	}
	return slog.New(slog.NewTextHandler(c.Errs, options))
}

// run runs srv and, once it is ready, f beside it. It ends when the server does, or f fails.
func (c *program) run(ctx context.Context, srv Server, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- srv.Run(ctx) }()
	select {
	case err := <-served:
		return err
	case <-srv.Ready():
	}
	beside := make(chan error, 1)
	go func() { beside <- f(ctx) }()
	var err error
	select {
	case err = <-served:
		cancel()
		if e := <-beside; err == nil && !errors.Is(e, context.Canceled) {
			err = e
		}
		return err
	case err = <-beside:
	}
	if err != nil {
		cancel()
	}
	if e := <-served; err == nil {
		err = e
	}
	return err
}
