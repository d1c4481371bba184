package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/server"
)

// unit runs the server under systemd. Delegate gives it the cgroup below which it limits sandboxes; with KillMode=mixed the
// server alone is told to stop and lets what runs end.
const unit = `# Made by: hansom systemd
[Unit]
Description=Hansom, a serverless platform
Documentation=https://github.com/hansomcloud/hansom
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart=%s serve%s
ExecReload=/bin/kill -HUP $MAINPID
EnvironmentFile=-/etc/default/hansom
StateDirectory=hansom
StateDirectoryMode=0700
RuntimeDirectory=hansom
RuntimeDirectoryPreserve=restart
Delegate=yes
KillMode=mixed
TimeoutStopSec=16min
Restart=always
RestartSec=1
LimitNOFILE=1048576
TasksMax=infinity
OOMPolicy=continue
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
`

func (c *program) systemdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "systemd", Short: "Print a systemd unit that runs the server",
		Long: "Print a unit for systemd that runs `hansom serve` of this program with the settings given here. Further settings and\n" +
			"secrets go into /etc/default/hansom as HANSOM_... variables. With systemd, `systemctl stop` lets running\n" +
			"invocations end, and a server that dies is started again.",
		Example: "  hansom systemd --edge :80 --domain example.com > hansom.service",
		Args:    command.Exactly(0),
	}
	config := configFlags(cmd, server.DefaultConfig())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config(nil, nil)
		if err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		if program, err = filepath.EvalSymlinks(program); err != nil {
			return err
		}
		var flags strings.Builder
		for _, s := range cfg.Settings() {
			if cmd.Flags().Lookup(s.Key).Changed {
				value := s.String()
				if value, err = absolute(s.Key, value); err != nil {
					return err
				}
				flags.WriteString(" " + quoteUnit("--"+s.Key+"="+value))
			}
		}
		text := fmt.Sprintf(unit, quoteUnit(program), flags.String())
		if c.JSON {
			return c.PrintJSON(map[string]string{"unit": text})
		}
		c.Printf("%s", text)
		if terminal.IsTerminal(c.Out) {
			c.Note("\ninstall it with: %s systemd | sudo tee /etc/systemd/system/hansom.service && sudo systemctl enable --now hansom", filepath.Base(program))
		}
		return nil
	}
	return cmd
}

// absolute makes the files that a setting names independent of the working directory.
func absolute(key, value string) (string, error) {
	switch key {
	case "data":
		return filepath.Abs(value)
	case "tls-cert", "tls-key":
		files := strings.Split(value, ",")
		for i, f := range files {
			abs, err := filepath.Abs(f)
			if err != nil {
				return "", err
			}
			files[i] = abs
		}
		return strings.Join(files, ","), nil
	}
	return value, nil
}

// quoteUnit makes a word of ExecStart (systemd.service(5), "Command lines").
func quoteUnit(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if strings.ContainsAny(s, " \t\"'\\;") {
		s = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s
}

// notifySystemd tells the service manager a state (sd_notify(3)); without one it does nothing.
func (c *program) notifySystemd(state string) error {
	path := c.Env["NOTIFY_SOCKET"]
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
