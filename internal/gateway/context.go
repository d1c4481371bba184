package gateway

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/accesslog"
)

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom lets files go out as the writer below can.
func (w *recorder) ReadFrom(r io.Reader) (n int64, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err = io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var recorders = sync.Pool{New: func() any { return new(recorder) }}

// count counts an answer of a function, also one that broke off, and gives the recorder back.
func (w *recorder) count(m Observer, start time.Time, r *http.Request, c *call) {
	if c.served && hansom.FiberOf(r.Context()) != nil {
		return // it comes again
	}
	m.Observe(w.status, time.Since(start))
	if !c.served { // what passes an answer on may hold it still
		*w = recorder{}
		recorders.Put(w)
	}
}

// end counts the request and writes its line, when it was answered.
func (v *visit) end() {
	if v.again {
		return
	}
	now := v.g.cfg.Now()
	if v.stage.meter != nil {
		v.stage.meter.Observe(v.record.status, now.Sub(v.start))
	}
	if v.stage.log == nil {
		return
	}
	v.stage.log.Write(now, v.id, func(name string) string {
		switch name {
		case "responseLatency":
			return accesslog.Milliseconds(now.Sub(v.start))
		case "requestTime":
			return accesslog.Time(v.start)
		case "requestTimeEpoch":
			return strconv.FormatInt(v.start.UnixMilli(), 10)
		}
		s, _ := v.context(name)
		return s
	})
}

// context is a $context variable, as HTTP APIs have them.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html
func (v *visit) context(name string) (string, bool) {
	s := v.variable(name)
	return s, s != ""
}

func (v *visit) variable(name string) string {
	switch name {
	case "accountId":
		return v.api.project
	case "apiId":
		return v.api.id
	case "requestId", "extendedRequestId":
		return v.id
	case "xrayTraceId":
		return v.trace
	case "domainName":
		return v.host
	case "domainPrefix":
		return v.prefix
	case "customDomain.basePathMatched":
		return v.mapped
	case "httpMethod":
		return v.r.Method
	case "path":
		return rawPath(v.r)
	case "protocol":
		return v.r.Proto
	case "stage":
		return v.stage.name
	case "routeKey":
		if v.t != nil {
			return v.t.key
		}
	case "requestTime":
		return accesslog.Time(v.begun())
	case "requestTimeEpoch":
		return strconv.FormatInt(v.begun().UnixMilli(), 10)
	case "identity.sourceIp":
		ip, _, _ := origin(v.r)
		return ip
	case "identity.userAgent":
		return v.r.UserAgent()
	case "error.message", "error.messageString":
		return v.message
	case "error.responseType":
		return responseType(v.refused)
	case "status":
		return v.answered()
	case "responseLength":
		if v.record != nil {
			return strconv.FormatInt(v.record.bytes, 10)
		}
	case "dataProcessed":
		if v.record != nil {
			return strconv.FormatInt(v.record.bytes+max(v.r.ContentLength, 0), 10)
		}
	}
	if of, ok := strings.CutPrefix(name, "authorizer."); ok && v.decision != nil && v.decision.Value != nil {
		return v.decision.Value(of)
	}
	if of, ok := strings.CutPrefix(name, "identity."); ok && v.decision != nil {
		return v.identity(of)
	}
	if v.called {
		return v.integrated(name)
	}
	return ""
}

// begun is when the request came.
func (v *visit) begun() time.Time {
	if v.start.IsZero() {
		v.start = v.g.cfg.Now()
	}
	return v.start
}

// answered is the status of the answer.
func (v *visit) answered() string {
	status := 0
	if v.record != nil {
		status = v.record.status
	}
	if status == 0 { // a protocol of its own, or a client that has gone
		status = v.integration.Status
	}
	if status == 0 {
		return ""
	}
	return strconv.Itoa(status)
}

// identity is what is known of the caller.
func (v *visit) identity(name string) string {
	if k := v.decision.Key; k != nil && name == "apiKeyId" {
		return k.ID
	}
	p := v.decision.Principal
	if p == nil {
		p = &hansom.Principal{}
	}
	switch name {
	case "accountId":
		return p.Project
	case "accessKey":
		return p.AccessKeyID
	case "caller", "user":
		return p.UserID
	case "userArn":
		return p.ARN
	}
	return ""
}

// integrated is what is known of the integration's part.
func (v *visit) integrated(name string) string {
	status := ""
	if v.integration.Status != 0 {
		status = strconv.Itoa(v.integration.Status)
	}
	switch name {
	case "integrationStatus", "integration.integrationStatus":
		return status
	case "integration.status":
		if v.t.function != "" && v.refused == 0 {
			return v.answered()
		}
		return status
	case "integrationLatency", "integration.latency":
		return accesslog.Milliseconds(v.latency)
	case "integrationErrorMessage", "integration.error":
		return v.integration.Error
	case "integration.requestId", "awsEndpointRequestId":
		return v.integration.RequestID
	}
	return ""
}

// responseType names a refusal as API Gateway does (developer guide, "Gateway response types").
func responseType(status int) string {
	switch status {
	case 0:
		return ""
	case http.StatusBadRequest:
		return "BAD_REQUEST_BODY"
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "ACCESS_DENIED"
	case http.StatusNotFound:
		return "RESOURCE_NOT_FOUND"
	case http.StatusRequestEntityTooLarge:
		return "REQUEST_TOO_LARGE"
	case http.StatusTooManyRequests:
		return "THROTTLED"
	case http.StatusGatewayTimeout:
		return "INTEGRATION_TIMEOUT"
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return "INTEGRATION_FAILURE"
	}
	return "DEFAULT_5XX"
}
