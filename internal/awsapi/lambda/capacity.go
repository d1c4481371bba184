package lambda

import (
	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

// defaultSlots is how many invocations an instance takes at once when a function names a capacity provider and no number: what
// Lambda Managed Instances give a function of Node.js on one vCPU.
const defaultSlots = 64

// localProvider is the name of the only capacity provider there is: this machine.
const localProvider = "local"

type (
	capacityProviderConfig struct {
		LambdaManagedInstancesCapacityProviderConfig managedInstances
	}
	managedInstances struct {
		CapacityProviderArn                   string
		PerExecutionEnvironmentMaxConcurrency int
	}
	capacityProvider struct {
		CapacityProviderArn  string
		State                string
		VpcConfig            struct{ SubnetIds, SecurityGroupIds []string }
		PermissionsConfig    struct{ CapacityProviderOperatorRoleArn string }
		InstanceRequirements struct {
			Architectures []string
		}
		CapacityProviderScalingConfig struct{ ScalingMode string }
	}
)

// providerARN is the ARN of the capacity provider of a project.
func providerARN(region, project string) string {
	return "arn:aws:lambda:" + region + ":" + project + ":capacity-provider:" + localProvider
}

// slots is the concurrency that a request asks for with CapacityProviderConfig; 0 when it does not.
func (s *Service) slots(c *call) (int, error) {
	config := c.in.sub("CapacityProviderConfig").sub("LambdaManagedInstancesCapacityProviderConfig")
	if config == nil {
		return 0, nil
	}
	if err := s.checkProvider(c, config.text("CapacityProviderArn")); err != nil {
		return 0, err
	}
	if config["ExecutionEnvironmentMemoryGiBPerVCpu"] != nil {
		return 0, unsupported(c.op.Name, "ExecutionEnvironmentMemoryGiBPerVCpu")
	}
	if n := config.integer("PerExecutionEnvironmentMaxConcurrency"); n > 0 {
		return n, nil
	}
	return defaultSlots, nil
}

// checkProvider refuses the name or ARN of a capacity provider that does not exist.
func (s *Service) checkProvider(c *call, name string) error {
	if own := providerARN(s.cfg.Region, c.project); name != own && name != localProvider {
		return hansom.Errorf(hansom.NotFound, c.op.Name, "Capacity provider not found: %s. The only one here is %s", name, own)
	}
	return nil
}

func (s *Service) provider(project string) capacityProvider {
	p := capacityProvider{CapacityProviderArn: providerARN(s.cfg.Region, project), State: "Active"}
	p.VpcConfig.SubnetIds, p.VpcConfig.SecurityGroupIds = []string{}, []string{} // there is no VPC
	p.InstanceRequirements.Architectures = []string{function.Architecture()}
	p.CapacityProviderScalingConfig.ScalingMode = "Auto"
	return p
}

func (s *Service) getCapacityProvider(c *call) (any, error) {
	if err := s.checkProvider(c, c.in.text("CapacityProviderName")); err != nil {
		return nil, err
	}
	return struct{ CapacityProvider capacityProvider }{s.provider(c.project)}, nil
}

func (s *Service) listCapacityProviders(c *call) (any, error) {
	list := []capacityProvider{}
	if state := c.in.text("State"); (state == "" || state == "Active") && c.in.text("Marker") == "" {
		list = append(list, s.provider(c.project))
	}
	return struct{ CapacityProviders []capacityProvider }{list}, nil
}
