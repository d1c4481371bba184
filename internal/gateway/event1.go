package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/payload"
	"github.com/hansomcloud/hansom/internal/gateway/route"
)

// appendEvent1 appends the request as an event of payload format 1.0, with the id and the trace of inv. It reads the body: TooLarge when it is over 6 MB.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func appendEvent1(b []byte, r *http.Request, c *call, inv *hansom.Invocation) ([]byte, error) {
	b = appendRequest1(append(b, `{"version":"1.0"`...), r, c, inv)
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		b = append(b, `,"body":null`...)
	}
	return appendBody(b, r)
}

// appendRequest1 appends what of an event is there without the body. Of several values of a header or of the query the last one counts; the multiValue members have
// them all.
func appendRequest1(b []byte, r *http.Request, c *call, inv *hansom.Invocation) []byte {
	path, rawQuery, _ := strings.Cut(c.uri, "?")
	now := time.Now().UTC()
	ip, scheme, port := origin(r)
	resource := c.routeKey
	if _, p, ok := strings.Cut(resource, " "); ok {
		resource = p
	}

	b = payload.AppendField(b, "resource", resource)
	b = payload.AppendField(b, "path", path)
	b = payload.AppendField(b, "httpMethod", r.Method)
	for _, list := range []bool{false, true} {
		open, single := `,"headers":{`, func(name, value string) { b = payload.AppendField(b, name, value) }
		if list {
			open, single = `,"multiValueHeaders":{`, func(name, value string) {
				b = append(payload.AppendString(append(append(append(b, `,"`...), name...), `":[`...), value), ']')
			}
		}
		b = append(b, open...)
		start := len(b)
		single("Host", r.Host)
		for name, values := range r.Header {
			switch {
			case replaced(name) || len(values) == 0:
			case list:
				b = appendList(append(append(append(b, `,"`...), name...), `":`...), values)
			default:
				b = payload.AppendField(b, name, values[len(values)-1])
			}
		}
		if r.ContentLength > 0 && r.Header["Content-Length"] == nil {
			single("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		}
		if r.Header["Traceparent"] == nil {
			if parent := appendTraceParent(nil, inv.Trace); parent != nil {
				single("Traceparent", string(parent))
			}
		}
		single("X-Amzn-Trace-Id", inv.Trace)
		single("X-Forwarded-For", ip)
		single("X-Forwarded-Port", port)
		single("X-Forwarded-Proto", scheme)
		b = append(append(b[:start], b[start+1:]...), '}') // without the first comma
	}
	b = appendQuery1(b, rawQuery)

	b = append(b, `,"requestContext":{`...)
	b = payload.AppendString(append(b, `"accountId":`...), c.account)
	b = payload.AppendField(b, "apiId", c.apiID)
	if c.decision != nil && c.decision.ContextV1 != nil {
		b = append(append(b, `,"authorizer":`...), c.decision.ContextV1...)
	}
	b = payload.AppendField(b, "domainName", c.host)
	b = payload.AppendField(b, "domainPrefix", c.prefix)
	b = payload.AppendField(b, "extendedRequestId", inv.ID)
	b = payload.AppendField(b, "httpMethod", r.Method)
	b = appendIdentity(append(b, `,"identity":`...), r, c, ip)
	b = payload.AppendField(b, "path", path)
	b = payload.AppendField(b, "protocol", r.Proto)
	b = payload.AppendField(b, "requestId", inv.ID)
	b = append(b, `,"requestTime":"`...)
	b = now.AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `","requestTimeEpoch":`...)
	b = strconv.AppendInt(b, now.UnixMilli(), 10)
	b = payload.AppendField(b, "resourceId", c.routeKey)
	b = payload.AppendField(b, "resourcePath", resource)
	b = append(payload.AppendField(b, "stage", c.stage), '}')

	b = appendParams1(append(b, `,"pathParameters":`...), c.params)
	b = append(b, `,"stageVariables":`...)
	if len(c.variables) == 0 {
		return append(b, "null"...)
	}
	return appendMap(b, c.variables)
}

func appendParams1(b []byte, params []route.Param) []byte {
	if len(params) == 0 {
		return append(b, "null"...)
	}
	return appendParams(b, params)
}

// appendIdentity appends requestContext.identity: what is not known of the caller is null.
func appendIdentity(b []byte, r *http.Request, c *call, ip string) []byte {
	caller := map[string]string{}
	if c.decision != nil && c.decision.Principal != nil {
		p := c.decision.Principal
		caller = map[string]string{"accessKey": p.AccessKeyID, "accountId": p.Project, "caller": p.UserID, "user": p.UserID, "userArn": p.ARN}
	}
	b = append(b, '{')
	for i, name := range []string{"accessKey", "accountId", "caller", "cognitoAmr", "cognitoAuthenticationProvider", "cognitoAuthenticationType", "cognitoIdentityId", "cognitoIdentityPoolId",
		"principalOrgId", "user", "userArn"} {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(payload.AppendString(b, name), ':')
		if v := caller[name]; v != "" {
			b = payload.AppendString(b, v)
		} else {
			b = append(b, "null"...)
		}
	}
	b = payload.AppendField(b, "sourceIp", ip)
	return append(payload.AppendField(b, "userAgent", r.UserAgent()), '}')
}

func appendQuery1(b []byte, raw string) []byte {
	all := query(raw, true)
	if len(all) == 0 {
		return append(b, `,"queryStringParameters":null,"multiValueQueryStringParameters":null`...)
	}
	b = append(b, `,"queryStringParameters":{`...)
	for i, p := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = payload.AppendString(append(payload.AppendString(b, p.name), ':'), p.values[len(p.values)-1])
	}
	b = append(b, `},"multiValueQueryStringParameters":{`...)
	for i, p := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendList(append(payload.AppendString(b, p.name), ':'), p.values)
	}
	return append(b, '}')
}

func appendList(b []byte, values []string) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = payload.AppendString(b, v)
	}
	return append(b, ']')
}

// appendAuthorizerEvent appends the event of a Lambda authorizer, of payload format "1.0" or "2.0", with the values of its identity sources.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
func appendAuthorizerEvent(b []byte, format, arn string, identity []string, r *http.Request, c *call, inv *hansom.Invocation) []byte {
	if format == "1.0" {
		all := strings.Join(identity, ",")
		b = payload.AppendField(append(b, `{"version":"1.0","type":"REQUEST"`...), "methodArn", arn)
		b = payload.AppendField(b, "identitySource", all)
		b = payload.AppendField(b, "authorizationToken", all)
		return append(appendRequest1(b, r, c, inv), '}')
	}
	b = payload.AppendField(append(b, `{"version":"2.0","type":"REQUEST"`...), "routeArn", arn)
	b = append(b, `,"identitySource":`...)
	if len(identity) == 0 {
		b = append(b, "null"...)
	} else {
		b = appendList(b, identity)
	}
	return append(appendRequest(b, r, c, inv), '}')
}
