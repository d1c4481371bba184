package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
)

const defaultAPI = "http://127.0.0.1:4566"

// client signs requests to a server's api listener.
type client struct {
	base   string // http://host:port
	region string
	creds  hansom.Credentials
	source string // where creds come from, for errors
	http   *http.Client
}

// connectError means that no server answers.
type connectError struct {
	base string
	err  error
}

func (e *connectError) Error() string {
	return fmt.Sprintf("cannot reach a server at %s (%v); start one with `hansom dev` or `hansom serve`, or name one with --api", e.base, rootCause(e.err))
}

func (e *connectError) Unwrap() error { return e.err }

func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// apiError is a server's refusal.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.message }

// client connects with the settings of flags and environment. A named project is entered with a session of its own.
func (c *command) client(ctx context.Context) (*client, error) {
	cl, err := c.connect()
	if err != nil {
		return nil, err
	}
	if project := firstOf(c.project, c.env["HANSOM_PROJECT"]); project != "" {
		if err := cl.enter(ctx, project); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

// connect is client without a project.
func (c *command) connect() (*client, error) {
	dirs, running := c.dataDirs()
	u, err := address(c.api, c.env["HANSOM_API"], running, defaultAPI)
	if err != nil {
		return nil, err
	}
	found := false // whether it is the server of the data directory
	if r, err := address(running); err == nil {
		found = u.Host == r.Host || u.Port() == r.Port() && loopback(u.Hostname()) && loopback(r.Hostname())
	}
	cl := &client{
		base:   u.Scheme + "://" + u.Host,
		region: firstOf(c.env["HANSOM_REGION"], c.env["AWS_REGION"], c.env["AWS_DEFAULT_REGION"], hansom.DefaultRegion),
		http:   &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4}},
	}
	cl.creds, cl.source, err = c.credentials(dirs, found || c.data != "", loopback(u.Hostname()))
	return cl, err
}

// address is the first of candidates that can be connected to. They may be what a server listens on, since HANSOM_API is that
// too: port 0 tells nothing, and a host that stands for all is this machine.
func address(candidates ...string) (*url.URL, error) {
	for _, base := range candidates {
		if base == "" {
			continue
		}
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usagef("%q is not a server's address; write one such as %s", base, defaultAPI)
		}
		if u.Port() == "0" {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "" || ip != nil && ip.IsUnspecified() {
			u.Host = strings.TrimSuffix(net.JoinHostPort("127.0.0.1", u.Port()), ":")
		}
		return u, nil
	}
	return nil, usagef("no server's address is known; write one such as %s", defaultAPI)
}

// enter changes to credentials of a session in another project.
func (cl *client) enter(ctx context.Context, project string) error {
	var s struct {
		AccessKeyID     string    `json:"accessKeyId"`
		SecretAccessKey string    `json:"secretAccessKey"`
		SessionToken    string    `json:"sessionToken"`
		Expires         time.Time `json:"expires"`
	}
	if err := cl.call(ctx, "POST", "/_hansom/v1/projects/"+url.PathEscape(project)+"/sessions", nil, &s); err != nil {
		return err
	}
	cl.creds = hansom.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Expires: s.Expires}
	cl.source = "a session of project " + project
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// dataDirs are the data directories that may belong to the server. One in which a server runs comes alone, with the address
// of its api listener.
func (c *command) dataDirs() (dirs []string, api string) {
	dirs = []string{".hansom", "/var/lib/hansom"}
	if named := firstOf(c.data, c.env["HANSOM_DATA"]); named != "" {
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
func (c *command) credentials(dirs []string, own, local bool) (hansom.Credentials, string, error) {
	if creds := c.variables("HANSOM_"); creds.AccessKeyID != "" {
		return creds, "HANSOM_ACCESS_KEY_ID", nil
	}
	aws, unreadable := c.variables("AWS_"), ""
	if aws.AccessKeyID != "" && !own {
		return aws, "AWS_ACCESS_KEY_ID", nil
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "credentials")
		data, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(dir, "server.json")): // its root keys come from its environment
			continue
		case err != nil && c.data != "":
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
	return hansom.Credentials{}, "", &exitError{ExitDenied, "no credentials; set HANSOM_ACCESS_KEY_ID and HANSOM_SECRET_ACCESS_KEY (`hansom keys create` makes them)"}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// variables are the credentials in the environment under a prefix; none when a part is missing.
func (c *command) variables(prefix string) hansom.Credentials {
	id, secret := c.env[prefix+"ACCESS_KEY_ID"], c.env[prefix+"SECRET_ACCESS_KEY"]
	if id == "" || secret == "" {
		return hansom.Credentials{}
	}
	return hansom.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: c.env[prefix+"SESSION_TOKEN"]}
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

// call sends in as JSON (nil: no body) to the management API or, elsewhere, to the Lambda API, and decodes the answer into out (nil: ignored).
func (cl *client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	service := "lambda"
	if strings.HasPrefix(path, "/_hansom/") {
		service = "hansom"
	}
	resp, err := cl.send(ctx, service, method, path, http.Header{}, bytes.NewReader(body), int64(len(body)), digest(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("the server's answer broke off: %w", err)
	}
	return nil
}

// send signs and sends one request. An answer of 400 and above is an *apiError.
func (cl *client) send(ctx context.Context, service, method, path string, header http.Header, body io.Reader, size int64, hash string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, cl.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "hansom-cli")
	if size > 0 {
		req.ContentLength = size
		if req.Header.Get("Content-Type") == "" {
			req.Header.Set("Content-Type", "application/json")
		}
	} else {
		req.Body = http.NoBody
	}
	auth.Sign(req, cl.creds, cl.region, service, hash, time.Now())
	resp, err := cl.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &connectError{cl.base, err}
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, cl.refusal(resp)
}

// refusal reads an error in the form of the management API or of the Lambda API.
func (cl *client) refusal(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("the server's answer broke off: %w", err)
	}
	e := &apiError{status: resp.StatusCode, code: resp.Header.Get("X-Amzn-Errortype")}
	var body struct {
		Error   struct{ Code, Message string }
		Message string
	}
	if json.Unmarshal(data, &body) == nil {
		e.message = firstOf(body.Error.Message, body.Message)
		e.code = firstOf(body.Error.Code, e.code)
	}
	if e.message == "" {
		e.message = fmt.Sprintf("%s answered %s", cl.base, resp.Status)
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		e.message += " (credentials: " + cl.source + ")"
	}
	return e
}

// missing says in our words what is not there, where the Lambda API answers with an ARN or less.
func missing(err error, format string, args ...any) error {
	if refused, ok := errors.AsType[*apiError](err); ok && refused.status == http.StatusNotFound {
		return &apiError{refused.status, refused.code, fmt.Sprintf(format, args...)}
	}
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
