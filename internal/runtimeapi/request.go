package runtimeapi

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Limits of a request, in bytes. aws-lambda-go puts up to 1 MB of X-Ray cause into one header.
const (
	maxHead     = 1<<20 + 64<<10
	maxLine     = 8 << 10 // of a chunk's size and extensions
	maxTrailers = 1<<20 + 64<<10
)

// route is what a request asks for.
type route uint8

const (
	routeUnknown route = iota
	routeNext
	routeResponse
	routeError
	routeInitError
	routeRegister // this one and those below belong to extensions
	routeEvent
	routeExtensionInitError
	routeExtensionExitError
	routeTelemetry
	routeLogs
)

// method is the one that the route is asked with.
func (r route) method() string {
	switch r {
	case routeNext, routeEvent:
		return "GET"
	case routeTelemetry, routeLogs:
		return "PUT"
	}
	return "POST"
}

// head is the start line and headers of a request, as far as the Runtime API looks at them.
type head struct {
	method      string // "" when it is none of GET, POST and PUT
	route       route
	id          string // the request id in the path
	length      int64  // of the body; 0 when chunked
	chunked     bool
	expects     bool // Expect: 100-continue
	closes      bool // the connection ends with the answer
	contentType string
	mode        string // Lambda-Runtime-Function-Response-Mode
	errorType   string // Lambda-Runtime-Function-Error-Type

	name, extension, features, extensionError string // Lambda-Extension-Name, -Identifier, -Accept-Feature, -Function-Error-Type
}

// badRequest is a request that is not HTTP/1.1 as RFC 9112 has it. The connection ends after it.
type badRequest struct{ reason string }

func (e *badRequest) Error() string { return e.reason }

func bad(reason string) error { return &badRequest{reason} }

// source reads a connection through a pooled buffer, which it holds only while there is something in it.
type source struct {
	r          io.Reader
	buf        *sandbox.Buffer
	start, end int // buf.B[start:end] is unread
}

func (s *source) unread() []byte {
	if s.buf == nil {
		return nil
	}
	return s.buf.B[s.start:s.end]
}

// more reads once. It makes the buffer larger when it is full, up to limit unread bytes.
func (s *source) more(limit int) error {
	if s.start == s.end {
		s.start, s.end = 0, 0
	}
	switch {
	case s.buf == nil:
		s.buf = sandbox.NewBuffer(0)
	case s.end < len(s.buf.B):
	case s.start > 0:
		s.end = copy(s.buf.B, s.unread())
		s.start = 0
	case s.end >= limit:
		return bad("the head, a line or the trailers of the request are too long")
	default:
		larger := sandbox.NewBuffer(len(s.buf.B) + 1)
		copy(larger.B, s.unread())
		s.buf.Release()
		s.buf = larger
	}
	n, err := s.r.Read(s.buf.B[s.end:min(len(s.buf.B), s.end+128<<10)])
	s.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (s *source) consume(n int) {
	if s.start += n; s.start == s.end {
		s.drop()
	}
}

// reserve makes an empty buffer fit for n bytes that are read in pieces.
func (s *source) reserve(n int64) {
	const piece = 128 << 10
	if s.start == s.end && n > 16<<10 && (s.buf == nil || len(s.buf.B) < piece) {
		s.drop()
		s.buf = sandbox.NewBuffer(piece)
	}
}

func (s *source) drop() {
	if s.buf != nil {
		s.buf.Release()
	}
	s.buf, s.start, s.end = nil, 0, 0
}

// until returns the unread bytes up to and with sep, which are consumed only by the caller.
func (s *source) until(sep string, limit int) ([]byte, error) {
	for from := 0; ; {
		b := s.unread()
		if i := bytes.Index(b[from:], []byte(sep)); i >= 0 && from+i+len(sep) <= limit {
			return b[:from+i+len(sep)], nil
		}
		if len(b) >= limit {
			return nil, bad("the head, a line or the trailers of the request are too long")
		}
		from = max(0, len(b)-len(sep)+1)
		if err := s.more(limit); err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// readHead reads the head of a request. Nothing is consumed unless it is complete, so that reading may be taken up again after
// a deadline. io.EOF means that the client has closed the connection between two requests.
func (s *source) readHead() (head, error) {
	b, err := s.until("\r\n\r\n", maxHead)
	if err != nil {
		return head{}, err
	}
	h, err := parseHead(b[:len(b)-2])
	s.consume(len(b))
	return h, err
}

// parseHead parses lines that end in CRLF each.
func parseHead(b []byte) (h head, err error) {
	line, rest := cutLine(b)
	if err := h.parseStart(line); err != nil {
		return head{}, err
	}
	h.length = -1
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		name, value, err := field(line)
		if err != nil {
			return head{}, err
		}
		if err := h.set(name, value); err != nil {
			return head{}, err
		}
	}
	if h.chunked && h.length >= 0 {
		return head{}, bad("Content-Length and Transfer-Encoding exclude each other")
	}
	h.length = max(h.length, 0)
	return h, nil
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\r\n"))
	return line, rest
}

func (h *head) parseStart(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || len(target) == 0 || !token(method) {
		return bad("the request line is not of the form METHOD TARGET VERSION")
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.closes = true
	default:
		return bad("the HTTP version is neither 1.1 nor 1.0")
	}
	switch string(method) {
	case "GET":
		h.method = "GET"
	case "POST":
		h.method = "POST"
	case "PUT":
		h.method = "PUT"
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return bad("the request target has characters that must be escaped")
		}
	}
	if after, ok := bytes.CutPrefix(target, []byte("http://")); ok { // absolute form
		if i := bytes.IndexByte(after, '/'); i >= 0 {
			target = after[i:]
		}
	}
	target, _, _ = bytes.Cut(target, []byte("?"))
	h.route, h.id = parsePath(target)
	return nil
}

// parsePath follows the Lambda Runtime API, version 2018-06-01, and the APIs of extensions.
func parsePath(path []byte) (route, string) {
	runtime, ok := bytes.CutPrefix(path, []byte("/2018-06-01/runtime/"))
	if !ok {
		return extensionRoutes[string(path)], ""
	}
	path = runtime
	switch string(path) {
	case "invocation/next":
		return routeNext, ""
	case "init/error":
		return routeInitError, ""
	}
	path, ok = bytes.CutPrefix(path, []byte("invocation/"))
	id, verb, ok2 := bytes.Cut(path, []byte("/"))
	if !ok || !ok2 || len(id) == 0 {
		return routeUnknown, ""
	}
	switch string(verb) {
	case "response":
		return routeResponse, string(id)
	case "error":
		return routeError, string(id)
	}
	return routeUnknown, ""
}

var extensionRoutes = map[string]route{
	"/2020-01-01/extension/register":   routeRegister,
	"/2020-01-01/extension/event/next": routeEvent,
	"/2020-01-01/extension/init/error": routeExtensionInitError,
	"/2020-01-01/extension/exit/error": routeExtensionExitError,
	"/2022-07-01/telemetry":            routeTelemetry,
	"/2022-07-01/telemetry/":           routeTelemetry,
	"/2020-08-15/logs":                 routeLogs,
	"/2020-08-15/logs/":                routeLogs,
}

// field splits a header or trailer line.
func field(line []byte) (name, value []byte, err error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !token(name) {
		return nil, nil, bad("a header line is not of the form NAME: VALUE")
	}
	value = bytes.Trim(value, " \t")
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, bad("a header has control characters")
		}
	}
	return name, value, nil
}

// token reports whether b is a token of RFC 9110, section 5.6.2.
func token(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// is compares a header's name; want is in lower case.
func is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

func (h *head) set(name, value []byte) error {
	switch {
	case is(name, "content-length"):
		n, err := strconv.ParseUint(string(value), 10, 63)
		if err != nil || value[0] == '+' || h.length >= 0 && h.length != int64(n) {
			return bad("Content-Length is not one number")
		}
		h.length = int64(n)
	case is(name, "transfer-encoding"):
		if !is(value, "chunked") || h.chunked {
			return bad("the only Transfer-Encoding is chunked")
		}
		h.chunked = true
	case is(name, "connection"):
		for _, option := range bytes.Split(value, []byte(",")) {
			h.closes = h.closes || is(bytes.Trim(option, " \t"), "close")
		}
	case is(name, "expect"):
		if !is(value, "100-continue") {
			return bad("the only expectation is 100-continue")
		}
		h.expects = true
	case is(name, "content-type"):
		h.contentType = text(value)
	case is(name, "lambda-runtime-function-response-mode"):
		h.mode = text(value)
	case is(name, "lambda-runtime-function-error-type"):
		h.errorType = string(value)
	case is(name, "lambda-extension-name"):
		h.name = string(value)
	case is(name, "lambda-extension-identifier"):
		h.extension = string(value)
	case is(name, "lambda-extension-accept-feature"):
		h.features = string(value)
	case is(name, "lambda-extension-function-error-type"):
		h.extensionError = string(value)
	}
	return nil
}

// text spares the allocation for the usual values.
func text(b []byte) string {
	switch string(b) {
	case "application/json":
		return "application/json"
	case "application/octet-stream":
		return "application/octet-stream"
	case "streaming":
		return "streaming"
	case "application/x-www-form-urlencoded": // curl's own
		return "application/x-www-form-urlencoded"
	}
	return string(b)
}

// body reads the body of a request, and its trailers.
type body struct {
	s       *source
	out     *sandbox.Stream // flushed before waiting for more; may be nil
	left    int64           // of the body, or of the current chunk
	chunked bool
	started bool // a chunk was read, whose CRLF is to come
	done    bool

	errorType, errorBody string // trailers Lambda-Runtime-Function-Error-Type and -Body
}

func newBody(s *source, h *head) body {
	return body{s: s, left: h.length, chunked: h.chunked}
}

// next returns the next part of the body, which is valid until the next call; io.EOF at its end.
func (b *body) next() ([]byte, error) {
	if b.done {
		return nil, io.EOF
	}
	if b.left == 0 {
		if !b.chunked {
			b.finish()
			return nil, io.EOF
		}
		if err := b.nextChunk(); err != nil {
			return nil, err
		}
	}
	p := b.s.unread()
	if len(p) == 0 {
		b.pause()
		b.s.reserve(b.left)
		if err := b.s.more(maxHead); err != nil {
			return nil, cut(err)
		}
		p = b.s.unread()
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	b.left -= int64(len(p))
	// consume without giving the buffer back, since p is in it.
	b.s.start += len(p)
	return p, nil
}

// cut says that the end of the connection is not the end of the body.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads the size of the next chunk; after the last one the trailers and io.EOF.
func (b *body) nextChunk() error {
	if b.started {
		p, err := b.line(2)
		if err != nil {
			return err
		}
		if len(p) != 0 {
			return bad("a chunk is longer than it says")
		}
	}
	p, err := b.line(maxLine)
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(p, []byte(";"))
	size = bytes.TrimRight(size, " \t")
	n, err := strconv.ParseUint(string(size), 16, 32)
	if err != nil || len(size) > 8 {
		return bad("the size of a chunk is not a hexadecimal number")
	}
	b.left, b.started = int64(n), true
	if n > 0 {
		return nil
	}
	for total := 0; ; {
		p, err := b.line(maxTrailers - total)
		if err != nil {
			return err
		}
		if len(p) == 0 {
			b.finish()
			return io.EOF
		}
		total += len(p) + 2
		name, value, err := field(p)
		if err != nil {
			return err
		}
		switch {
		case is(name, "lambda-runtime-function-error-type"):
			b.errorType = string(value)
		case is(name, "lambda-runtime-function-error-body"):
			b.errorBody = string(value)
		}
	}
}

// line consumes a line, and returns it without its end.
func (b *body) line(limit int) ([]byte, error) {
	if !bytes.Contains(b.s.unread(), []byte("\r\n")) {
		b.pause()
	}
	p, err := b.s.until("\r\n", limit)
	if err != nil {
		return nil, cut(err)
	}
	b.s.start += len(p)
	return p[:len(p)-2], nil
}

// pause is called before waiting for the client.
func (b *body) pause() {
	if b.out != nil {
		b.out.Flush()
	}
}

// finish gives the buffer back when nothing follows.
func (b *body) finish() {
	b.done = true
	b.s.consume(0)
}
