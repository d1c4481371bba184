package gateway

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// appendEvent appends the request as an event of payload format 2.0, with the id and the trace of inv. It reads the body: TooLarge when it is over 6 MB.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func appendEvent(b []byte, r *http.Request, c *call, inv *hansom.Invocation) ([]byte, error) {
	rawPath, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	now := time.Now().UTC()
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	scheme, port := "http", "80"
	if r.TLS != nil {
		scheme, port = "https", "443"
	}
	if _, p := splitPort(r.Host); p != "" {
		port = p
	}

	b = appendField(append(b, `{"version":"2.0"`...), "routeKey", c.routeKey)
	b = appendField(b, "rawPath", rawPath)
	b = appendField(b, "rawQueryString", rawQuery)
	b = appendCookies(b, r.Header["Cookie"])
	b = append(b, `,"headers":{`...)
	b = appendString(append(b, `"host":`...), r.Host)
	for name, values := range r.Header {
		switch name {
		case "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Amzn-Trace-Id", "Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Te", "Trailer", "Proxy-Connection":
			continue
		}
		b = appendLower(append(b, ','), name)
		b = appendJoined(append(b, ':'), values)
	}
	if r.ContentLength > 0 && r.Header["Content-Length"] == nil {
		b = appendField(b, "content-length", strconv.FormatInt(r.ContentLength, 10))
	}
	b = appendField(b, "x-amzn-trace-id", inv.Trace)
	b = appendField(b, "x-forwarded-for", ip)
	b = appendField(b, "x-forwarded-port", port)
	b = appendField(b, "x-forwarded-proto", scheme)
	b = append(b, '}')
	b = appendQuery(b, rawQuery)
	if len(c.params) > 0 {
		b = append(b, `,"pathParameters":{`...)
		for i, p := range c.params {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(appendString(b, p.name), ':'), p.value)
		}
		b = append(b, '}')
	}

	b = append(b, `,"requestContext":{`...)
	b = appendString(append(b, `"accountId":`...), c.account)
	b = appendField(b, "apiId", c.apiID)
	if p := c.principal; p != nil {
		b = appendString(append(b, `,"authorizer":{"iam":{"accessKey":`...), p.AccessKeyID)
		b = appendField(b, "accountId", p.Project)
		b = appendField(b, "callerId", p.UserID)
		b = append(b, `,"cognitoIdentity":null,"principalOrgId":null`...)
		b = appendField(b, "userArn", p.ARN)
		b = appendField(b, "userId", p.UserID)
		b = append(b, `}}`...)
	}
	b = appendField(b, "domainName", c.host)
	b = appendField(b, "domainPrefix", c.prefix)
	b = appendString(append(b, `,"http":{"method":`...), r.Method)
	b = appendField(b, "path", rawPath)
	b = appendField(b, "protocol", r.Proto)
	b = appendField(b, "sourceIp", ip)
	b = appendField(b, "userAgent", r.UserAgent())
	b = appendField(append(b, '}'), "requestId", inv.ID)
	b = appendField(b, "routeKey", c.routeKey)
	b = appendField(b, "stage", "$default")
	b = append(b, `,"time":"`...)
	b = now.AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `","timeEpoch":`...)
	b = append(strconv.AppendInt(b, now.UnixMilli(), 10), '}')
	return appendBody(b, r)
}

// appendBody appends the body, as text where its content type and its bytes are text, in base64 otherwise, and closes the event.
func appendBody(b []byte, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return append(b, `,"isBase64Encoded":false}`...), nil
	}
	if r.ContentLength > hansom.MaxSyncPayload {
		return b, hansom.Errorf(hansom.TooLarge, "read body", "the body has %d bytes; the limit is %d", r.ContentLength, hansom.MaxSyncPayload)
	}
	buffer := bodies.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= keptBuffer {
			bodies.Put(buffer)
		}
	}()
	body := slices.Grow((*buffer)[:0], max(int(r.ContentLength), 0)+512)
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		*buffer = body
		if len(body) > hansom.MaxSyncPayload {
			return b, hansom.Errorf(hansom.TooLarge, "read body", "the body is over the limit of %d bytes", hansom.MaxSyncPayload)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, err
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
	}
	switch {
	case len(body) == 0:
		return append(b, `,"isBase64Encoded":false}`...), nil
	case isText(r.Header.Get("Content-Type")) && utf8.Valid(body):
		b = slices.Grow(b, len(body)+64)
		b = appendString(append(b, `,"body":`...), body)
		return append(b, `,"isBase64Encoded":false}`...), nil
	}
	b = slices.Grow(b, base64.StdEncoding.EncodedLen(len(body))+64)
	b = append(b, `,"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	return append(b, `","isBase64Encoded":true}`...), nil
}

// isText tells whether Lambda passes bodies of a content type on as text; forms are not among them.
func isText(contentType string) bool {
	switch contentType {
	case "", "application/json":
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t, _, _ = strings.Cut(strings.ToLower(contentType), ";")
		t = strings.TrimSpace(t)
	}
	switch t {
	case "application/json", "application/javascript", "application/xml":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml")
}

func appendCookies(b []byte, headers []string) []byte {
	first := true
	for _, h := range headers {
		for c := range strings.SplitSeq(h, ";") {
			if c = strings.TrimSpace(c); c == "" {
				continue
			}
			if first {
				b = append(b, `,"cookies":[`...)
				first = false
			} else {
				b = append(b, ',')
			}
			b = appendString(b, c)
		}
	}
	if !first {
		b = append(b, ']')
	}
	return b
}

// appendQuery appends queryStringParameters: decoded, the values of a repeated name joined with commas.
func appendQuery(b []byte, raw string) []byte {
	if raw == "" {
		return b
	}
	type entry struct{ name, value string }
	var entries []entry
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = queryUnescape(name), queryUnescape(value)
		if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name }); i >= 0 {
			entries[i].value += "," + value
			continue
		}
		entries = append(entries, entry{name, value})
	}
	if len(entries) == 0 {
		return b
	}
	b = append(b, `,"queryStringParameters":{`...)
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, e.name), ':'), e.value)
	}
	return append(b, '}')
}

func queryUnescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// appendField appends ,"name":"value"; name needs no escaping.
func appendField(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, value)
}

func appendJoined(b []byte, values []string) []byte {
	if len(values) == 1 {
		return appendString(b, values[0])
	}
	return appendString(b, strings.Join(values, ","))
}

// appendLower appends a header name in lower case as a JSON string; header names need no escaping.
func appendLower(b []byte, name string) []byte {
	b = append(b, '"')
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// appendString appends s as a JSON string (RFC 8259 section 7); bytes that are no UTF-8 become U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size != 1 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, "\ufffd"...)
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
