// Package client speaks to a server's api listener: the management API (docs/reference/management-api.md), the Lambda and the SQS API.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
)

// DefaultAPI is where a server listens that nothing is said about.
const DefaultAPI = "http://127.0.0.1:4566"

// Client signs requests to a server's api listener. Its methods may be called from several goroutines.
type Client struct {
	Base   string // http://host:port
	region string
	creds  hansom.Credentials
	source string // where creds come from, for errors
	http   *http.Client
}

// New returns a client of the server at base, scheme://host[:port], with credentials that come from source. A region of "" is
// the default one.
func New(base, region string, creds hansom.Credentials, source string) *Client {
	return &Client{
		Base: base, region: firstOf(region, hansom.DefaultRegion), creds: creds, source: source,
		http: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4}},
	}
}

// Close ends idle connections.
func (cl *Client) Close() { cl.http.CloseIdleConnections() }

// Error is a server's refusal.
type Error struct {
	Status        int    // HTTP
	Code, Message string // of the API that was asked
}

func (e *Error) Error() string { return e.Message }

// IsStatus says whether err is a refusal with that HTTP status.
func IsStatus(err error, status int) bool {
	refused, ok := errors.AsType[*Error](err)
	return ok && refused.Status == status
}

// Missing says in our words what is not there, where the Lambda API answers with an ARN or less.
func Missing(err error, format string, args ...any) error {
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusNotFound {
		return &Error{refused.Status, refused.Code, fmt.Sprintf(format, args...)}
	}
	return err
}

// ConnectError means that no server answers.
type ConnectError struct {
	Base string // the server's address
	err  error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("cannot reach a server at %s (%v); start one with `hansom dev` or `hansom serve`, or name one with --api", e.Base, e.Cause())
}

func (e *ConnectError) Unwrap() error { return e.err }

// Cause is what went wrong, without the address.
func (e *ConnectError) Cause() error {
	var op *net.OpError
	if errors.As(e.err, &op) {
		return op.Err
	}
	var u *url.Error
	if errors.As(e.err, &u) {
		return u.Err
	}
	return e.err
}

// Enter changes to credentials of a session in another project.
func (cl *Client) Enter(ctx context.Context, project string) error {
	var s struct {
		AccessKeyID     string    `json:"accessKeyId"`
		SecretAccessKey string    `json:"secretAccessKey"`
		SessionToken    string    `json:"sessionToken"`
		Expires         time.Time `json:"expires"`
	}
	if err := cl.Call(ctx, "POST", "/_hansom/v1/projects/"+url.PathEscape(project)+"/sessions", nil, &s); err != nil {
		return err
	}
	cl.creds = hansom.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Expires: s.Expires}
	cl.source = "a session of project " + project
	return nil
}

// Call sends in as JSON (nil: no body) to the management API or, elsewhere, to the Lambda API, and decodes the answer into out (nil:
// ignored).
func (cl *Client) Call(ctx context.Context, method, path string, in, out any) error {
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
	resp, err := cl.Send(ctx, service, method, path, http.Header{}, bytes.NewReader(body), int64(len(body)), Digest(body))
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

// Send signs and sends one request; hash is the Digest of its body of size bytes. An answer of 400 and above is an *Error, none
// a *ConnectError.
func (cl *Client) Send(ctx context.Context, service, method, path string, header http.Header, body io.Reader, size int64, hash string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, cl.Base+path, body)
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
		return nil, &ConnectError{cl.Base, err}
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, cl.refusal(resp)
}

// refusal reads an error in the form of the management API or of the Lambda API.
func (cl *Client) refusal(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("the server's answer broke off: %w", err)
	}
	e := &Error{Status: resp.StatusCode, Code: resp.Header.Get("X-Amzn-Errortype")}
	var body struct {
		Error   struct{ Code, Message string }
		Message string
		Type    string `json:"__type"` // of the SQS API
	}
	if json.Unmarshal(data, &body) == nil {
		e.Message = firstOf(body.Error.Message, body.Message)
		e.Code = firstOf(body.Error.Code, e.Code, body.Type[strings.LastIndexByte(body.Type, '#')+1:])
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("%s answered %s", cl.Base, resp.Status)
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		e.Message += " (credentials: " + cl.source + ")"
	}
	return e
}

// Digest is the SHA-256 of a body in lower-case hexadecimal.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
