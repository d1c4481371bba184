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
	"github.com/hansomcloud/hansom/internal/gateway/payload"
	"github.com/hansomcloud/hansom/internal/gateway/route"
)

// appendEvent appends the request as an event of payload format 2.0, with the id and the trace of inv. It reads the body: TooLarge when it is over 6 MB.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func appendEvent(b []byte, r *http.Request, c *call, inv *hansom.Invocation) ([]byte, error) {
	b = append(b, `{"version":"2.0"`...)
	return appendBody(appendRequest(b, r, c, inv), r)
}

// appendRequest appends what of an event is there without the body.
func appendRequest(b []byte, r *http.Request, c *call, inv *hansom.Invocation) []byte {
	rawPath, rawQuery, _ := strings.Cut(c.uri, "?")
	ip, scheme, port := origin(r)

	b = payload.AppendField(b, "routeKey", c.routeKey)
	b = payload.AppendField(b, "rawPath", rawPath)
	b = payload.AppendField(b, "rawQueryString", rawQuery)
	b = appendCookies(b, r.Header["Cookie"])
	b = append(b, `,"headers":{`...)
	b = payload.AppendString(append(b, `"host":`...), r.Host)
	for name, values := range r.Header {
		if name == "Cookie" || replaced(name) {
			continue
		}
		b = payload.AppendLower(append(b, ','), name)
		b = payload.AppendJoined(append(b, ':'), values)
	}
	if r.ContentLength > 0 && r.Header["Content-Length"] == nil {
		b = payload.AppendField(b, "content-length", strconv.FormatInt(r.ContentLength, 10))
	}
	if c.source != "url" && r.Header["Traceparent"] == nil {
		const name = `,"traceparent":"`
		n := len(b)
		if b = appendTraceParent(append(b, name...), inv.Trace); len(b) > n+len(name) {
			b = append(b, '"')
		} else {
			b = b[:n]
		}
	}
	b = payload.AppendField(b, "x-amzn-trace-id", inv.Trace)
	b = payload.AppendField(b, "x-forwarded-for", ip)
	b = payload.AppendField(b, "x-forwarded-port", port)
	b = payload.AppendField(b, "x-forwarded-proto", scheme)
	b = append(b, '}')
	b = appendQuery(b, rawQuery)
	if len(c.params) > 0 {
		b = appendParams(append(b, `,"pathParameters":`...), c.params)
	}
	if len(c.variables) > 0 {
		b = appendMap(append(b, `,"stageVariables":`...), c.variables)
	}

	return appendContext(append(b, `,"requestContext":`...), r, c, inv, ip)
}

// appendContext appends the request context.
func appendContext(b []byte, r *http.Request, c *call, inv *hansom.Invocation, ip string) []byte {
	now := time.Now().UTC()
	path, _, _ := strings.Cut(c.uri, "?")
	b = payload.AppendString(append(b, `{"accountId":`...), c.account)
	b = payload.AppendField(b, "apiId", c.apiID)
	if c.decision != nil && c.decision.Context != nil {
		b = append(append(b, `,"authorizer":`...), c.decision.Context...)
	}
	if p := c.principal; p != nil {
		b = payload.AppendString(append(b, `,"authorizer":{"iam":{"accessKey":`...), p.AccessKeyID)
		b = payload.AppendField(b, "accountId", p.Project)
		b = payload.AppendField(b, "callerId", p.UserID)
		b = append(b, `,"cognitoIdentity":null,"principalOrgId":null`...)
		b = payload.AppendField(b, "userArn", p.ARN)
		b = payload.AppendField(b, "userId", p.UserID)
		b = append(b, `}}`...)
	}
	b = payload.AppendField(b, "domainName", c.host)
	b = payload.AppendField(b, "domainPrefix", c.prefix)
	b = payload.AppendString(append(b, `,"http":{"method":`...), r.Method)
	b = payload.AppendField(b, "path", path)
	b = payload.AppendField(b, "protocol", r.Proto)
	b = payload.AppendField(b, "sourceIp", ip)
	b = payload.AppendField(b, "userAgent", r.UserAgent())
	b = payload.AppendField(append(b, '}'), "requestId", inv.ID)
	b = payload.AppendField(b, "routeKey", c.routeKey)
	b = payload.AppendField(b, "stage", c.stage)
	b = append(b, `,"time":"`...)
	b = now.AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `","timeEpoch":`...)
	return append(strconv.AppendInt(b, now.UnixMilli(), 10), '}')
}

// origin is where a request came from and how: the client's address, the scheme, and the port that it asked.
func origin(r *http.Request) (ip, scheme, port string) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	scheme, port = "http", "80"
	if r.TLS != nil {
		scheme, port = "https", "443"
	}
	if _, p := splitPort(r.Host); p != "" {
		port = p
	}
	return ip, scheme, port
}

// replaced tells the headers that events do not have as they came: those of the connection, and those that are the gateway's.
func replaced(name string) bool {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Amzn-Trace-Id", "Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Te", "Trailer", "Proxy-Connection":
		return true
	}
	return false
}

func appendParams(b []byte, params []route.Param) []byte {
	b = append(b, '{')
	for i := range params {
		if i > 0 {
			b = append(b, ',')
		}
		b = payload.AppendString(append(payload.AppendString(b, params[i].Name), ':'), params[i].Value)
	}
	return append(b, '}')
}

// appendMap appends an object of strings; nil is null.
func appendMap(b []byte, m map[string]string) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	first := true
	for name, value := range m {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = payload.AppendString(append(payload.AppendString(b, name), ':'), value)
	}
	return append(b, '}')
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
		b = payload.AppendString(append(b, `,"body":`...), body)
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
			b = payload.AppendString(b, c)
		}
	}
	if !first {
		b = append(b, ']')
	}
	return b
}

// parameter is one of a query, with all its values in their order.
type parameter struct {
	name   string
	value  string // the values, joined with commas
	values []string
}

// query reads a query. list asks for the values one by one.
func query(raw string, list bool) (all []parameter) {
	if raw == "" {
		return nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = queryUnescape(name), queryUnescape(value)
		i := slices.IndexFunc(all, func(p parameter) bool { return p.name == name })
		if i < 0 {
			all, i = append(all, parameter{name: name, value: value}), len(all)
		} else if !list {
			all[i].value += "," + value
		}
		if list {
			all[i].values = append(all[i].values, value)
		}
	}
	return all
}

// appendQuery appends queryStringParameters: decoded, the values of a repeated name joined with commas.
func appendQuery(b []byte, raw string) []byte {
	all := query(raw, false)
	if len(all) == 0 {
		return b
	}
	b = append(b, `,"queryStringParameters":{`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = payload.AppendString(append(payload.AppendString(b, all[i].name), ':'), all[i].value)
	}
	return append(b, '}')
}

func queryUnescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
