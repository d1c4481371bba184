package runtimeapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// conn is a connection of a client. One goroutine at a time owns it: its own (serve), which ends when it hands the connection
// over to the link as a waiting poller or to an Invoke as the answer it waits for; Invoke starts a new one when it is through.
type conn struct {
	source
	link   *Link
	net    net.Conn
	raw    syscall.RawConn // nil when the connection has none
	closes bool            // after the answer to the request that was read last
}

func newConn(l *Link, nc net.Conn) *conn {
	c := &conn{link: l, net: nc, source: source{r: nc}}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	return c
}

// close ends the connection; the owner calls it.
func (c *conn) close() {
	c.net.Close()
	c.drop()
	c.link.forget(c)
}

// alive reports whether the client of a waiting poller is still there: not, when there is something to read, be it EOF.
func (c *conn) alive() bool {
	if c.raw == nil || len(c.unread()) > 0 {
		return true
	}
	alive := true
	err := c.raw.Read(func(fd uintptr) bool {
		var p [1]byte
		n, _, err := syscall.Recvfrom(int(fd), p[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = n > 0 || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		return true
	})
	return alive && err == nil
}

// serve reads requests until the connection ends or is handed over.
func (c *conn) serve() {
	for {
		h, err := c.readHead()
		if err != nil {
			c.fail(err)
			return
		}
		if !c.handle(h) {
			return
		}
	}
}

// fail ends a connection whose request could not be read.
func (c *conn) fail(err error) {
	if e, ok := errors.AsType[*badRequest](err); ok {
		c.closes = true
		_ = c.respond(400, failure("InvalidRequest", e.reason))
	}
	c.close()
}

// handle answers a request, or hands the connection over: it returns whether the caller still owns an open connection.
func (c *conn) handle(h head) bool {
	l := c.link
	c.closes = h.closes
	switch {
	case h.route == routeUnknown:
		return c.refuse(h, 404, "NotFound", "This path is not part of the Lambda Runtime API 2018-06-01, the Extensions API 2020-01-01, the Telemetry API 2022-07-01 or the Logs API 2020-08-15.")
	case h.method != h.route.method():
		return c.refuse(h, 405, "MethodNotAllowed", "next is asked with GET, subscriptions are sent with PUT, the rest with POST.")
	case h.route >= routeRegister:
		return c.extend(h)
	case l.carrier != nil:
		return c.refuse(h, 403, "InvalidStateTransition", "The runtime of this function does not take its invocations from the Runtime API.")
	case h.route == routeNext:
		if err := c.discard(h); err != nil {
			c.fail(err)
			return false
		}
		c.drop()
		l.park(c)
		return false
	case h.route == routeInitError:
		return c.initError(h)
	}
	switch l.claim(c, h) {
	case claimed:
		return false
	case answered:
		return c.refuse(h, 403, "InvalidStateTransition", "Transition from ResponseSent to InvocationResponse is not allowed: the request was answered already.")
	}
	return c.refuse(h, 400, "InvalidRequestID", "Invalid request ID")
}

func (c *conn) refuse(h head, status int, errorType, message string) bool {
	err := c.discard(h)
	if err == nil {
		err = c.respond(status, failure(errorType, message))
	}
	return c.next(err)
}

// next ends the connection after a failure, or when the client wants that.
func (c *conn) next(err error) bool {
	switch {
	case err != nil:
		c.fail(err)
		return false
	case c.closes:
		c.close()
		return false
	}
	return true
}

func (c *conn) initError(h head) bool {
	resp, _, err := c.copy(h, nil)
	if err != nil {
		c.fail(err)
		return false
	}
	defer release(resp)
	if !c.link.failInit(errorPayload(resp.Payload, h.errorType)) {
		return c.next(c.respond(403, failure("InvalidStateTransition", "Transition from Ready to InitError is not allowed: the function has initialised already.")))
	}
	return c.next(c.respond(202, accepted))
}

func release(r sandbox.Response) {
	if r.Release != nil {
		r.Release()
	}
}

// errorPayload is the error JSON of a runtime; one that sent none is described by its error type.
func errorPayload(payload []byte, errorType string) []byte {
	if len(payload) > 0 {
		return append([]byte(nil), payload...)
	}
	if errorType == "" {
		errorType = "Runtime.Unknown"
	}
	p, _ := json.Marshal(struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{errorType, "The runtime reported an error without a message."})
	return p
}

// proceed sends the interim answer that a client with a large body waits for.
func (c *conn) proceed(h head) error {
	if !h.expects || len(c.unread()) > 0 {
		return nil
	}
	_, err := io.WriteString(c.net, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// discard reads the body of a request and forgets it.
func (c *conn) discard(h head) error {
	if err := c.proceed(h); err != nil {
		return err
	}
	b := newBody(&c.source, &h)
	for {
		if _, err := b.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// copy reads the body of an answer to sink or, without one, into the payload of its response. over says that it was too large.
func (c *conn) copy(h head, sink hansom.Sink) (resp sandbox.Response, over bool, err error) {
	out := sandbox.NewStream(sink, h.contentType)
	b, err := c.copyBody(h, out)
	if err != nil {
		out.Discard()
		return resp, false, err
	}
	over = out.Over()
	resp = out.End()
	if b.errorType != "" || b.errorBody != "" { // it broke off
		release(resp)
		payload, err := base64.StdEncoding.DecodeString(b.errorBody)
		if err != nil {
			payload = []byte(b.errorBody)
		}
		resp = sandbox.Response{Payload: errorPayload(payload, b.errorType), Error: true, Streamed: resp.Streamed}
	}
	return resp, over, nil
}

func (c *conn) copyBody(h head, out *sandbox.Stream) (*body, error) {
	if err := c.proceed(h); err != nil {
		return nil, err
	}
	b := newBody(&c.source, &h)
	b.out = out
	for {
		p, err := b.next()
		if err == io.EOF {
			return &b, nil
		}
		if err != nil {
			return nil, err
		}
		out.Write(p)
	}
}

const accepted = `{"status":"OK"}`

func failure(errorType, message string) string {
	return string(encode(struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}{message, errorType}))
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only what this package defines comes here
	}
	return b
}

// acceptedAnswer is the answer to nearly every POST.
var acceptedAnswer = []byte("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(accepted)) + "\r\n\r\n" + accepted)

var reasons = map[int]string{200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large"}

// respond sends an answer; each of headers is a line.
func (c *conn) respond(status int, json string, headers ...string) error {
	if status == 202 && !c.closes {
		_, err := c.net.Write(acceptedAnswer)
		return err
	}
	if c.closes {
		headers = append(headers, "Connection: close")
	}
	more := ""
	for _, header := range headers {
		more += header + "\r\n"
	}
	_, err := fmt.Fprintf(c.net, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", status, reasons[status], len(json), more, json)
	return err
}

// copyLimit is the largest event that is copied behind its headers, in bytes; larger ones go out with writev.
const copyLimit = 32 << 10

// event answers a waiting poller with an invocation.
func (c *conn) event(req *sandbox.Request, deadline time.Time) error {
	if err := c.net.SetDeadline(deadline); err != nil {
		return err
	}
	buf := sandbox.NewBuffer(copyLimit + 16<<10)
	defer buf.Release()
	b := append(buf.B[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: "...)
	b = append(b, req.ID...)
	b = append(b, "\r\nLambda-Runtime-Deadline-Ms: "...)
	b = strconv.AppendInt(b, req.Deadline, 10)
	b = append(b, "\r\nLambda-Runtime-Invoked-Function-Arn: "...)
	b = append(b, req.ARN...)
	if req.Trace != "" {
		b = appendValue(append(b, "\r\nLambda-Runtime-Trace-Id: "...), req.Trace)
	}
	if len(req.ClientContext) > 0 {
		b = appendValue(append(b, "\r\nLambda-Runtime-Client-Context: "...), req.ClientContext)
	}
	if c.closes {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(req.Payload)), 10)
	b = append(b, "\r\n\r\n"...)
	if len(req.Payload) <= copyLimit {
		_, err := c.net.Write(append(b, req.Payload...))
		return err
	}
	parts := net.Buffers{b, req.Payload}
	_, err := parts.WriteTo(c.net)
	return err
}

// appendValue appends a header's value. Line breaks in it, which JSON may have between its tokens, become spaces.
func appendValue[S ~string | ~[]byte](dst []byte, s S) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
