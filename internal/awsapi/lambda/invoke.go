package lambda

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
)

const (
	opInvoke = "Invoke"
	opStream = "InvokeWithResponseStream"
	opAsync  = "InvokeAsync"

	// maxAsyncArgs is the limit of InvokeAsync's payload in bytes; that of an Event is hansom.MaxEventPayload.
	maxAsyncArgs = 256 << 10

	invokePrefix = "/2015-03-31/functions/"
	invokeSuffix = "/invocations"

	// maxClientContext is the limit of X-Amz-Client-Context in bytes of base64 (Lambda API, Invoke).
	maxClientContext = 3583
)

// invokePath returns the function name of a request to Invoke, without the general router.
func invokePath(r *http.Request) (string, bool) {
	path := r.URL.Path
	if r.Method != http.MethodPost || r.URL.RawPath != "" || len(path) <= len(invokePrefix)+len(invokeSuffix) ||
		path[:len(invokePrefix)] != invokePrefix || path[len(path)-len(invokeSuffix):] != invokeSuffix {
		return "", false
	}
	name := path[len(invokePrefix) : len(path)-len(invokeSuffix)]
	return name, strings.IndexByte(name, '/') < 0
}

// IsInvoke says that r calls Invoke, for which a Service waits as invocations do: see hansom.Fiber. All else needs a goroutine for itself.
func IsInvoke(r *http.Request) bool {
	_, ok := invokePath(r)
	return ok
}

// invocation is what a request to Invoke or InvokeWithResponseStream asks for.
type invocation struct {
	hansom.Invocation
	dryRun bool
	event  bool // nobody waits for it
}

// readInvocation reads all of a request but its body. Requests that are plainly right do not pass through the validator.
func (s *Service) readInvocation(r *http.Request, opName, fullName string) (*invocation, error) {
	ctx := r.Context()
	n, plain := parseName(fullName)
	plain = plain && len(fullName) <= 256
	var query url.Values
	var qualifier string
	if r.URL.RawQuery != "" {
		var err error
		if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			return nil, unreadable("The query of the request cannot be read: " + err.Error())
		}
		if query.Has("Qualifier") {
			qualifier = query.Get("Qualifier")
			plain = plain && qualifier != "" && len(qualifier) <= 128 && isWord(qualifier, "$")
		}
	}
	kind, logType := header(r, "X-Amz-Invocation-Type"), header(r, "X-Amz-Log-Type")
	if opName == opAsync {
		kind = "Event"
	}
	plain = plain && (kind == "" || kind == "RequestResponse" || kind == "Event" && opName != opStream) && (logType == "" || logType == "None" || logType == "Tail") &&
		header(r, "X-Amz-Durable-Execution-Name") == "" && header(r, "X-Amz-Tenant-Id") == ""
	if !plain {
		if err := s.validateInvocation(r, opName, fullName, query); err != nil {
			return nil, err
		}
	}
	p := awsapi.PrincipalFrom(ctx)
	function, qualifier, err := s.locate(p, "InvokeFunction", n, qualifier)
	if err != nil {
		return nil, err
	}
	inv := &invocation{dryRun: kind == "DryRun", event: kind == "Event", Invocation: hansom.Invocation{
		ID: awsapi.RequestID(ctx), Project: p.Project, Function: function, Qualifier: qualifier,
		Trace: header(r, "X-Amzn-Trace-Id"), Source: "api", LogTail: logType == "Tail", Fiber: hansom.FiberOf(ctx),
	}}
	if encoded := header(r, "X-Amz-Client-Context"); encoded != "" {
		if inv.ClientContext, err = clientContext(encoded); err != nil {
			return nil, err
		}
	}
	return inv, nil
}

// header is r.Header.Get for a name in canonical form.
func header(r *http.Request, name string) string {
	if v := r.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// validateInvocation holds a request to the model, and refuses by name what the server does not do.
func (s *Service) validateInvocation(r *http.Request, opName, fullName string, query url.Values) error {
	var op *model.Operation
	for i := range operations {
		if operations[i].Name == opName {
			op = &operations[i]
		}
	}
	in, err := s.validator.decode(op, request{path: map[string]string{"FunctionName": fullName}, query: query, header: r.Header})
	if err != nil {
		return err
	}
	return refuse(opName, in, "DurableExecutionName", "TenantId")
}

func clientContext(encoded string) ([]byte, error) {
	if len(encoded) > maxClientContext {
		return nil, hansom.Errorf(hansom.Invalid, opInvoke, "The client context has %d bytes in base64; the limit is %d.", len(encoded), maxClientContext).
			WithCode("InvalidRequestContentException")
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !json.Valid(text) {
		return nil, hansom.Errorf(hansom.Invalid, opInvoke, "Client context must be a valid Base64-encoded JSON object.").WithCode("InvalidRequestContentException")
	}
	return text, nil
}

// accept reads a request to invoke. It returns nil when the request is answered already: refused, or a dry run. done gives the
// payload's buffer back.
func (s *Service) accept(w http.ResponseWriter, r *http.Request, op, fullName string) (inv *invocation, done func()) {
	done = func() {}
	inv, err := s.readInvocation(r, op, fullName)
	if err != nil {
		drain(r)
		s.WriteError(w, r, err)
		return nil, done
	}
	buf, err := s.buffers.read(r)
	if err != nil {
		s.WriteError(w, r, err)
		return nil, done
	}
	done = func() { s.buffers.put(buf) }
	inv.Payload = *buf
	if err := checkPayload(inv.Payload); err != nil {
		s.WriteError(w, r, err)
		return nil, done
	}
	if inv.dryRun || inv.event {
		inv.Detach()
	}
	if inv.dryRun {
		s.dryRun(w, r, inv)
		return nil, done
	}
	return inv, done
}

// invoke serves Invoke.
func (s *Service) invoke(w http.ResponseWriter, r *http.Request, fullName string) {
	inv, done := s.accept(w, r, opInvoke, fullName)
	defer done()
	if inv == nil {
		return
	}
	if inv.event {
		s.acceptEvent(w, r, inv)
		return
	}
	result, err := s.invoker.Invoke(r.Context(), &inv.Invocation, nil)
	if err != nil {
		s.WriteError(w, r, err)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(result.Payload))}
	h["X-Amz-Executed-Version"] = []string{result.Version}
	if result.FunctionError != "" {
		h["X-Amz-Function-Error"] = []string{result.FunctionError}
	}
	if inv.LogTail {
		h["X-Amz-Log-Result"] = []string{base64.StdEncoding.EncodeToString(result.LogTail)}
	}
	if inv.Trace != "" {
		h["X-Amzn-Trace-Id"] = []string{inv.Trace}
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(result.Payload) // a caller that has gone needs no answer
	result.Release()
}

// invokeAsync serves InvokeAsync.
func (s *Service) invokeAsync(w http.ResponseWriter, r *http.Request, fullName string) {
	inv, done := s.accept(w, r, opAsync, fullName)
	defer done()
	switch {
	case inv == nil:
	case len(inv.Payload) > maxAsyncArgs:
		s.WriteError(w, r, hansom.Errorf(hansom.TooLarge, opAsync,
			"%d byte payload is too large for the Event invocation type (limit %d bytes)", len(inv.Payload), maxAsyncArgs))
	default:
		inv.Trace = "" // as AWS documents
		s.acceptEvent(w, r, inv)
	}
}

// acceptEvent answers 202 when the event is stored.
func (s *Service) acceptEvent(w http.ResponseWriter, r *http.Request, inv *invocation) {
	if err := s.invoker.Accept(r.Context(), &inv.Invocation); err != nil {
		s.WriteError(w, r, err)
		return
	}
	w.Header()["X-Amzn-Trace-Id"] = []string{inv.Trace}
	w.WriteHeader(http.StatusAccepted)
}

// dryRun answers 204 when the function is there.
func (s *Service) dryRun(w http.ResponseWriter, r *http.Request, inv *invocation) {
	if _, err := s.functions.Resolve(r.Context(), inv.Project, inv.Function, inv.Qualifier); err != nil {
		s.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func checkPayload(payload []byte) error {
	if len(payload) > 0 && !json.Valid(payload) {
		return hansom.Errorf(hansom.Invalid, opInvoke, "%s", model.SyntaxError(payload)).WithCode("InvalidRequestContentException")
	}
	return nil
}
