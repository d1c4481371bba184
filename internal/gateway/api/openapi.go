package api

import (
	"context"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// MaxDefinition is the largest OpenAPI document, in bytes.
const MaxDefinition = 6 << 20

// ImportOptions say how an OpenAPI document is read.
type ImportOptions struct {
	Project        string
	Basepath       string // "ignore", which "" means too, "prepend" or "split"
	FailOnWarnings bool
	ID             func() string // of routes, integrations and authorizers
}

// ExportOptions say how an OpenAPI document is written.
type ExportOptions struct {
	Specification string // "OAS30" or "OAS31"
	YAML          bool   // in place of JSON
	Extensions    bool   // x-amazon-apigateway-*
	Stage         string // that is exported; "" is the API as it is configured
}

// Import makes an API of an OpenAPI document. Errors: BadRequestException, TooManyRequestsException.
func (s *Service) Import(ctx context.Context, doc []byte, o ImportOptions) (*API, error) {
	a, err := s.imported(doc, o)
	if err != nil {
		return nil, err
	}
	return s.insert(ctx, *a)
}

// Reimport puts an OpenAPI document in the place of what an API has; its stages and its ID stay. Errors: NotFoundException, BadRequestException,
// TooManyRequestsException.
func (s *Service) Reimport(ctx context.Context, id string, doc []byte, o ImportOptions) (*API, error) {
	in, err := s.imported(doc, o)
	if err != nil {
		return nil, err
	}
	return s.edit(ctx, o.Project, id, func(_ *db.Tx, a *API) error {
		next := *in
		next.ID, next.Created, next.Stages, next.Deployments = a.ID, a.Created, a.Stages, a.Deployments
		*a = next
		return nil
	})
}

// imported reads an OpenAPI document.
func (s *Service) imported(doc []byte, o ImportOptions) (*API, error) {
	if s.cfg.Import == nil {
		return nil, hansom.Errorf(hansom.Unsupported, "import API", "OpenAPI documents cannot be imported by this server.")
	}
	if o.Basepath != "" && o.Basepath != "ignore" && o.Basepath != "prepend" && o.Basepath != "split" {
		return nil, invalid("Invalid basepath specified. Must be one of: [ignore, prepend, split]")
	}
	o.ID = s.ids()
	a, warnings, err := s.cfg.Import(doc, o)
	if err != nil {
		return nil, err
	}
	if o.FailOnWarnings && len(warnings) > 0 {
		return nil, invalid("Warnings found during import:\n\t%s", strings.Join(warnings, "\n\t"))
	}
	a.Project, a.Warnings = o.Project, warnings
	return a, s.checkAll(a)
}

// ids makes IDs of which none comes twice.
func (s *Service) ids() func() string {
	used := map[string]bool{}
	return func() string {
		id := s.unused(sizeOfPart, func(id string) bool { return used[id] })
		used[id] = true
		return id
	}
}

// Export writes an API as an OpenAPI document. Errors: NotFoundException for the API and for a stage without a deployment, BadRequestException.
func (s *Service) Export(ctx context.Context, project, id string, o ExportOptions) ([]byte, error) {
	if s.cfg.Export == nil {
		return nil, hansom.Errorf(hansom.Unsupported, "export API", "APIs cannot be exported by this server.")
	}
	a, err := s.API(ctx, project, id)
	if err != nil {
		return nil, err
	}
	snapshot := &Snapshot{a.Routes, a.Integrations, a.Authorizers, a.CORS}
	if o.Stage != "" {
		st := a.stage(o.Stage)
		if st == nil || st.Deployment == "" {
			return nil, notFound("stage")
		}
		if snapshot, err = readSnapshot(ctx, s.db.Read(), a.ID, st.Deployment); err != nil {
			return nil, err
		}
	}
	return s.cfg.Export(a, snapshot, o)
}
