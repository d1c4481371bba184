package apigatewayv2

import (
	"fmt"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

func missing(what string) error {
	return hansom.Errorf(hansom.NotFound, "apigatewayv2", "Invalid %s identifier specified", what)
}

type accessLog struct {
	DestinationARN string `json:"destinationArn"`
	Format         string `json:"format"`
}

type settings struct {
	DetailedMetricsEnabled bool     `json:"detailedMetricsEnabled"`
	ThrottlingBurstLimit   *int     `json:"throttlingBurstLimit,omitempty"`
	ThrottlingRateLimit    *float64 `json:"throttlingRateLimit,omitempty"`
}

type stage struct {
	AccessLogSettings           *accessLog          `json:"accessLogSettings,omitempty"`
	APIGatewayManaged           bool                `json:"apiGatewayManaged,omitempty"`
	AutoDeploy                  bool                `json:"autoDeploy"`
	CreatedDate                 string              `json:"createdDate"`
	DefaultRouteSettings        settings            `json:"defaultRouteSettings"`
	DeploymentID                string              `json:"deploymentId,omitempty"`
	Description                 string              `json:"description,omitempty"`
	LastDeploymentStatusMessage string              `json:"lastDeploymentStatusMessage,omitempty"`
	LastUpdatedDate             string              `json:"lastUpdatedDate"`
	RouteSettings               map[string]settings `json:"routeSettings"`
	StageName                   string              `json:"stageName"`
	StageVariables              map[string]string   `json:"stageVariables"`
	Tags                        map[string]string   `json:"tags"`
}

func shownSettings(x api.Settings) settings {
	return settings{x.Metrics != nil && *x.Metrics, x.Burst, x.Rate}
}

func shownStage(st *api.Stage) any {
	out := stage{nil, st.Managed, st.AutoDeploy, date(st.Created), shownSettings(st.Default), st.Deployment, st.Description, st.Message, date(st.Updated),
		map[string]settings{}, st.Name, never(st.Variables), never(st.Tags)}
	if st.LogTarget != "" {
		out.AccessLogSettings = &accessLog{st.LogTarget, st.LogFormat}
	}
	for key, x := range st.Settings {
		out.RouteSettings[key] = shownSettings(x)
	}
	return out
}

// settingsOf sets what is said of the settings of a route.
func settingsOf(in model.Params, x *api.Settings) error {
	if level := in.Text("LoggingLevel"); level != "" && level != "OFF" || in.Flag("DataTraceEnabled") {
		return invalid("Execution logs are not supported on protocolType HTTP")
	}
	if v, ok := in["ThrottlingRateLimit"].(float64); ok {
		x.Rate = &v
	}
	if v, ok := in["ThrottlingBurstLimit"].(int64); ok {
		burst := int(v)
		x.Burst = &burst
	}
	if v, ok := in["DetailedMetricsEnabled"].(bool); ok {
		x.Metrics = &v
	}
	return nil
}

// stageOf sets what CreateStage and UpdateStage are told, but for settings of routes: those are put into routes, on top of what the stage has.
func stageOf(in model.Params, st *api.Stage, routes map[string]api.Settings) error {
	if err := refuse(in, forWebSockets, "ClientCertificateId"); err != nil {
		return err
	}
	text(&st.Description, in, "Description")
	text(&st.Deployment, in, "DeploymentId")
	flag(&st.AutoDeploy, in, "AutoDeploy")
	if log := structure(in, "AccessLogSettings"); log != nil {
		text(&st.LogTarget, log, "DestinationArn")
		text(&st.LogFormat, log, "Format")
	}
	merge(&st.Variables, pairs(in, "StageVariables"))
	if x := structure(in, "DefaultRouteSettings"); x != nil {
		if err := settingsOf(x, &st.Default); err != nil {
			return err
		}
	}
	byRoute, _ := in["RouteSettings"].(map[string]any)
	for key := range byRoute {
		x := st.Settings[key]
		if err := settingsOf(structure(byRoute, key), &x); err != nil {
			return err
		}
		routes[key] = x
	}
	return nil
}

func (s *Service) createStage(c *call) (any, error) {
	st := api.Stage{Name: c.in.Text("StageName"), Settings: map[string]api.Settings{}, Tags: pairs(c.in, "Tags")}
	if err := stageOf(c.in, &st, st.Settings); err != nil {
		return nil, err
	}
	made, err := s.apis.CreateStage(c, c.project, c.in.Text("ApiId"), st)
	if err != nil {
		return nil, err
	}
	return shownStage(made), nil
}

func (s *Service) getStage(c *call) (any, error) {
	st, err := s.apis.Stage(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"))
	if err != nil {
		return nil, err
	}
	return shownStage(st), nil
}

func (s *Service) getStages(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	return listed(c, a.Stages, func(st api.Stage) string { return st.Name }, func(st api.Stage) any { return shownStage(&st) })
}

func (s *Service) updateStage(c *call) (any, error) {
	st, err := s.apis.UpdateStage(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"), func(st *api.Stage, routes map[string]api.Settings) error {
		return stageOf(c.in, st, routes)
	})
	if err != nil {
		return nil, err
	}
	return shownStage(st), nil
}

func (s *Service) deleteStage(c *call) (any, error) {
	return nil, s.apis.DeleteStage(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"))
}

func (s *Service) deleteLog(c *call) (any, error) {
	_, err := s.apis.UpdateStage(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"), func(st *api.Stage, _ map[string]api.Settings) error {
		st.LogTarget, st.LogFormat = "", ""
		return nil
	})
	return nil, err
}

func (s *Service) deleteRouteSettings(c *call) (any, error) {
	return nil, s.apis.DeleteRouteSettings(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"), c.in.Text("RouteKey"))
}

type deployment struct {
	AutoDeployed     bool   `json:"autoDeployed"`
	CreatedDate      string `json:"createdDate"`
	DeploymentID     string `json:"deploymentId"`
	DeploymentStatus string `json:"deploymentStatus"`
	Description      string `json:"description,omitempty"`
}

func shownDeployment(d *api.Deployment) any {
	return deployment{d.Auto, date(d.Created), d.ID, "DEPLOYED", d.Description}
}

func (s *Service) createDeployment(c *call) (any, error) {
	d, err := s.apis.CreateDeployment(c, c.project, c.in.Text("ApiId"), c.in.Text("StageName"), c.in.Text("Description"))
	if err != nil {
		return nil, err
	}
	return shownDeployment(d), nil
}

func (s *Service) getDeployment(c *call) (any, error) {
	d, err := s.apis.Deployment(c, c.project, c.in.Text("ApiId"), c.in.Text("DeploymentId"))
	if err != nil {
		return nil, err
	}
	return shownDeployment(d), nil
}

// getDeployments lists deployments, the newest first.
func (s *Service) getDeployments(c *call) (any, error) {
	a, err := s.apis.API(c, c.project, c.in.Text("ApiId"))
	if err != nil {
		return nil, err
	}
	age := map[string]int{}
	for i, d := range a.Deployments {
		age[d.ID] = len(a.Deployments) - i
	}
	key := func(d api.Deployment) string { return fmt.Sprintf("%08d %s", age[d.ID], d.ID) }
	return listed(c, a.Deployments, key, func(d api.Deployment) any { return shownDeployment(&d) })
}

func (s *Service) updateDeployment(c *call) (any, error) {
	var description *string
	if v, ok := c.in["Description"].(string); ok {
		description = &v
	}
	d, err := s.apis.UpdateDeployment(c, c.project, c.in.Text("ApiId"), c.in.Text("DeploymentId"), description)
	if err != nil {
		return nil, err
	}
	return shownDeployment(d), nil
}

func (s *Service) deleteDeployment(c *call) (any, error) {
	return nil, s.apis.DeleteDeployment(c, c.project, c.in.Text("ApiId"), c.in.Text("DeploymentId"))
}
