package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/server"
)

func (c *program) backupCommand() *cobra.Command {
	noLogs := false
	cmd := &cobra.Command{
		Use: "backup [FILE]", Short: "Copy all that a running server keeps into one file",
		Long: "Write a consistent backup of a running server: database, code, keys and the functions' logs, as of one moment.\n" +
			"FILE - is standard output; the default is hansom-<time>.tar.gz. It takes root keys. The file holds the master key\n" +
			"and all secrets: keep it as you keep those. `hansom restore` makes a data directory of it.",
		Example: "  hansom backup\n  hansom backup --no-logs - > hansom.tar.gz",
		Args:    command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.Client(cmd.Context())
			if err != nil {
				return err
			}
			file := "hansom-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			if len(args) == 1 {
				file = args[0]
			}
			if file == "-" {
				if terminal.IsTerminal(c.Out) {
					return command.Usagef("a backup is no text for a terminal; name a file or redirect the output")
				}
				_, err := c.download(cmd.Context(), cl, c.Out, !noLogs)
				return err
			}
			size, err := c.backupFile(cmd.Context(), cl, file, !noLogs)
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(map[string]any{"file": file, "size": size})
			}
			c.Printf("%s  %s\n", file, terminal.Bytes(size))
			return nil
		},
	}
	cmd.Flags().BoolVar(&noLogs, "no-logs", false, "leave out the functions' logs")
	return cmd
}

// backupFile writes a backup to file, which is whole or not there.
func (c *program) backupFile(ctx context.Context, cl *client.Client, file string, logs bool) (size int64, err error) {
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s is there already; name another file", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".hansom-backup-") // mode 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // when it was renamed this finds nothing
	defer f.Close()
	if size, err = c.download(ctx, cl, f, logs); err != nil {
		return 0, err
	}
	return size, errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), file))
}

func (c *program) download(ctx context.Context, cl *client.Client, to io.Writer, logs bool) (int64, error) {
	resp, err := cl.Send(ctx, "hansom", "GET", "/_hansom/v1/backup?logs="+strconv.FormatBool(logs), http.Header{}, nil, 0, client.Digest(nil))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	defer c.Progress("")
	n, err := io.Copy(to, &meter{r: resp.Body, show: func(n int64) { c.Progress("%s", terminal.Bytes(n)) }})
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %s and is not usable: %w; the server's log may say why", terminal.Bytes(n), err)
	}
	return n, nil
}

// meter shows how much was read, every megabyte.
type meter struct {
	r        io.Reader
	n, shown int64
	show     func(n int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.n += int64(n); m.n-m.shown >= 1<<20 {
		m.shown = m.n
		m.show(m.n)
	}
	return n, err
}

func (c *program) restoreCommand() *cobra.Command {
	var data, database string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a data directory from a backup",
		Long: "Make the data directory of a server from a file of `hansom backup`, then start it with `hansom serve`. The directory\n" +
			"must be empty or not there; a backup that is damaged or broken off leaves nothing behind. FILE - is standard input.",
		Example: "  hansom restore hansom.tar.gz --data ./restored",
		Args:    command.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(cmp.Or(data, c.Env["HANSOM_DATA"], server.DefaultConfig().Data))
			if err != nil {
				return err
			}
			in := c.Stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			read := &meter{r: in, show: func(n int64) { c.Progress("%s", terminal.Bytes(n)) }}
			info, err := server.Restore(cmd.Context(), read, dir, cmp.Or(database, c.Env["HANSOM_DB"]))
			c.Progress("")
			if err != nil {
				return err
			}
			if !info.Key {
				c.Note("the master key is not in the backup: start the server with the HANSOM_MASTER_KEY it had")
			}
			if c.JSON {
				return c.PrintJSON(map[string]any{"data": dir, "backup": info})
			}
			c.Printf("%s  as of %s, from Hansom %s\nstart it with `hansom serve --data %s --region %s`\n",
				dir, info.Created.Format(time.RFC3339), info.Version, dir, info.Region)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory to make (HANSOM_DATA; default "+server.DefaultConfig().Data+")")
	cmd.Flags().StringVar(&database, "db", "", "empty PostgreSQL database, for the backup of a server with PostgreSQL (HANSOM_DB)")
	return cmd
}
