// Package payload turns what functions return into responses, as payload formats 1.0 and 2.0 have them, and reads and writes JSON for that without reflection.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
package payload

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// preludeEnd separates the JSON prelude of a streamed HTTP answer from its body.
var preludeEnd = make([]byte, 8)

// PreludeType is the content type of a stream that begins with a JSON prelude.
const (
	PreludeType = "application/vnd.awslambda.http-integration-response"
	maxPrelude  = 1 << 20 // bytes of status, headers and cookies

	writeTimeout = time.Minute // for one write of a streamed answer
)

// response is a function's answer: the members of {statusCode, headers, cookies, multiValueHeaders, body, isBase64Encoded} as raw JSON.
type response struct {
	status  int // 0 when the answer has no statusCode
	headers []byte
	cookies []byte
	body    []byte
	base64  bool
	multi   []byte // multiValueHeaders, of payload format 1.0
}

var typeJSON = []string{"application/json"} // without room to append

var errResponse = errors.New("not a response")

// parse scans the members of a result that is an object with a statusCode; any other result is left as it is (status 0).
func (p *response) parse(result []byte) error {
	return scanObject(result, func(key, value []byte) error {
		var err error
		switch string(key) {
		case "statusCode":
			p.status, err = strconv.Atoi(string(bytes.Trim(value, `"`)))
			if err != nil || p.status < 100 || p.status > 999 {
				err = errResponse
			}
		case "headers":
			p.headers = value
		case "cookies":
			p.cookies = value
		case "multiValueHeaders":
			p.multi = value
		case "body":
			p.body = value
		case "isBase64Encoded":
			p.base64 = string(value) == "true"
		}
		return err
	})
}

// setHeaders copies the answer's headers and cookies into h and makes sure of a content type.
func (p *response) setHeaders(h http.Header, contentType string) error {
	if len(p.headers) > 0 && p.headers[0] == '{' {
		err := scanObject(p.headers, func(key, value []byte) error {
			name := http.CanonicalHeaderKey(string(key))
			switch {
			case hopByHop(name), foreign(h, name):
				return nil
			case len(value) > 0 && value[0] == '[': // several values of one header
				h.Del(name)
				return scanArray(value, func(v []byte) error { return addHeader(h, name, v) })
			}
			h.Del(name)
			return addHeader(h, name, value)
		})
		if err != nil {
			return err
		}
	}
	if len(p.multi) > 0 && p.multi[0] == '{' {
		err := scanObject(p.multi, func(key, value []byte) error {
			name := http.CanonicalHeaderKey(string(key))
			if hopByHop(name) || foreign(h, name) || len(value) > 0 && value[0] == 'n' {
				return nil
			}
			h.Del(name) // several values win over the one of headers
			return scanArray(value, func(v []byte) error { return addHeader(h, name, v) })
		})
		if err != nil {
			return err
		}
	}
	if len(p.cookies) > 0 && p.cookies[0] == '[' {
		if err := scanArray(p.cookies, func(v []byte) error { return addHeader(h, "Set-Cookie", v) }); err != nil {
			return err
		}
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = []string{contentType}
	}
	return nil
}

// foreign tells a CORS header that gives way to the function URL's own.
func foreign(h http.Header, name string) bool {
	return strings.HasPrefix(name, "Access-Control-") && h[name] != nil
}

func addHeader(h http.Header, name string, value []byte) error {
	switch {
	case len(value) == 0 || value[0] == '{' || value[0] == '[':
		return errResponse
	case string(value) == "null":
		return nil
	case value[0] == '"':
		text, err := unquote(value)
		if err != nil {
			return err
		}
		value = text
	}
	h[name] = append(h[name], string(value))
	return nil
}

func hopByHop(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// WriteResult answers with a function's buffered result, as payload format 2.0 infers it: an object with a statusCode is a
// response, anything else is the body of a 200. With payload format 1.0 nothing is inferred. It reports false, with nothing written, when the result is no response.
func WriteResult(w http.ResponseWriter, result []byte, format1 bool) bool {
	// A streaming function behind a buffered URL: the prelude comes first.
	if i := preludeLength(result); i > 0 {
		var p response
		if p.parse(result[:i]) != nil || p.setHeaders(w.Header(), "application/octet-stream") != nil {
			return false
		}
		return write(w, max(p.status, 0), result[i+len(preludeEnd):])
	}
	trimmed := bytes.TrimLeft(result, " \t\r\n")
	var p response
	if len(trimmed) > 0 && trimmed[0] == '{' {
		if p.parse(trimmed) != nil {
			return false
		}
	}
	if format1 {
		p.cookies = nil // format 1.0 has none
		if p.status == 0 {
			return false
		}
	} else {
		p.multi = nil
	}
	if p.status == 0 { // inferred
		body := result
		if len(trimmed) > 0 && trimmed[0] == '"' {
			text, err := unquote(bytes.TrimRight(trimmed, " \t\r\n"))
			if err != nil {
				return false
			}
			body = text
		}
		w.Header()["Content-Type"] = typeJSON
		return write(w, http.StatusOK, body)
	}
	body := p.body
	switch {
	case len(body) == 0 || string(body) == "null":
		body = nil
	case body[0] == '"':
		text, err := unquote(body)
		if err != nil {
			return false
		}
		body = text
	}
	if p.base64 {
		n, err := base64.StdEncoding.Decode(body, body)
		if err != nil {
			return false
		}
		body = body[:n]
	}
	if p.setHeaders(w.Header(), "application/json") != nil {
		return false
	}
	return write(w, p.status, body)
}

// preludeLength is where the prelude of a buffered stream ends; 0 when result does not begin with one.
func preludeLength(result []byte) int {
	if len(result) == 0 || result[0] != '{' {
		return 0
	}
	return max(bytes.Index(result, preludeEnd), 0)
}

func write(w http.ResponseWriter, status int, body []byte) bool {
	if status == 0 {
		status = http.StatusOK
	}
	if status < 200 { // informational answers end no request
		return false
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return true
}

// Stream passes a streamed answer on as it comes. Its Write blocks while the client is slow, which holds the function back.
type Stream struct {
	W http.ResponseWriter

	waiting bool   // for the end of the prelude
	prelude []byte // what came of it
	started bool   // the status line is out
	broken  bool   // the prelude was no response: the rest is discarded
	gone    error  // the client went away
}

// Start takes the content type; status and header are those of an answer without a prelude.
func (s *Stream) Start(status int, header http.Header) {
	if header.Get("Content-Type") == PreludeType {
		s.waiting = true
		return
	}
	h := s.W.Header()
	for name, values := range header {
		if !hopByHop(name) {
			h[name] = values
		}
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = []string{"application/octet-stream"}
	}
	s.begin(status)
}

func (s *Stream) begin(status int) {
	s.started = true
	s.W.WriteHeader(status)
	s.Flush()
}

func (s *Stream) Write(p []byte) (int, error) {
	n := len(p)
	if s.waiting {
		s.prelude = append(s.prelude, p...)
		i := bytes.Index(s.prelude, preludeEnd)
		if i < 0 {
			if len(s.prelude) > maxPrelude {
				s.waiting, s.broken = false, true
			}
			return n, nil
		}
		s.waiting = false
		var head response
		if head.parse(s.prelude[:i]) != nil || head.setHeaders(s.W.Header(), "application/octet-stream") != nil || head.status != 0 && head.status < 200 {
			s.broken = true
			return n, nil
		}
		if head.status == 0 {
			head.status = http.StatusOK
		}
		p = s.prelude[i+len(preludeEnd):]
		s.begin(head.status)
	}
	if s.broken || s.gone != nil || len(p) == 0 {
		return n, s.gone
	}
	// A client that reads nothing at all must not hold an instance for ever.
	_ = http.NewResponseController(s.W).SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.W.Write(p); err != nil {
		s.gone = err
	}
	return n, s.gone
}

// Flush sends what was written so far.
func (s *Stream) Flush() {
	if s.started {
		_ = http.NewResponseController(s.W).Flush()
	}
}

// End completes the answer. It reports false, with nothing written, when the function gave no response. An answer that broke
// off ends the connection, so that the client does not take it for complete.
func (s *Stream) End(failed bool) bool {
	_ = http.NewResponseController(s.W).SetWriteDeadline(time.Time{}) // the connection goes on to the next request
	switch {
	case !s.started:
		return false
	case failed && s.gone == nil:
		panic(http.ErrAbortHandler)
	}
	return true
}
