package server

import (
	"context"
	"log/slog"

	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/apigateway"
	"github.com/hansomcloud/hansom/internal/awsapi/apigatewayv2"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/openapi"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

// openAPIs opens the HTTP APIs with their custom domains, and the API keys and usage plans for them. key is the server's.
func (s *Server) openAPIs(ctx context.Context, key []byte, logger *slog.Logger) (err error) {
	cfg := api.DefaultConfig()
	cfg.Region, cfg.Domain, cfg.Check = s.cfg.Region, s.cfg.Domain, s.checkIntegration
	cfg.Import, cfg.Export = s.importAPI, s.exportAPI
	if s.apis, err = api.New(ctx, cfg, s.db, logger); err != nil {
		return err
	}
	plans := usage.DefaultConfig()
	plans.Key = derive(key, "API keys")
	if s.usage, err = usage.New(ctx, plans, s.db, s.apis, logger); err != nil {
		return err
	}
	s.apis.OnRemove(s.usage.RemoveStage)
	return nil
}

// importAPI reads an OpenAPI document.
func (s *Server) importAPI(doc []byte, o api.ImportOptions) (*api.API, []string, error) {
	return openapi.Import(doc, openapi.Options{ID: o.ID, Basepath: o.Basepath, FailOnWarnings: o.FailOnWarnings, Variable: openapi.Variables(s.cfg.Region, o.Project)})
}

// exportAPI writes one.
func (s *Server) exportAPI(a *api.API, snapshot *api.Snapshot, o api.ExportOptions) ([]byte, error) {
	out := openapi.ExportOptions{Specification: o.Specification, Output: "JSON", NoExtensions: !o.Extensions, Endpoint: s.apiEndpoint(a.ID), Stage: o.Stage}
	if o.YAML {
		out.Output = "YAML"
	}
	return openapi.Export(a, snapshot, out)
}

// apiGateway is both versions of the API Gateway API, which share a name.
func (s *Server) apiGateway(logger *slog.Logger) awsapi.Service {
	v2 := apigatewayv2.New(apigatewayv2.Config{Region: s.cfg.Region, Domain: s.cfg.Domain, Endpoint: s.apiEndpoint, Reset: s.authorize.Reset}, s.apis, logger)
	return awsapi.ByPath("/v2/", v2, apigateway.New(s.cfg.Region, s.usage, usedQuotas{s.quotas}, logger))
}

// apiEndpoint is where an HTTP API answers.
func (s *Server) apiEndpoint(id string) string { return s.host(id + ".execute-api") }
