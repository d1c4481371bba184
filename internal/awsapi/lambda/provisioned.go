package lambda

import (
	"github.com/hansomcloud/hansom/internal/provision"
)

// provisionedLayout is how the Lambda API writes the time of provisioned concurrency.
const provisionedLayout = "2006-01-02T15:04:05-0700"

type provisioned struct {
	FunctionArn                              string `json:",omitempty"` // in lists
	RequestedProvisionedConcurrentExecutions int
	AvailableProvisionedConcurrentExecutions int
	AllocatedProvisionedConcurrentExecutions int
	Status                                   string
	StatusReason                             string `json:",omitempty"`
	LastModified                             string
}

func provisionedOf(p *provision.Concurrency) provisioned {
	return provisioned{"", p.Requested, p.Available, p.Allocated, p.Status, p.Reason, p.Modified.UTC().Format(provisionedLayout)}
}

func (s *Service) putProvisioned(c *call) (any, error) {
	p, err := s.provision.Put(c.Context(), c.project, c.function, c.qualifier, c.in.integer("ProvisionedConcurrentExecutions"))
	if err != nil {
		return nil, err
	}
	return provisionedOf(&p), nil
}

func (s *Service) getProvisioned(c *call) (any, error) {
	p, err := s.provision.Get(c.Context(), c.project, c.function, c.qualifier)
	if err != nil {
		return nil, err
	}
	return provisionedOf(&p), nil
}

func (s *Service) deleteProvisioned(c *call) (any, error) {
	return nil, s.provision.Delete(c.Context(), c.project, c.function, c.qualifier)
}

func (s *Service) listProvisioned(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	list, next, err := s.provision.List(c.Context(), c.project, c.function, c.in.text("Marker"), c.in.integer("MaxItems"))
	if err != nil {
		return nil, err
	}
	out := struct {
		ProvisionedConcurrencyConfigs []provisioned
		NextMarker                    string `json:",omitempty"`
	}{make([]provisioned, len(list)), next}
	for i := range list {
		out.ProvisionedConcurrencyConfigs[i] = provisionedOf(&list[i])
		out.ProvisionedConcurrencyConfigs[i].FunctionArn = list[i].ARN
	}
	return out, nil
}
