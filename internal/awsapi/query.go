package awsapi

import (
	"context"
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/hansomcloud/hansom"
)

// maxQueryBody bounds a form, in bytes. IAM's largest field, a policy document, has 131,072 characters at most.
const maxQueryBody = 1 << 20

// Action serves one action of the AWS Query protocol. The result is a struct whose fields become the elements of
// <ActionResult>; nil when the action answers with its metadata alone.
type Action func(ctx context.Context, form url.Values) (any, error)

// Query is a service of the AWS Query protocol: a form with Action and Version comes in, XML goes out.
type Query struct {
	service   string
	namespace string
	logger    *slog.Logger
	actions   map[string]Action
	data      map[string]bool
}

// NewQuery returns a service that answers actions. Function sessions may call those named in data only.
func NewQuery(service, namespace string, logger *slog.Logger, actions map[string]Action, data ...string) *Query {
	q := &Query{service: service, namespace: namespace, logger: logger.With("component", service), actions: actions, data: map[string]bool{}}
	for _, name := range data {
		q.data[name] = true
	}
	return q
}

func (q *Query) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := ParseForm(w, r, maxQueryBody); err != nil {
		q.WriteError(w, r, err)
		return
	}
	name := r.Form.Get("Action")
	action, ok := q.actions[name]
	p := PrincipalFrom(r.Context())
	switch {
	case name == "":
		q.WriteError(w, r, hansom.Errorf(hansom.Invalid, q.service, "The request has no Action parameter.").WithCode("MissingAction"))
		return
	case !ok:
		q.WriteError(w, r, hansom.Errorf(hansom.Unsupported, q.service, "The action %s of %s is not offered by this server.", name, q.service).WithCode("InvalidAction"))
		return
	case p.Kind == hansom.FunctionSession && !q.data[name]:
		q.WriteError(w, r, Denied(p, q.service+":"+name, "*"))
		return
	}
	result, err := action(r.Context(), r.Form)
	if err != nil {
		q.WriteError(w, r, err)
		return
	}
	WriteQueryResult(w, r, name, q.namespace, result)
}

// ParseForm reads the form of a request of at most limit bytes. Errors: TooLarge, Invalid with code MalformedInput.
func ParseForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	err := r.ParseForm()
	if err == nil {
		return nil
	}
	var e *hansom.Error // the reader that checks the body's hash has errors of its own
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		e = hansom.Errorf(hansom.TooLarge, "parse form", "The request has more than %d bytes.", large.Limit)
	case !errors.As(err, &e):
		e = hansom.Errorf(hansom.Invalid, "parse form", "The request's form cannot be read: %w", err).WithCode("MalformedInput")
	}
	return e
}

// WriteQueryResult answers an action with the fields of a struct; nil when it answers with its metadata alone.
func WriteQueryResult(w http.ResponseWriter, r *http.Request, name, namespace string, result any) {
	root := xml.StartElement{Name: xml.Name{Local: name + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}}
	writeXML(w, http.StatusOK, element{root, []element{
		{xml.StartElement{Name: xml.Name{Local: name + "Result"}}, nil, result},
		{xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}, nil, struct{ RequestId string }{RequestID(r.Context())}},
	}, nil})
}

// WriteError answers with <ErrorResponse>.
func (q *Query) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	Log(q.logger, r, err)
	WriteQueryFault(w, r, q.namespace, queryFault(err, RequestID(r.Context())))
}

// Denied is the error of a principal that may not do action ("lambda:CreateFunction") on resource, in AWS's words.
func Denied(p hansom.Principal, action, resource string) error {
	return hansom.Errorf(hansom.Denied, action, "User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
		p.ARN, action, resource, action)
}

// queryKinds maps kinds to the Query protocol's common errors.
var queryKinds = [...]Fault{
	hansom.Internal:        {"InternalFailure", 500, false, ""},
	hansom.Invalid:         {"ValidationError", 400, true, ""},
	hansom.NotFound:        {"NoSuchEntity", 404, true, ""},
	hansom.Conflict:        {"EntityAlreadyExists", 409, true, ""},
	hansom.Precondition:    {"PreconditionFailed", 412, true, ""},
	hansom.Denied:          {"AccessDenied", 403, true, ""},
	hansom.Unauthenticated: {"InvalidClientTokenId", 403, true, ""},
	hansom.TooLarge:        {"RequestEntityTooLarge", 413, true, ""},
	hansom.Throttled:       {"Throttling", 400, true, ""},
	hansom.Unsupported:     {"NotImplemented", 400, true, ""},
	hansom.Unavailable:     {"ServiceUnavailable", 503, false, ""},
	hansom.Timeout:         {"RequestTimeout", 504, false, ""},
	hansom.Canceled:        {"RequestCanceled", StatusClientClosed, true, ""},
}

func queryFault(err error, requestID string) Fault {
	f := queryKinds[hansom.KindOf(err)]
	var e *hansom.Error
	if errors.As(err, &e) && e.Code != "" && e.Kind != hansom.Internal {
		f.Code = e.Code
	}
	f.Message = Message(err, requestID)
	return f
}

// WriteQueryFault answers with <ErrorResponse>.
func WriteQueryFault(w http.ResponseWriter, r *http.Request, namespace string, f Fault) {
	who := "Receiver"
	if f.Sender {
		who = "Sender"
	}
	type fault struct{ Type, Code, Message string }
	writeXML(w, f.Status, struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr,omitempty"`
		Error     fault
		RequestId string
	}{Namespace: namespace, Error: fault{who, f.Code, f.Message}, RequestId: RequestID(r.Context())})
}

// element is an XML element that holds other elements, or the fields of a struct.
type element struct {
	start    xml.StartElement
	children []element
	content  any
}

func (e element) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	if e.content != nil {
		return enc.EncodeElement(e.content, e.start)
	}
	if e.children == nil {
		return nil // an action without a result has no result element
	}
	if err := enc.EncodeToken(e.start); err != nil {
		return err
	}
	for _, c := range e.children {
		if err := c.MarshalXML(enc, c.start); err != nil {
			return err
		}
	}
	return enc.EncodeToken(e.start.End())
}

func writeXML(w http.ResponseWriter, status int, v any) {
	body, err := xml.Marshal(v)
	if err != nil { // answers are structs of plain fields: this is a defect
		panic(err)
	}
	w.Header()["Content-Type"] = []string{"text/xml"}
	w.WriteHeader(status)
	w.Write(body)
}
