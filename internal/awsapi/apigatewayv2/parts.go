package apigatewayv2

import (
	"strings"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

type routeShape struct {
	APIGatewayManaged   bool     `json:"apiGatewayManaged,omitempty"`
	APIKeyRequired      bool     `json:"apiKeyRequired"`
	AuthorizationScopes []string `json:"authorizationScopes,omitempty"`
	AuthorizationType   string   `json:"authorizationType"`
	AuthorizerID        string   `json:"authorizerId,omitempty"`
	OperationName       string   `json:"operationName,omitempty"`
	RouteID             string   `json:"routeId"`
	RouteKey            string   `json:"routeKey"`
	Target              string   `json:"target,omitempty"`
}

// toIntegration stands before the ID of an integration in the Target of a route.
const toIntegration = "integrations/"

func shownRoute(r *api.Route) any {
	out := routeShape{r.Managed, r.KeyRequired, r.Scopes, r.Authorization, r.Authorizer, r.Operation, r.ID, r.Key, ""}
	if r.Authorization == "" {
		out.AuthorizationType = api.NoAuthorization
	}
	if r.Integration != "" {
		out.Target = toIntegration + r.Integration
	}
	return out
}

// routeOf sets what CreateRoute and UpdateRoute are told.
func routeOf(in model.Params, r *api.Route) error {
	if err := refuse(in, forWebSockets, "ModelSelectionExpression", "RequestModels", "RequestParameters", "RouteResponseSelectionExpression"); err != nil {
		return err
	}
	text(&r.Key, in, "RouteKey")
	text(&r.Operation, in, "OperationName")
	flag(&r.KeyRequired, in, "ApiKeyRequired")
	if t := in.Text("AuthorizationType"); t != "" && t != r.Authorization {
		r.Authorization, r.Authorizer, r.Scopes = t, "", nil // what belongs to the type before goes with it
	}
	text(&r.Authorizer, in, "AuthorizerId")
	texts(&r.Scopes, in, "AuthorizationScopes")
	if target, ok := in["Target"].(string); ok {
		if r.Integration, ok = strings.CutPrefix(target, toIntegration); !ok || r.Integration == "" {
			return invalid("Invalid target %.128q. It must be integrations/ID.", target)
		}
	}
	return nil
}

func (s *Service) createRoute(c *call) (any, error) {
	var r api.Route
	if err := routeOf(c.in, &r); err != nil {
		return nil, err
	}
	made, err := s.apis.CreateRoute(c, c.project, c.in.Text("ApiId"), r)
	if err != nil {
		return nil, err
	}
	return shownRoute(made), nil
}

func (s *Service) getRoute(c *call) (any, error) {
	r, err := s.apis.Route(c, c.project, c.in.Text("ApiId"), c.in.Text("RouteId"))
	if err != nil {
		return nil, err
	}
	return shownRoute(r), nil
}

func (s *Service) getRoutes(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	return listed(c, a.Routes, func(r api.Route) string { return r.ID }, func(r api.Route) any { return shownRoute(&r) })
}

func (s *Service) updateRoute(c *call) (any, error) {
	r, err := s.apis.UpdateRoute(c, c.project, c.in.Text("ApiId"), c.in.Text("RouteId"), func(r *api.Route) error { return routeOf(c.in, r) })
	if err != nil {
		return nil, err
	}
	return shownRoute(r), nil
}

func (s *Service) deleteRoute(c *call) (any, error) {
	return nil, s.apis.DeleteRoute(c, c.project, c.in.Text("ApiId"), c.in.Text("RouteId"))
}

// deleteRouteParameter finds no parameter: the routes of HTTP APIs have none.
func (s *Service) deleteRouteParameter(c *call) (any, error) {
	if _, err := s.apis.Route(c, c.project, c.in.Text("ApiId"), c.in.Text("RouteId")); err != nil {
		return nil, err
	}
	return nil, missing("request parameter")
}

type tlsConfig struct {
	ServerNameToVerify string `json:"serverNameToVerify"`
}

type integration struct {
	APIGatewayManaged    bool                         `json:"apiGatewayManaged,omitempty"`
	ConnectionType       string                       `json:"connectionType"`
	CredentialsARN       string                       `json:"credentialsArn,omitempty"`
	Description          string                       `json:"description,omitempty"`
	IntegrationID        string                       `json:"integrationId"`
	IntegrationMethod    string                       `json:"integrationMethod,omitempty"`
	IntegrationSubtype   string                       `json:"integrationSubtype,omitempty"`
	IntegrationType      string                       `json:"integrationType"`
	IntegrationURI       string                       `json:"integrationUri,omitempty"`
	PayloadFormatVersion string                       `json:"payloadFormatVersion"`
	RequestParameters    map[string]string            `json:"requestParameters,omitempty"`
	ResponseParameters   map[string]map[string]string `json:"responseParameters,omitempty"`
	TimeoutInMillis      int                          `json:"timeoutInMillis"`
	TLSConfig            *tlsConfig                   `json:"tlsConfig,omitempty"`
}

func shownIntegration(i *api.Integration) any {
	out := integration{i.Managed, "INTERNET", i.Credentials, i.Description, i.ID, i.Method, i.Subtype, i.Type, i.URI, i.Payload, i.Parameters, i.Responses, i.Timeout, nil}
	if i.ServerName != "" {
		out.TLSConfig = &tlsConfig{i.ServerName}
	}
	return out
}

// integrationOf sets what CreateIntegration and UpdateIntegration are told.
func integrationOf(in model.Params, i *api.Integration) error {
	if err := refuse(in, forWebSockets, "ContentHandlingStrategy", "RequestTemplates", "TemplateSelectionExpression"); err != nil {
		return err
	}
	if b := in.Text("PassthroughBehavior"); b != "" && b != "WHEN_NO_MATCH" { // without templates this is what happens
		return unsupported("PassthroughBehavior %s is not supported %s. Leave it out of the request.", b, forWebSockets)
	}
	if in.Text("ConnectionType") == "VPC_LINK" || in.Text("ConnectionId") != "" {
		return unsupported("VPC links are not supported by this server. Leave ConnectionType and ConnectionId out; private addresses are reached without.")
	}
	text(&i.Credentials, in, "CredentialsArn")
	text(&i.Description, in, "Description")
	text(&i.Method, in, "IntegrationMethod")
	text(&i.Subtype, in, "IntegrationSubtype")
	text(&i.Type, in, "IntegrationType")
	text(&i.URI, in, "IntegrationUri")
	text(&i.Payload, in, "PayloadFormatVersion")
	number(&i.Timeout, in, "TimeoutInMillis")
	if tls := structure(in, "TlsConfig"); tls != nil {
		i.ServerName = tls.Text("ServerNameToVerify")
	}
	for key, v := range pairs(in, "RequestParameters") {
		_, there := i.Parameters[key]
		if v == "" && (there || !strings.HasPrefix(key, "remove:")) { // what is removed needs no value
			delete(i.Parameters, key)
			continue
		}
		if i.Parameters == nil {
			i.Parameters = map[string]string{}
		}
		i.Parameters[key] = v
	}
	byStatus, _ := in["ResponseParameters"].(map[string]any)
	for status := range byStatus {
		parameters := pairs(byStatus, status)
		if len(parameters) == 0 {
			delete(i.Responses, status)
			continue
		}
		if i.Responses == nil {
			i.Responses = map[string]map[string]string{}
		}
		i.Responses[status] = parameters
	}
	return nil
}

func (s *Service) createIntegration(c *call) (any, error) {
	var i api.Integration
	if err := integrationOf(c.in, &i); err != nil {
		return nil, err
	}
	made, err := s.apis.CreateIntegration(c, c.project, c.in.Text("ApiId"), i)
	if err != nil {
		return nil, err
	}
	return shownIntegration(made), nil
}

func (s *Service) getIntegration(c *call) (any, error) {
	i, err := s.apis.Integration(c, c.project, c.in.Text("ApiId"), c.in.Text("IntegrationId"))
	if err != nil {
		return nil, err
	}
	return shownIntegration(i), nil
}

func (s *Service) getIntegrations(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	return listed(c, a.Integrations, func(i api.Integration) string { return i.ID }, func(i api.Integration) any { return shownIntegration(&i) })
}

func (s *Service) updateIntegration(c *call) (any, error) {
	i, err := s.apis.UpdateIntegration(c, c.project, c.in.Text("ApiId"), c.in.Text("IntegrationId"), func(i *api.Integration) error { return integrationOf(c.in, i) })
	if err != nil {
		return nil, err
	}
	return shownIntegration(i), nil
}

func (s *Service) deleteIntegration(c *call) (any, error) {
	return nil, s.apis.DeleteIntegration(c, c.project, c.in.Text("ApiId"), c.in.Text("IntegrationId"))
}

type jwtConfiguration struct {
	Audience []string `json:"audience"`
	Issuer   string   `json:"issuer"`
}

type authorizer struct {
	AuthorizerCredentialsARN       string            `json:"authorizerCredentialsArn,omitempty"`
	AuthorizerID                   string            `json:"authorizerId"`
	AuthorizerPayloadFormatVersion string            `json:"authorizerPayloadFormatVersion,omitempty"`
	AuthorizerResultTTLInSeconds   *int              `json:"authorizerResultTtlInSeconds,omitempty"`
	AuthorizerType                 string            `json:"authorizerType"`
	AuthorizerURI                  string            `json:"authorizerUri,omitempty"`
	EnableSimpleResponses          *bool             `json:"enableSimpleResponses,omitempty"`
	IdentitySource                 []string          `json:"identitySource,omitempty"`
	JWTConfiguration               *jwtConfiguration `json:"jwtConfiguration,omitempty"`
	Name                           string            `json:"name"`
}

func shownAuthorizer(z *api.Authorizer) any {
	out := authorizer{AuthorizerCredentialsARN: z.Credentials, AuthorizerID: z.ID, AuthorizerPayloadFormatVersion: z.Payload, AuthorizerType: z.Type, AuthorizerURI: z.URI,
		IdentitySource: z.Sources, Name: z.Name}
	if z.Type == api.JWT {
		out.JWTConfiguration = &jwtConfiguration{z.Audience, z.Issuer}
	} else {
		out.AuthorizerResultTTLInSeconds, out.EnableSimpleResponses = &z.TTL, &z.Simple
	}
	return out
}

// authorizerOf sets what CreateAuthorizer and UpdateAuthorizer are told.
func authorizerOf(in model.Params, z *api.Authorizer) error {
	if err := refuse(in, "for HTTP APIs", "IdentityValidationExpression"); err != nil {
		return err
	}
	text(&z.Credentials, in, "AuthorizerCredentialsArn")
	text(&z.Payload, in, "AuthorizerPayloadFormatVersion")
	number(&z.TTL, in, "AuthorizerResultTtlInSeconds")
	text(&z.Type, in, "AuthorizerType")
	text(&z.URI, in, "AuthorizerUri")
	flag(&z.Simple, in, "EnableSimpleResponses")
	texts(&z.Sources, in, "IdentitySource")
	text(&z.Name, in, "Name")
	if jwt := structure(in, "JwtConfiguration"); jwt != nil {
		text(&z.Issuer, jwt, "Issuer")
		texts(&z.Audience, jwt, "Audience")
	}
	return nil
}

func (s *Service) createAuthorizer(c *call) (any, error) {
	var z api.Authorizer
	if c.in.Text("AuthorizerType") == api.Request && len(c.in.Texts("IdentitySource")) > 0 {
		z.TTL = api.DefaultTTL
	}
	if err := authorizerOf(c.in, &z); err != nil {
		return nil, err
	}
	made, err := s.apis.CreateAuthorizer(c, c.project, c.in.Text("ApiId"), z)
	if err != nil {
		return nil, err
	}
	return shownAuthorizer(made), nil
}

func (s *Service) getAuthorizer(c *call) (any, error) {
	z, err := s.apis.Authorizer(c, c.project, c.in.Text("ApiId"), c.in.Text("AuthorizerId"))
	if err != nil {
		return nil, err
	}
	return shownAuthorizer(z), nil
}

func (s *Service) getAuthorizers(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	return listed(c, a.Authorizers, func(z api.Authorizer) string { return z.ID }, func(z api.Authorizer) any { return shownAuthorizer(&z) })
}

func (s *Service) updateAuthorizer(c *call) (any, error) {
	z, err := s.apis.UpdateAuthorizer(c, c.project, c.in.Text("ApiId"), c.in.Text("AuthorizerId"), func(z *api.Authorizer) error { return authorizerOf(c.in, z) })
	if err != nil {
		return nil, err
	}
	return shownAuthorizer(z), nil
}

func (s *Service) deleteAuthorizer(c *call) (any, error) {
	return nil, s.apis.DeleteAuthorizer(c, c.project, c.in.Text("ApiId"), c.in.Text("AuthorizerId"))
}

func (s *Service) resetAuthorizers(c *call) (any, error) {
	st, err := s.apis.Stage(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"))
	if err == nil && s.cfg.Reset != nil {
		s.cfg.Reset(c.in.Text("ApiId"), st.Name)
	}
	return nil, err
}
