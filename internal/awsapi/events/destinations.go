package events

import (
	"encoding/json"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/endpoint"
)

type connection struct {
	ARN               string         `json:"ConnectionArn"`
	Name              string         `json:",omitempty"`
	Description       string         `json:",omitempty"`
	State             string         `json:"ConnectionState"`
	StateReason       string         `json:",omitempty"`
	AuthorizationType string         `json:",omitempty"`
	AuthParameters    *endpoint.Auth `json:",omitempty"`
	CreationTime      *float64
	LastModifiedTime  *float64
	LastAuthorized    *float64 `json:"LastAuthorizedTime,omitempty"`
}

// changedConnection is a connection as the operations show it that change one.
func changedConnection(c *endpoint.Connection, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return connection{ARN: c.ARN, State: c.State, CreationTime: seconds(c.Created), LastModifiedTime: seconds(c.Modified), LastAuthorized: seconds(c.Authorized)}, nil
}

// listedConnection is a connection as lists show it.
func listedConnection(c *endpoint.Connection) connection {
	return connection{ARN: c.ARN, Name: c.Name, State: c.State, StateReason: c.Reason, AuthorizationType: c.Kind,
		CreationTime: seconds(c.Created), LastModifiedTime: seconds(c.Modified), LastAuthorized: seconds(c.Authorized)}
}

func (c *call) connectionInput() (in endpoint.ConnectionInput, err error) {
	in = endpoint.ConnectionInput{Name: c.in.Text("Name"), Kind: c.in.Text("AuthorizationType")}
	if text, ok := c.in["Description"].(string); ok {
		in.Description = &text
	}
	if auth, ok := c.in["AuthParameters"].(model.Params); ok {
		if auth["ConnectivityParameters"] != nil {
			return in, unsupported(c.op, "The parameter ConnectivityParameters")
		}
		text, err := json.Marshal(auth)
		if err == nil {
			err = json.Unmarshal(text, &in.Auth) // its JSON is the API's
		}
		if err != nil {
			return in, err
		}
	}
	return in, c.absent("InvocationConnectivityParameters", "KmsKeyIdentifier")
}

func (s *Service) createConnection(c *call) (any, error) {
	in, err := c.connectionInput()
	if err != nil {
		return nil, err
	}
	made, err := s.Endpoints.CreateConnection(c, c.project, in)
	if err != nil {
		return nil, err
	}
	return connection{ARN: made.ARN, State: made.State, CreationTime: seconds(made.Created), LastModifiedTime: seconds(made.Modified)}, nil
}

func (s *Service) updateConnection(c *call) (any, error) {
	in, err := c.connectionInput()
	if err != nil {
		return nil, err
	}
	return changedConnection(s.Endpoints.UpdateConnection(c, c.project, in))
}

func (s *Service) deauthorizeConnection(c *call) (any, error) {
	return changedConnection(s.Endpoints.DeauthorizeConnection(c, c.project, c.in.Text("Name")))
}

func (s *Service) deleteConnection(c *call) (any, error) {
	return changedConnection(s.Endpoints.DeleteConnection(c, c.project, c.in.Text("Name")))
}

func (s *Service) describeConnection(c *call) (any, error) {
	found, err := s.Endpoints.Connection(c.project, c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	out, auth := listedConnection(found), found.Auth()
	out.Description, out.AuthParameters = found.Description, &auth
	return out, nil
}

func (s *Service) listConnections(c *call) (any, error) {
	list := s.Endpoints.Connections(c.project, c.in.Text("NamePrefix"), c.in.Text("ConnectionState"))
	return paged(c, "Connections", list, func(c *endpoint.Connection) string { return c.Name }, listedConnection)
}

type apiDestination struct {
	ARN              string `json:"ApiDestinationArn"`
	Name             string `json:",omitempty"`
	Description      string `json:",omitempty"`
	State            string `json:"ApiDestinationState"`
	ConnectionARN    string `json:"ConnectionArn,omitempty"`
	Endpoint         string `json:"InvocationEndpoint,omitempty"`
	HTTPMethod       string `json:"HttpMethod,omitempty"`
	Rate             int    `json:"InvocationRateLimitPerSecond,omitempty"`
	CreationTime     *float64
	LastModifiedTime *float64
}

// listedDestination is an API destination as lists show it.
func (s *Service) listedDestination(d *endpoint.Destination) apiDestination {
	out := apiDestination{ARN: d.ARN, Name: d.Name, State: "INACTIVE", ConnectionARN: d.Connection, Endpoint: d.URL, HTTPMethod: d.Method, Rate: d.Rate,
		CreationTime: seconds(d.Created), LastModifiedTime: seconds(d.Modified)}
	if s.Endpoints.Active(d) {
		out.State = "ACTIVE"
	}
	return out
}

// changedDestination is an API destination as the operations show it that change one.
func (s *Service) changedDestination(d *endpoint.Destination, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	out := s.listedDestination(d)
	return apiDestination{ARN: out.ARN, State: out.State, CreationTime: out.CreationTime, LastModifiedTime: out.LastModifiedTime}, nil
}

func (c *call) destinationInput() endpoint.DestinationInput {
	in := endpoint.DestinationInput{Name: c.in.Text("Name"), Connection: c.in.Text("ConnectionArn"), URL: c.in.Text("InvocationEndpoint"),
		Method: c.in.Text("HttpMethod"), Rate: int(c.in.Integer("InvocationRateLimitPerSecond"))}
	if text, ok := c.in["Description"].(string); ok {
		in.Description = &text
	}
	return in
}

func (s *Service) createAPIDestination(c *call) (any, error) {
	return s.changedDestination(s.Endpoints.CreateDestination(c, c.project, c.destinationInput()))
}

func (s *Service) updateAPIDestination(c *call) (any, error) {
	return s.changedDestination(s.Endpoints.UpdateDestination(c, c.project, c.destinationInput()))
}

func (s *Service) deleteAPIDestination(c *call) (any, error) {
	return nil, s.Endpoints.DeleteDestination(c, c.project, c.in.Text("Name"))
}

func (s *Service) describeAPIDestination(c *call) (any, error) {
	d, err := s.Endpoints.Destination(c.project, c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	out := s.listedDestination(d)
	out.Description = d.Description
	return out, nil
}

func (s *Service) listAPIDestinations(c *call) (any, error) {
	list := s.Endpoints.Destinations(c.project, c.in.Text("NamePrefix"), c.in.Text("ConnectionArn"))
	return paged(c, "ApiDestinations", list, func(d *endpoint.Destination) string { return d.Name }, s.listedDestination)
}
