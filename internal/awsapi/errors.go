package awsapi

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Fault is an error as a service reports it.
type Fault struct {
	Code    string
	Status  int
	Sender  bool // the caller's fault, not the server's
	Message string
}

// StatusClientClosed is the status that is logged when the caller has gone away; nobody reads it.
const StatusClientClosed = 499

// Message returns what the caller is told. The causes of internal errors stay in the log, under the request's id.
func Message(err error, requestID string) string {
	var e *hansom.Error
	if !errors.As(err, &e) || e.Kind == hansom.Internal || e.Message == "" {
		return "The server met an internal error. Its log says more under request id " + requestID + "."
	}
	return e.Message
}

// Log notes what a caller is not told.
func Log(logger *slog.Logger, r *http.Request, err error) {
	if hansom.KindOf(err) == hansom.Internal {
		logger.Error("request failed", "requestId", RequestID(r.Context()), "method", r.Method, "path", r.URL.Path, "error", err)
	}
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // answers are structs of plain fields: this is a defect
		panic(err)
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(status)
	w.Write(body)
}

// unknown answers for services that are not there, in the protocol that the request seems to speak.
type unknown struct{ logger *slog.Logger }

func (u unknown) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

func (u unknown) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	Log(u.logger, r, err)
	f := queryFault(err, RequestID(r.Context()))
	switch {
	case r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json"):
		w.Header()["X-Amzn-Errortype"] = []string{f.Code}
		WriteJSON(w, f.Status, map[string]string{"__type": f.Code, "message": f.Message})
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		WriteQueryFault(w, r, "", f)
	case serviceName(r) == "s3":
		writeXML(w, f.Status, struct {
			XMLName   xml.Name `xml:"Error"`
			Code      string
			Message   string
			RequestId string
		}{Code: f.Code, Message: f.Message, RequestId: RequestID(r.Context())})
	default:
		w.Header()["X-Amzn-Errortype"] = []string{f.Code}
		WriteJSON(w, f.Status, map[string]string{"message": f.Message})
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ReadBody reads the body of a request for op, of limit bytes at the most. Errors: those of the reader that checks its hash, SerializationException
// for one that ends early, TooLarge.
func ReadBody(r *http.Request, op string, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	var e *hansom.Error
	switch {
	case errors.As(err, &e):
		return nil, err
	case err != nil:
		return nil, hansom.Errorf(hansom.Invalid, "read body", "The body of the request ended early: %w", err).WithCode("SerializationException")
	case int64(len(body)) > limit:
		return nil, hansom.Errorf(hansom.TooLarge, op, "The request has more than %d bytes.", limit)
	}
	return body, nil
}
