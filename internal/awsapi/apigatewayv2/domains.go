package apigatewayv2

import (
	"strings"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

type domainConfiguration struct {
	APIGatewayDomainName string `json:"apiGatewayDomainName"`
	CertificateARN       string `json:"certificateArn,omitempty"`
	DomainNameStatus     string `json:"domainNameStatus"`
	EndpointType         string `json:"endpointType"`
	IPAddressType        string `json:"ipAddressType"`
	SecurityPolicy       string `json:"securityPolicy"`
}

type domainName struct {
	APIMappingSelectionExpression string                `json:"apiMappingSelectionExpression"`
	DomainName                    string                `json:"domainName"`
	DomainNameConfigurations      []domainConfiguration `json:"domainNameConfigurations"`
	RoutingMode                   string                `json:"routingMode"`
	Tags                          map[string]string     `json:"tags"`
}

func (s *Service) shownDomain(d *api.Domain) any {
	return domainName{"$request.basepath", d.Name, []domainConfiguration{{s.cfg.Domain, d.Certificate, "AVAILABLE", "REGIONAL", "ipv4", d.Security}}, "API_MAPPING_ONLY", never(d.Tags)}
}

// domainOf sets what CreateDomainName and UpdateDomainName are told. What a configuration has of an answer says nothing.
func domainOf(in model.Params, d *api.Domain) error {
	if in["MutualTlsAuthentication"] != nil {
		return unsupported("MutualTlsAuthentication is not supported by this server. Leave it out of the request.")
	}
	list, given := in["DomainNameConfigurations"].([]any)
	if !given {
		return nil
	}
	if len(list) != 1 {
		return invalid("Invalid input. Expected one domain name configuration")
	}
	configuration, _ := list[0].(model.Params)
	if err := refuse(configuration, "by this server", "CertificateName", "OwnershipVerificationCertificateArn"); err != nil {
		return err
	}
	if t := configuration.Text("EndpointType"); t != "" && t != "REGIONAL" {
		return unsupported("The endpoint type %s is not supported for HTTP APIs. They have REGIONAL.", t)
	}
	if arn := configuration.Text("CertificateArn"); arn != "" && !strings.HasPrefix(arn, "arn:") {
		return invalid("Invalid certificate ARN: %.200s", arn)
	}
	text(&d.Certificate, configuration, "CertificateArn")
	text(&d.Security, configuration, "SecurityPolicy")
	return nil
}

func (s *Service) createDomain(c *call) (any, error) {
	d := api.Domain{Project: c.project, Name: strings.ToLower(c.in.Text("DomainName")), Security: "TLS_1_2", Tags: pairs(c.in, "Tags")}
	if err := domainOf(c.in, &d); err != nil {
		return nil, err
	}
	made, err := s.apis.CreateDomain(c, d)
	if err != nil {
		return nil, err
	}
	return s.shownDomain(made), nil
}

func (s *Service) getDomain(c *call) (any, error) {
	d, err := s.apis.Domain(c, c.project, c.in.Text("DomainName"))
	if err != nil {
		return nil, err
	}
	return s.shownDomain(d), nil
}

func (s *Service) getDomains(c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := s.apis.Domains(c, c.project, after, limit+1)
	if err != nil {
		return nil, err
	}
	return paged(list, limit, func(d *api.Domain) string { return d.Name }, s.shownDomain), nil
}

func (s *Service) updateDomain(c *call) (any, error) {
	d, err := s.apis.UpdateDomain(c, c.project, c.in.Text("DomainName"), func(d *api.Domain) error { return domainOf(c.in, d) })
	if err != nil {
		return nil, err
	}
	return s.shownDomain(d), nil
}

func (s *Service) deleteDomain(c *call) (any, error) {
	return nil, s.apis.DeleteDomain(c, c.project, c.in.Text("DomainName"))
}

type apiMapping struct {
	APIID         string `json:"apiId"`
	APIMappingID  string `json:"apiMappingId"`
	APIMappingKey string `json:"apiMappingKey"`
	Stage         string `json:"stage"`
}

func shownMapping(m *api.Mapping) any { return apiMapping{m.API, m.ID, m.Key, m.Stage} }

func mappingOf(in model.Params, m *api.Mapping) {
	text(&m.API, in, "ApiId")
	text(&m.Key, in, "ApiMappingKey")
	text(&m.Stage, in, "Stage")
}

func (s *Service) createMapping(c *call) (any, error) {
	var m api.Mapping
	mappingOf(c.in, &m)
	made, err := s.apis.CreateMapping(c, c.project, c.in.Text("DomainName"), m)
	if err != nil {
		return nil, err
	}
	return shownMapping(made), nil
}

func (s *Service) getMapping(c *call) (any, error) {
	d, err := s.apis.Domain(c, c.project, c.in.Text("DomainName"))
	if err != nil {
		return nil, err
	}
	for _, m := range d.Mappings {
		if m.ID == c.in.Text("ApiMappingId") {
			return shownMapping(&m), nil
		}
	}
	return nil, missing("ApiMapping")
}

func (s *Service) getMappings(c *call) (any, error) {
	d, err := s.apis.Domain(c, c.project, c.in.Text("DomainName"))
	if err != nil {
		return nil, err
	}
	return listed(c, d.Mappings, func(m api.Mapping) string { return m.ID }, func(m api.Mapping) any { return shownMapping(&m) })
}

func (s *Service) updateMapping(c *call) (any, error) {
	m, err := s.apis.UpdateMapping(c, c.project, c.in.Text("DomainName"), c.in.Text("ApiMappingId"), func(m *api.Mapping) error {
		mappingOf(c.in, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return shownMapping(m), nil
}

func (s *Service) deleteMapping(c *call) (any, error) {
	return nil, s.apis.DeleteMapping(c, c.project, c.in.Text("DomainName"), c.in.Text("ApiMappingId"))
}
