// Package openapi reads HTTP APIs from OpenAPI documents and writes them as such, as API Gateway's ImportApi and ExportApi do:
// OpenAPI 3.0 and 3.1 (https://spec.openapis.org/oas/v3.1.1) in JSON and YAML, with the x-amazon-apigateway extensions that HTTP
// APIs have. https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-open-api.html
package openapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// Options of Import.
type Options struct {
	ID             func() string // makes the IDs of routes, integrations and authorizers
	Basepath       string        // what becomes of the path of the first server: "ignore", which "" means too, "prepend" or "split"
	FailOnWarnings bool
	Strict         bool   // refuses what is not supported where API Gateway warns and leaves it out
	Payload        string // format of what functions get where the document does not say; "" is "1.0"

	// Variable gives the value of ${name} in URIs, ARNs and parameters: AWS::Region and the like. Nil knows none.
	Variable func(name string) (string, bool)
	// Authorizers may be named by security schemes that have none of their own. They are taken over as they are.
	Authorizers []api.Authorizer
}

// Fault is what is wrong at one place of a document.
type Fault struct {
	Line, Column int // counted from 1; 0 is the document as a whole
	Message      string
}

func faultf(n *node, format string, args ...any) *Fault {
	f := &Fault{Message: fmt.Sprintf(format, args...)}
	if n != nil {
		f.Line, f.Column = n.line, n.column
	}
	return f
}

func (f *Fault) String() string {
	if f.Line == 0 {
		return f.Message
	}
	return f.Message + " (line " + strconv.Itoa(f.Line) + ")"
}

// Faults are why a document cannot be imported, or is not because of its warnings.
type Faults struct {
	Title string // "Errors found during import", "Warnings found during import" or "Invalid OpenAPI input", as API Gateway says it
	List  []*Fault
}

func (f *Faults) Error() string {
	var b strings.Builder
	b.WriteString(f.Title + ":")
	for _, one := range f.List {
		b.WriteString("\n\t" + one.String())
	}
	return b.String()
}

const op = "import api"

// maxFaults that are told; one mistake tends to be made in each operation.
const maxFaults = 50

// Import makes an API of a document: its name, description, version, tags, CORS, routes, integrations and authorizers. What the
// document has and HTTP APIs have not is in API.Imported. Errors are Invalid and wrap *Faults.
func Import(doc []byte, o Options) (*api.API, []string, error) {
	switch o.Basepath {
	case "", "ignore", "prepend", "split":
	default:
		return nil, nil, hansom.Errorf(hansom.Invalid, op, "basepath %q must be ignore, prepend or split", o.Basepath)
	}
	refuse := func(title string, faults ...*Fault) error {
		if extra := len(faults) - maxFaults; extra > 0 {
			faults = append(faults[:maxFaults], faultf(nil, "and %d more", extra))
		}
		return hansom.Errorf(hansom.Invalid, op, "%w", &Faults{title, faults})
	}
	root, fault := parse(doc)
	if fault != nil {
		return nil, nil, refuse("Invalid OpenAPI input", fault)
	}
	im := importer{o: o, root: root, api: &api.API{}, schemes: map[string]*scheme{}, integrations: map[*node]string{}}
	im.document()
	slices.SortStableFunc(im.faults, func(x, y *Fault) int { return x.Line - y.Line })
	switch {
	case len(im.faults) > 0:
		return nil, nil, refuse("Errors found during import", im.faults...)
	case o.FailOnWarnings && len(im.warnings) > 0:
		return nil, nil, refuse("Warnings found during import", im.warnings...)
	}
	a := im.api
	slices.SortFunc(a.Routes, func(x, y api.Route) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(a.Integrations, func(x, y api.Integration) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(a.Authorizers, func(x, y api.Authorizer) int { return strings.Compare(x.ID, y.ID) })
	for _, w := range im.warnings {
		a.Warnings = append(a.Warnings, w.Message)
	}
	return a, a.Warnings, nil
}

func quote(s string) string { return strconv.Quote(s) }
