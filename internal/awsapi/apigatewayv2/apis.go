package apigatewayv2

import (
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

type cors struct {
	AllowCredentials *bool    `json:"allowCredentials,omitempty"`
	AllowHeaders     []string `json:"allowHeaders,omitempty"`
	AllowMethods     []string `json:"allowMethods,omitempty"`
	AllowOrigins     []string `json:"allowOrigins,omitempty"`
	ExposeHeaders    []string `json:"exposeHeaders,omitempty"`
	MaxAge           *int     `json:"maxAge,omitempty"`
}

type httpAPI struct {
	APIEndpoint               string            `json:"apiEndpoint"`
	APIID                     string            `json:"apiId"`
	APIKeySelectionExpression string            `json:"apiKeySelectionExpression"`
	CORSConfiguration         *cors             `json:"corsConfiguration,omitempty"`
	CreatedDate               string            `json:"createdDate"`
	Description               string            `json:"description,omitempty"`
	DisableExecuteAPIEndpoint bool              `json:"disableExecuteApiEndpoint"`
	ImportInfo                []string          `json:"importInfo,omitempty"`
	IPAddressType             string            `json:"ipAddressType"`
	Name                      string            `json:"name"`
	ProtocolType              string            `json:"protocolType"`
	RouteSelectionExpression  string            `json:"routeSelectionExpression"`
	Tags                      map[string]string `json:"tags"`
	Version                   string            `json:"version,omitempty"`
	Warnings                  []string          `json:"warnings,omitempty"`
}

// routeSelection is how HTTP APIs select routes.
const routeSelection = "$request.method $request.path"

// date is a time as the protocol has it.
func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// never returns a map that is not nil.
func never(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Service) shownAPI(a *api.API) any {
	out := httpAPI{APIEndpoint: s.cfg.Endpoint(a.ID), APIID: a.ID, APIKeySelectionExpression: a.KeySelection, CreatedDate: date(a.Created), Description: a.Description,
		DisableExecuteAPIEndpoint: a.EndpointOff, ImportInfo: a.Imported, IPAddressType: "ipv4", Name: a.Name, ProtocolType: "HTTP", RouteSelectionExpression: routeSelection,
		Tags: never(a.Tags), Version: a.Version, Warnings: a.Warnings}
	if a.KeySelection == "" {
		out.APIKeySelectionExpression = api.DefaultKeySelection
	}
	if a.CORS != nil {
		c := cors(*a.CORS)
		out.CORSConfiguration = &c
	}
	return out
}

// apiOf sets what CreateApi and UpdateApi are told.
func apiOf(in model.Params, a *api.API) error {
	if err := refuse(in, forWebSockets, "DisableSchemaValidation"); err != nil {
		return err
	}
	if e := in.Text("RouteSelectionExpression"); e != "" && e != routeSelection && e != "${request.method} ${request.path}" {
		return invalid("Invalid route selection expression %.200q. HTTP APIs have %s.", e, routeSelection)
	}
	text(&a.Name, in, "Name")
	text(&a.Description, in, "Description")
	text(&a.Version, in, "Version")
	text(&a.KeySelection, in, "ApiKeySelectionExpression")
	flag(&a.EndpointOff, in, "DisableExecuteApiEndpoint")
	if a.KeySelection == api.DefaultKeySelection {
		a.KeySelection = ""
	}
	if c := structure(in, "CorsConfiguration"); c != nil {
		a.CORS = corsOf(c)
	}
	return nil
}

// corsOf is a CORS configuration; nil for one that says nothing.
func corsOf(in model.Params) *hansom.CORS {
	if len(in) == 0 {
		return nil
	}
	c := &hansom.CORS{AllowHeaders: in.Texts("AllowHeaders"), AllowMethods: in.Texts("AllowMethods"), AllowOrigins: in.Texts("AllowOrigins"), ExposeHeaders: in.Texts("ExposeHeaders")}
	if v, ok := in["AllowCredentials"].(bool); ok {
		c.AllowCredentials = &v
	}
	if v, ok := in["MaxAge"].(int64); ok {
		age := int(v)
		c.MaxAge = &age
	}
	return c
}

// quickOf is what a quick create is told; nil when nothing is said of it.
func quickOf(in model.Params) *api.Quick {
	q := api.Quick{Target: in.Text("Target"), RouteKey: in.Text("RouteKey"), Credentials: in.Text("CredentialsArn")}
	if q == (api.Quick{}) {
		return nil
	}
	return &q
}

func (s *Service) createAPI(c *call) (any, error) {
	switch p := c.in.Text("ProtocolType"); p {
	case "HTTP":
	case "WEBSOCKET":
		return nil, unsupported("The protocol type WEBSOCKET is not supported by this server. It has HTTP APIs.")
	default:
		return nil, invalid("Invalid protocol specified. Must be one of [HTTP, WEBSOCKET]")
	}
	a := api.API{Project: c.project, Tags: pairs(c.in, "Tags")}
	if err := apiOf(c.in, &a); err != nil {
		return nil, err
	}
	quick := quickOf(c.in)
	if quick != nil && quick.Target == "" {
		return nil, invalid("Target is required for a quick create: RouteKey and CredentialsArn were given without it.")
	}
	made, err := s.apis.CreateAPI(c, a, quick)
	if err != nil {
		return nil, err
	}
	return s.shownAPI(made), nil
}

func (s *Service) getAPI(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	return s.shownAPI(a), nil
}

func (s *Service) getAPIs(c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := s.apis.APIs(c, c.project, after, limit+1)
	if err != nil {
		return nil, err
	}
	return paged(list, limit, func(a *api.API) string { return a.ID }, s.shownAPI), nil
}

func (s *Service) updateAPI(c *call) (any, error) {
	a, err := s.apis.UpdateAPI(c, c.project, c.in.Text("ApiId"), func(a *api.API) error { return apiOf(c.in, a) }, quickOf(c.in))
	if err != nil {
		return nil, err
	}
	return s.shownAPI(a), nil
}

func (s *Service) deleteAPI(c *call) (any, error) {
	return nil, s.apis.DeleteAPI(c, c.project, c.in.Text("ApiId"))
}

func (s *Service) deleteCORS(c *call) (any, error) {
	return nil, s.apis.SetCORS(c, c.project, c.in.Text("ApiId"), nil)
}

func (c *call) importOptions() api.ImportOptions {
	return api.ImportOptions{Project: c.project, Basepath: c.in.Text("Basepath"), FailOnWarnings: c.in.Flag("FailOnWarnings")}
}

func (s *Service) importAPI(c *call) (any, error) {
	a, err := s.apis.Import(c, []byte(c.in.Text("Body")), c.importOptions())
	if err != nil {
		return nil, err
	}
	return s.shownAPI(a), nil
}

func (s *Service) reimportAPI(c *call) (any, error) {
	a, err := s.apis.Reimport(c, c.in.Text("ApiId"), []byte(c.in.Text("Body")), c.importOptions())
	if err != nil {
		return nil, err
	}
	return s.shownAPI(a), nil
}

func (s *Service) exportAPI(c *call) (any, error) {
	o := api.ExportOptions{Specification: c.in.Text("Specification"), Stage: c.in.Text("StageName"), Extensions: true}
	flag(&o.Extensions, c.in, "IncludeExtensions")
	contentType := "application/json"
	switch c.in.Text("OutputType") {
	case "JSON":
	case "YAML":
		o.YAML, contentType = true, "application/yaml"
	default:
		return nil, invalid("Invalid outputType specified. Must be one of: [YAML, JSON]")
	}
	if o.Specification != "OAS30" && o.Specification != "OAS31" {
		return nil, invalid("Invalid specification specified. Must be one of: [OAS30, OAS31]")
	}
	if v := c.in.Text("ExportVersion"); v != "" && v != "1.0" {
		return nil, invalid("Invalid exportVersion specified. Must be one of: [1.0]")
	}
	doc, err := s.apis.Export(c, c.project, c.in.Text("ApiId"), o)
	if err != nil {
		return nil, err
	}
	return raw{contentType, doc}, nil
}

func (s *Service) getTags(c *call) (any, error) {
	tags, err := s.apis.Tags(c, c.project, c.in.Text("ResourceArn"))
	if err != nil {
		return nil, err
	}
	return struct {
		Tags map[string]string `json:"tags"`
	}{never(tags)}, nil
}

func (s *Service) tagResource(c *call) (any, error) {
	return nil, s.apis.Tag(c, c.project, c.in.Text("ResourceArn"), pairs(c.in, "Tags"), nil)
}

func (s *Service) untagResource(c *call) (any, error) {
	return nil, s.apis.Tag(c, c.project, c.in.Text("ResourceArn"), nil, c.in.Texts("TagKeys"))
}
