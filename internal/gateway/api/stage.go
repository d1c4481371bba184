package api

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Bounds of a stage.
const (
	maxVariables     = 100
	maxVariableName  = 64   // characters
	maxVariableValue = 2048 // characters
)

var (
	stageName     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	variableName  = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	variableValue = regexp.MustCompile(`^[A-Za-z0-9\-._~:/?#&=,]*$`)
	requestID     = regexp.MustCompile(`\$context\.(requestId|extendedRequestId)[.-]*([^A-Za-z0-9_.-]|$)`)
	logGroup      = regexp.MustCompile(`^log-group:([A-Za-z0-9_\-/.#]{1,512})(:\*)?$`)
)

// checkStage holds a stage of an API to the rules.
func (a *API) checkStage(st *Stage) error {
	if st.Name != DefaultStage && !stageName.MatchString(st.Name) {
		return invalid("Invalid stage name %.128q. A stage name has letters, digits, hyphens and underscores, at most 128 of them, or is $default.", st.Name)
	}
	if len(st.Variables) > maxVariables {
		return full("stage variables", "Stage")
	}
	for _, name := range slices.Sorted(maps.Keys(st.Variables)) {
		value := st.Variables[name]
		switch {
		case len(name) > maxVariableName || !variableName.MatchString(name):
			return invalid("Invalid stage variable name: %.128q. A name has letters, digits and underscores, at most %d of them.", name, maxVariableName)
		case len(value) > maxVariableValue || !variableValue.MatchString(value):
			return invalid("Invalid stage variable value: %.200q. Please use values with alphanumeric characters and the symbols ' ', -', '.', '_', ':', '/', '?', '&', '=', and ','.", value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(st.Settings)) {
		if err := CheckSettings(st.Settings[key]); err != nil {
			return err
		}
	}
	if err := CheckSettings(st.Default); err != nil {
		return err
	}
	if err := CheckTags(st.Tags); err != nil {
		return err
	}
	return a.checkLog(st)
}

// checkLog holds the access log of a stage to the rules: it is a log group of the same project.
func (a *API) checkLog(st *Stage) error {
	if st.LogTarget == "" && st.LogFormat == "" {
		return nil
	}
	if st.LogTarget == "" || st.LogFormat == "" {
		return invalid("AccessLogSettings requires both a DestinationArn and a Format.")
	}
	arn, err := hansom.ParseARN(st.LogTarget)
	switch {
	case err == nil && arn.Service == "firehose":
		return hansom.Errorf(hansom.Unsupported, "check stage", "Access logs to Firehose are not supported by this server: %.200s. Name a log group.", st.LogTarget)
	case err != nil || arn.Service != "logs" || !logGroup.MatchString(arn.Resource):
		return invalid("Invalid ARN specified in the request: the DestinationArn of access logs must be that of a log group, arn:aws:logs:REGION:ACCOUNT:log-group:NAME.")
	case arn.Account != a.Project:
		return invalid("Invalid ARN specified in the request: the log group %.200s is another project's.", st.LogTarget)
	case !requestID.MatchString(st.LogFormat):
		return invalid("Access Log format must contain at least one of: $context.requestId, $context.extendedRequestId")
	case strings.ContainsAny(strings.TrimRight(st.LogFormat, "\r\n"), "\r\n"):
		return invalid("Access Log format must be single line, new line character is allowed only at end of the format")
	}
	return nil
}

// CheckSettings holds throttles to the rules. Error: BadRequestException.
func CheckSettings(x Settings) error {
	switch {
	case x.Rate != nil && (*x.Rate < 0 || *x.Rate != *x.Rate):
		return invalid("Invalid throttling rate limit: it must not be negative.")
	case x.Burst != nil && *x.Burst < 0:
		return invalid("Invalid throttling burst limit: it must not be negative.")
	}
	return nil
}

// checkRouteSettings refuses settings of routes that an API does not have.
func (a *API) checkRouteSettings(keys []string) error {
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if find(a.Routes, func(r *Route) bool { return r.Key == key }) == nil {
			return hansom.Errorf(hansom.NotFound, "check stage", "Unable to find Route by key %s within the provided RouteSettings", key)
		}
	}
	return nil
}

func (a *API) stage(name string) *Stage {
	return find(a.Stages, func(st *Stage) bool { return st.Name == name })
}

// CreateStage adds a stage to an API. Errors: NotFoundException for the API, the deployment and routes of settings, BadRequestException,
// ConflictException for a name that is there, TooManyRequestsException.
func (s *Service) CreateStage(ctx context.Context, project, api string, st Stage) (*Stage, error) {
	a, err := s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		switch {
		case a.stage(st.Name) != nil:
			return conflict("Stage already exists")
		case len(a.Stages) >= MaxStages:
			return full("Stages", "API")
		}
		made := st
		made.Created = s.now()
		made.Updated = made.Created
		if err := a.point(&made, st.Deployment); err != nil {
			return err
		}
		if err := a.checkRouteSettings(slices.Collect(maps.Keys(st.Settings))); err != nil {
			return err
		}
		a.Stages = append(a.Stages, made)
		return a.checkStage(&made)
	})
	if err != nil {
		return nil, err
	}
	return a.stage(st.Name), nil
}

// point has a stage show a deployment, "" for none.
func (a *API) point(st *Stage, deployment string) error {
	switch {
	case deployment == "":
		return nil
	case st.AutoDeploy:
		return invalid("Deployment ID cannot be set on a stage with AutoDeploy enabled.")
	case a.deployment(deployment) == nil:
		return notFound("Deployment")
	}
	st.deployed(deployment)
	return nil
}

// UpdateStage changes a stage. change may be run again; it gets the stage with Settings of routes apart: what it puts into routes is added or takes the
// place of what is there. Errors: as CreateStage.
func (s *Service) UpdateStage(ctx context.Context, project, api, name string, change func(st *Stage, routes map[string]Settings) error) (*Stage, error) {
	a, err := s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		st := a.stage(name)
		if st == nil {
			return notFound("stage")
		}
		deployment, routes := st.Deployment, map[string]Settings{}
		if err := change(st, routes); err != nil {
			return err
		}
		if wanted := st.Deployment; wanted != deployment {
			if err := a.point(st, wanted); err != nil {
				return err
			}
		}
		if st.Managed && !st.AutoDeploy {
			return managed("Stage")
		}
		if err := a.checkRouteSettings(slices.Collect(maps.Keys(routes))); err != nil {
			return err
		}
		if len(routes) > 0 && st.Settings == nil {
			st.Settings = map[string]Settings{}
		}
		maps.Copy(st.Settings, routes)
		st.Updated = s.now()
		return a.checkStage(st)
	})
	if err != nil {
		return nil, err
	}
	return a.stage(name), nil
}

// DeleteRouteSettings removes the settings that a stage has for a route. Error: NotFoundException.
func (s *Service) DeleteRouteSettings(ctx context.Context, project, api, stage, key string) error {
	_, err := s.UpdateStage(ctx, project, api, stage, func(st *Stage, _ map[string]Settings) error {
		if _, ok := st.Settings[key]; !ok {
			return hansom.Errorf(hansom.NotFound, "delete route settings", "Unable to find Route by key %s within the provided RouteSettings", key)
		}
		delete(st.Settings, key)
		return nil
	})
	return err
}

// DeleteStage removes a stage. Errors: NotFoundException; BadRequestException while a domain has a mapping of it, and
// for that of a quick create.
func (s *Service) DeleteStage(ctx context.Context, project, api, name string) error {
	_, err := s.edit(ctx, project, api, func(tx *db.Tx, a *API) error {
		st := a.stage(name)
		switch {
		case st == nil:
			return notFound("stage")
		case st.Managed:
			return managed("Stage")
		}
		domain, err := mappedBy(ctx, tx, project, api, name)
		if err != nil {
			return err
		}
		if domain != "" {
			return invalid("Cannot delete stage %s because it is mapped by the custom domain name %s. Remove the API mapping first.", name, domain)
		}
		remove(&a.Stages, func(st *Stage) bool { return st.Name == name })
		return s.onRemove(ctx, tx, project, api, name)
	})
	return err
}

// Stage reads a stage. Error: NotFoundException.
func (s *Service) Stage(ctx context.Context, project, api, name string) (*Stage, error) {
	a, err := s.API(ctx, project, api)
	if err != nil {
		return nil, err
	}
	if st := a.stage(name); st != nil {
		return st, nil
	}
	return nil, notFound("stage")
}

// CreateDeployment deploys an API as it is, and has a stage show that; "" is none. Errors: NotFoundException, BadRequestException.
func (s *Service) CreateDeployment(ctx context.Context, project, api, stage, description string) (out *Deployment, err error) {
	_, err = s.edit(ctx, project, api, func(tx *db.Tx, a *API) error {
		st := a.stage(stage)
		switch {
		case stage != "" && st == nil:
			return notFound("stage")
		case len(a.Routes) == 0:
			return invalid("At least one route is required before deploying the Api.")
		case st != nil && st.AutoDeploy:
			return invalid("Deployment ID cannot be set on a stage with AutoDeploy enabled.")
		}
		d, err := s.deploy(ctx, tx, a, Deployment{Description: description})
		if err != nil {
			return err
		}
		if st != nil {
			st.deployed(d.ID)
			st.Updated = s.now()
		}
		out = &d
		return nil
	})
	return out, err
}

// UpdateDeployment changes the description of a deployment. Error: NotFoundException.
func (s *Service) UpdateDeployment(ctx context.Context, project, api, id string, description *string) (out *Deployment, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		d := a.deployment(id)
		if d == nil {
			return notFound("Deployment")
		}
		if description != nil {
			d.Description = *description
		}
		changed := *d
		out = &changed
		return nil
	})
	return out, err
}

// DeleteDeployment removes a deployment. Errors: NotFoundException; BadRequestException while a stage has it.
func (s *Service) DeleteDeployment(ctx context.Context, project, api, id string) error {
	_, err := s.edit(ctx, project, api, func(tx *db.Tx, a *API) error {
		if a.deployment(id) == nil {
			return notFound("Deployment")
		}
		if a.deployedBy(id) != "" {
			return invalid("Active stages pointing to this deployment must be moved or deleted")
		}
		remove(&a.Deployments, func(d *Deployment) bool { return d.ID == id })
		return exec(ctx, tx, "", `DELETE FROM gateway_snapshots WHERE api = ? AND id = ?`, api, id)
	})
	return err
}

// Deployment reads a deployment. Error: NotFoundException.
func (s *Service) Deployment(ctx context.Context, project, api, id string) (*Deployment, error) {
	a, err := s.API(ctx, project, api)
	if err != nil {
		return nil, err
	}
	if d := a.deployment(id); d != nil {
		return d, nil
	}
	return nil, notFound("Deployment")
}
