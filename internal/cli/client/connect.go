package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hansomcloud/hansom"
)

// Config says which server to speak to, as docs/reference/cli.md explains under "Which server" and "Which credentials".
type Config struct {
	API  string            // --api
	Data string            // --data
	Env  map[string]string // the environment
}

// Connect finds the server and the credentials; it sends nothing yet. Errors: Invalid (an address that is none),
// Unauthenticated (there are no credentials).
func Connect(cfg Config) (*Client, error) {
	dirs, running := cfg.dataDirs()
	u, err := address(cfg.API, cfg.Env["HANSOM_API"], running, DefaultAPI)
	if err != nil {
		return nil, err
	}
	found := false // whether it is the server of the data directory
	if r, err := address(running); err == nil {
		found = u.Host == r.Host || u.Port() == r.Port() && loopback(u.Hostname()) && loopback(r.Hostname())
	}
	creds, source, err := cfg.credentials(dirs, found || cfg.Data != "", loopback(u.Hostname()))
	if err != nil {
		return nil, err
	}
	return New(u.Scheme+"://"+u.Host, firstOf(cfg.Env["HANSOM_REGION"], cfg.Env["AWS_REGION"], cfg.Env["AWS_DEFAULT_REGION"]), creds, source), nil
}

// address is the first of candidates that can be connected to. They may be what a server listens on, since HANSOM_API is that
// too: port 0 tells nothing, and a host that stands for all is this machine.
func address(candidates ...string) (*url.URL, error) {
	const op = "find server"
	for _, base := range candidates {
		if base == "" {
			continue
		}
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, hansom.Errorf(hansom.Invalid, op, "%q is not a server's address; write one such as %s", base, DefaultAPI)
		}
		if u.Port() == "0" {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "" || ip != nil && ip.IsUnspecified() {
			u.Host = strings.TrimSuffix(net.JoinHostPort("127.0.0.1", u.Port()), ":")
		}
		return u, nil
	}
	return nil, hansom.Errorf(hansom.Invalid, op, "no server's address is known; write one such as %s", DefaultAPI)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// dataDirs are the data directories that may belong to the server. One in which a server runs comes alone, with the address
// of its api listener.
func (cfg *Config) dataDirs() (dirs []string, api string) {
	dirs = []string{".hansom", "/var/lib/hansom"}
	if named := firstOf(cfg.Data, cfg.Env["HANSOM_DATA"]); named != "" {
		dirs = []string{named}
	}
	for _, dir := range dirs {
		var s struct {
			API string
			PID int
		}
		data, err := os.ReadFile(filepath.Join(dir, "server.json"))
		if err == nil && json.Unmarshal(data, &s) == nil && s.PID > 0 && !errors.Is(syscall.Kill(s.PID, 0), syscall.ESRCH) {
			return []string{dir}, s.API
		}
	}
	return dirs, ""
}

// credentials of the client: Hansom's variables, the file in the server's own data directory, AWS's variables; for another
// server on this machine also a data directory's file, then those that a dev server accepts. AWS's variables come after the
// server's own file: many have keys of the real AWS in them.
func (cfg *Config) credentials(dirs []string, own, local bool) (hansom.Credentials, string, error) {
	if creds := cfg.variables("HANSOM_"); creds.AccessKeyID != "" {
		return creds, "HANSOM_ACCESS_KEY_ID", nil
	}
	aws, unreadable := cfg.variables("AWS_"), ""
	if aws.AccessKeyID != "" && !own {
		return aws, "AWS_ACCESS_KEY_ID", nil
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "credentials")
		data, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(dir, "server.json")): // its root keys come from its environment
			continue
		case err != nil && cfg.Data != "":
			return hansom.Credentials{}, "", fmt.Errorf("no credentials in the data directory: %w", err)
		case errors.Is(err, fs.ErrPermission):
			unreadable = "; " + file + " cannot be read by this user"
			continue
		case err != nil, !local && !own: // the keys of a server here are not for one elsewhere
			continue
		}
		creds, err := parseCredentials(string(data))
		if err != nil {
			return creds, "", fmt.Errorf("%s: %w", file, err)
		}
		return creds, file, nil
	}
	if aws.AccessKeyID != "" {
		return aws, "AWS_ACCESS_KEY_ID" + unreadable, nil
	}
	if local {
		return hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, "test/test, the default of a dev server" + unreadable, nil
	}
	return hansom.Credentials{}, "", hansom.Errorf(hansom.Unauthenticated, "find credentials",
		"no credentials; set HANSOM_ACCESS_KEY_ID and HANSOM_SECRET_ACCESS_KEY (`hansom keys create` makes them)")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// variables are the credentials in the environment under a prefix; none when a part is missing.
func (cfg *Config) variables(prefix string) hansom.Credentials {
	id, secret := cfg.Env[prefix+"ACCESS_KEY_ID"], cfg.Env[prefix+"SECRET_ACCESS_KEY"]
	if id == "" || secret == "" {
		return hansom.Credentials{}
	}
	return hansom.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: cfg.Env[prefix+"SESSION_TOKEN"]}
}

// parseCredentials reads the default profile of an AWS credentials file.
func parseCredentials(text string) (hansom.Credentials, error) {
	var out hansom.Credentials
	profile := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			profile = strings.Trim(line, "[] ")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || profile != "default" {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "aws_access_key_id":
			out.AccessKeyID = value
		case "aws_secret_access_key":
			out.SecretAccessKey = value
		case "aws_session_token":
			out.SessionToken = value
		}
	}
	if out.AccessKeyID == "" || out.SecretAccessKey == "" {
		return out, errors.New("there is no aws_access_key_id and aws_secret_access_key under [default]")
	}
	return out, nil
}
