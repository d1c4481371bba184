package lambda

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

// kinds is the one table from kinds of errors to the service's codes. An error's own Code takes precedence; status and shape of
// codes that the model knows come from the model, those of the others from here.
var kinds = [...]struct {
	code   string
	status int
}{
	hansom.Internal:        {"ServiceException", http.StatusInternalServerError},
	hansom.Invalid:         {"InvalidParameterValueException", http.StatusBadRequest},
	hansom.NotFound:        {"ResourceNotFoundException", http.StatusNotFound},
	hansom.Conflict:        {"ResourceConflictException", http.StatusConflict},
	hansom.Precondition:    {"PreconditionFailedException", http.StatusPreconditionFailed},
	hansom.Denied:          {"AccessDeniedException", http.StatusForbidden},
	hansom.Unauthenticated: {"UnrecognizedClientException", http.StatusForbidden},
	hansom.TooLarge:        {"RequestTooLargeException", http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {"TooManyRequestsException", http.StatusTooManyRequests},
	hansom.Unsupported:     {"InvalidParameterValueException", http.StatusBadRequest},
	hansom.Unavailable:     {"ServiceUnavailableException", http.StatusServiceUnavailable},
	hansom.Timeout:         {"RequestTimeoutException", http.StatusGatewayTimeout},
	hansom.Canceled:        {"RequestCanceledException", awsapi.StatusClientClosed},
}

// errorBody has the members of the model's errors. Which of the two messages is set depends on the error.
type errorBody struct {
	Reason  string `json:",omitempty"`
	Type    string `json:",omitempty"`
	Message string `json:",omitempty"`
	Lower   string `json:"message,omitempty"`
}

// faultOf returns the code, status and body that err is reported with.
func faultOf(err error, requestID string) (code string, status int, body errorBody) {
	k := kinds[hansom.KindOf(err)]
	code, status = k.code, k.status
	var e *hansom.Error
	if errors.As(err, &e) && e.Kind != hansom.Internal {
		code = cmp.Or(e.Code, k.code)
		body.Reason = e.Reason
	}
	message := awsapi.Message(err, requestID)
	f, modelled := faults[code]
	if !modelled {
		body.Lower = message
		return code, status, body
	}
	status, body.Type = f.status, "Service"
	if f.sender {
		body.Type = "User"
	}
	if f.message == "Message" {
		body.Message = message
	} else {
		body.Lower = message
	}
	return code, status, body
}

// WriteError answers with err as the Lambda API does: the code in x-amzn-errortype, the message in the body.
func (s *Service) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	awsapi.Log(s.logger, r, err)
	code, status, body := faultOf(err, awsapi.RequestID(r.Context()))
	w.Header()["X-Amzn-Errortype"] = []string{code}
	awsapi.WriteJSON(w, status, body)
}

// unsupported refuses a feature by name.
func unsupported(op, what string) error {
	return hansom.Errorf(hansom.Unsupported, op, "%s is not supported by this server. Leave it out of the request.", what)
}

// refuse refuses the named members of in when they hold more than empty values, which mean nothing.
func refuse(op string, in params, names ...string) error {
	for _, name := range names {
		if path := meaningful(in[name], name); path != "" {
			return unsupported(op, path)
		}
	}
	return nil
}

// meaningful returns the path of the first member at or below x that asks for something; "" when there is none.
func meaningful(x any, path string) string {
	empty := true
	switch x := x.(type) {
	case nil:
	case string:
		empty = x == ""
	case bool:
		empty = !x
	case []any:
		empty = len(x) == 0
	case map[string]any:
		empty = len(x) == 0
	case params:
		for _, name := range slices.Sorted(maps.Keys(x)) {
			if p := meaningful(x[name], path+"."+name); p != "" {
				return p
			}
		}
	default:
		empty = false
	}
	if empty {
		return ""
	}
	return path
}

// tooLarge is AWS's answer to a request whose body is over limit bytes.
func tooLarge(op string, limit int64) error {
	return hansom.Errorf(hansom.TooLarge, op, "Request must be smaller than %d bytes for the %s operation", limit, strings.TrimSuffix(op, "WithResponseStream")).
		WithCode("RequestEntityTooLargeException")
}
