package apigateway

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

type throttle struct {
	BurstLimit *int     `json:"burstLimit,omitempty"`
	RateLimit  *float64 `json:"rateLimit,omitempty"`
}

type quota struct {
	Limit  int    `json:"limit"`
	Offset int    `json:"offset"`
	Period string `json:"period"`
}

type apiStage struct {
	APIID    string              `json:"apiId"`
	Stage    string              `json:"stage"`
	Throttle map[string]throttle `json:"throttle,omitempty"`
}

type usagePlan struct {
	APIStages   []apiStage        `json:"apiStages"`
	Description string            `json:"description,omitempty"`
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Quota       *quota            `json:"quota,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Throttle    *throttle         `json:"throttle,omitempty"`
}

func shownPlan(p *api.Plan) any {
	out := usagePlan{APIStages: []apiStage{}, Description: p.Description, ID: p.ID, Name: p.Name, Tags: p.Tags}
	for _, st := range p.Stages {
		shown := apiStage{APIID: st.API, Stage: st.Stage}
		for key, x := range st.Settings {
			if shown.Throttle == nil {
				shown.Throttle = map[string]throttle{}
			}
			shown.Throttle[methodPath(key)] = throttle{x.Burst, x.Rate}
		}
		out.APIStages = append(out.APIStages, shown)
	}
	if p.Rate != nil || p.Burst != nil {
		out.Throttle = &throttle{p.Burst, p.Rate}
	}
	if q := p.Quota; q != nil {
		out.Quota = &quota{q.Limit, q.Offset, q.Period}
	}
	return out
}

// methodPath is a route key as the throttles of a plan name it: "GET /pets" is "/pets/GET".
func methodPath(key string) string {
	method, path, ok := strings.Cut(key, " ")
	if !ok {
		return key
	}
	return path + "/" + method
}

// routeKey is the reverse of methodPath. Error: BadRequestException.
func routeKey(path string) (string, error) {
	key := path
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		key = path[i+1:] + " " + path[:i]
	}
	if err := api.CheckRouteKey(key); err != nil {
		return "", invalid("Invalid path %.200q of a method in a throttle: it must be that of a route, /resource/path/METHOD, or $default.", path)
	}
	return key, nil
}

// throttleOf is what the structure of a throttle says.
func throttleOf(in model.Params) (x api.Settings) {
	if v, ok := in["rateLimit"].(float64); ok {
		x.Rate = &v
	}
	if v, ok := in["burstLimit"].(int64); ok {
		burst := int(v)
		x.Burst = &burst
	}
	return x
}

func (s *Service) createPlan(c *call) (any, error) {
	p := api.Plan{Project: c.project, Name: c.in.Text("name"), Description: c.in.Text("description"), Tags: pairs(c.in, "tags")}
	stages, _ := c.in["apiStages"].([]any)
	for _, x := range stages {
		in, _ := x.(model.Params)
		st := api.PlanStage{API: in.Text("apiId"), Stage: in.Text("stage")}
		if st.API == "" || st.Stage == "" {
			return nil, invalid("Invalid API Stage {api: %s, stage: %s} specified for usageplan %s", st.API, st.Stage, p.Name)
		}
		byMethod, _ := in["throttle"].(map[string]any)
		for path, x := range byMethod {
			in, _ := x.(model.Params)
			if err := setMethod(&st, path, throttleOf(in)); err != nil {
				return nil, err
			}
		}
		p.Stages = append(p.Stages, st)
	}
	if in, ok := c.in["throttle"].(model.Params); ok {
		x := throttleOf(in)
		p.Rate, p.Burst = x.Rate, x.Burst
	}
	if in, ok := c.in["quota"].(model.Params); ok {
		p.Quota = &api.Quota{Limit: int(in.Integer("limit")), Offset: int(in.Integer("offset")), Period: in.Text("period")}
	}
	made, err := s.usage.CreatePlan(c, p)
	if err != nil {
		return nil, err
	}
	return shownPlan(made), nil
}

// setMethod sets the throttle of a method of a stage.
func setMethod(st *api.PlanStage, path string, x api.Settings) error {
	key, err := routeKey(path)
	if err != nil {
		return err
	}
	if st.Settings == nil {
		st.Settings = map[string]api.Settings{}
	}
	st.Settings[key] = x
	return nil
}

func (s *Service) getPlan(c *call) (any, error) {
	p, err := s.usage.Plan(c, c.project, c.in.Text("usagePlanId"))
	if err != nil {
		return nil, err
	}
	return shownPlan(p), nil
}

func (s *Service) getPlans(c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := s.usage.Plans(c, c.project, c.in.Text("keyId"), after, limit+1)
	if err != nil {
		return nil, err
	}
	return paged(list, limit, func(p *api.Plan) string { return p.ID }, shownPlan), nil
}

// planPaths are those of a plan that can be changed.
var planPaths = []string{"/name", "/description", "/apiStages", "/quota", "/quota/limit", "/quota/offset", "/quota/period", "/throttle", "/throttle/rateLimit",
	"/throttle/burstLimit", "/apiStages/<apiId:stageName>/throttle", "/apiStages/<apiId:stageName>/throttle/<resourcePath>/<httpMethod>/rateLimit",
	"/apiStages/<apiId:stageName>/throttle/<resourcePath>/<httpMethod>/burstLimit"}

func (s *Service) updatePlan(c *call) (any, error) {
	p, err := s.usage.UpdatePlan(c, c.project, c.in.Text("usagePlanId"), func(p *api.Plan) error {
		for _, change := range patches(c.in) {
			if err := change.apply(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return shownPlan(p), nil
}

// apply carries out an operation on a plan.
func (p *patch) apply(plan *api.Plan) (err error) {
	whole := func(to *int) error {
		if *to, err = strconv.Atoi(p.value); err != nil {
			return invalid("Invalid value %.64q for %s: it must be an integer.", p.value, p.path)
		}
		return nil
	}
	switch {
	case p.is("/name", "replace"):
		plan.Name = p.value
	case p.is("/description", "replace"):
		plan.Description = p.value
	case p.is("/throttle", "remove"):
		plan.Rate, plan.Burst = nil, nil
	case p.is("/throttle/rateLimit", "add", "replace"), p.is("/throttle/burstLimit", "add", "replace"):
		x := api.Settings{Rate: plan.Rate, Burst: plan.Burst}
		err = p.limit(&x)
		plan.Rate, plan.Burst = x.Rate, x.Burst
	case p.is("/quota", "remove"):
		plan.Quota = nil
	case len(p.parts) == 2 && p.parts[0] == "quota" && (p.op == "add" || p.op == "replace"):
		if plan.Quota == nil {
			plan.Quota = &api.Quota{}
		}
		switch p.parts[1] {
		case "limit":
			return whole(&plan.Quota.Limit)
		case "offset":
			return whole(&plan.Quota.Offset)
		case "period":
			plan.Quota.Period = p.value
		default:
			return p.wrong(planPaths...)
		}
	case p.parts[0] == "apiStages":
		return p.applyStage(plan)
	default:
		return p.wrong(planPaths...)
	}
	return err
}

// limit sets the limit of a throttle that the last part of the path names.
func (p *patch) limit(x *api.Settings) error {
	switch p.parts[len(p.parts)-1] {
	case "rateLimit":
		rate, err := strconv.ParseFloat(p.value, 64)
		if err != nil {
			return invalid("Invalid value %.64q for %s: it must be a number.", p.value, p.path)
		}
		x.Rate = &rate
	case "burstLimit":
		burst, err := strconv.Atoi(p.value)
		if err != nil {
			return invalid("Invalid value %.64q for %s: it must be an integer.", p.value, p.path)
		}
		x.Burst = &burst
	default:
		return p.wrong(planPaths...)
	}
	return nil
}

// applyStage carries out an operation on the stages of a plan.
func (p *patch) applyStage(plan *api.Plan) error {
	name := p.value
	if len(p.parts) > 1 {
		name = p.parts[1]
	}
	apiID, stage, _ := strings.Cut(name, ":")
	at := slices.IndexFunc(plan.Stages, func(st api.PlanStage) bool { return st.API == apiID && st.Stage == stage })
	if len(p.parts) == 1 {
		switch {
		case p.op == "add":
			plan.Stages = append(plan.Stages, api.PlanStage{API: apiID, Stage: stage})
		case p.op == "remove" && at >= 0:
			plan.Stages = slices.Delete(plan.Stages, at, at+1)
		case p.op == "remove":
			return invalid("Invalid API Stage specified")
		default:
			return p.wrong(planPaths...)
		}
		return nil
	}
	switch {
	case len(p.parts) < 3 || p.parts[2] != "throttle":
		return p.wrong(planPaths...)
	case at < 0:
		return invalid("Invalid API Stage specified")
	}
	st := &plan.Stages[at]
	switch rest := p.parts[3:]; {
	case len(rest) == 0 && p.op == "remove":
		st.Settings = nil
	case len(rest) == 0 && (p.op == "add" || p.op == "replace"):
		var all map[string]throttle
		if err := json.Unmarshal([]byte(p.value), &all); err != nil {
			return invalid("Invalid value for %s: it must be a JSON object of throttles by /resource/path/METHOD.", p.path)
		}
		for path, x := range all {
			if err := setMethod(st, path, api.Settings{Rate: x.RateLimit, Burst: x.BurstLimit}); err != nil {
				return err
			}
		}
	case len(rest) == 2 && p.op == "remove":
		key, err := routeKey(rest[0] + "/" + rest[1])
		if err != nil {
			return err
		}
		delete(st.Settings, key)
	case len(rest) == 3 && (p.op == "add" || p.op == "replace"):
		key, err := routeKey(rest[0] + "/" + rest[1])
		if err != nil {
			return err
		}
		x := st.Settings[key]
		if err := p.limit(&x); err != nil {
			return err
		}
		return setMethod(st, methodPath(key), x)
	default:
		return p.wrong(planPaths...)
	}
	return nil
}

func (s *Service) deletePlan(c *call) (any, error) {
	return nil, s.usage.DeletePlan(c, c.project, c.in.Text("usagePlanId"))
}

// keyType is the only one.
const keyType = "API_KEY"

type planKey struct {
	ID    string `json:"id"`
	Name  string `json:"name,omitempty"`
	Type  string `json:"type"`
	Value string `json:"value,omitempty"`
}

func shownPlanKey(k *api.Key) any { return planKey{k.ID, k.Name, keyType, k.Value} }

func (s *Service) createPlanKey(c *call) (any, error) {
	if t := c.in.Text("keyType"); t != keyType {
		return nil, invalid("Invalid key type %.64q specified. Must be one of: [%s]", t, keyType)
	}
	plan, id := c.in.Text("usagePlanId"), c.in.Text("keyId")
	if _, err := s.usage.AddKey(c, c.project, plan, id); err != nil {
		return nil, err
	}
	return s.getPlanKey(c)
}

func (s *Service) getPlanKey(c *call) (any, error) {
	k, err := s.usage.PlanKey(c, c.project, c.in.Text("usagePlanId"), c.in.Text("keyId"))
	if err != nil {
		return nil, err
	}
	return shownPlanKey(k), nil
}

func (s *Service) getPlanKeys(c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := s.usage.APIKeys(c, c.project, usage.KeyFilter{Plan: c.in.Text("usagePlanId"), Name: c.in.Text("nameQuery"), After: after, Limit: limit + 1, Values: true})
	if err != nil {
		return nil, err
	}
	return paged(list, limit, func(k *api.Key) string { return k.ID }, shownPlanKey), nil
}

func (s *Service) deletePlanKey(c *call) (any, error) {
	return nil, s.usage.RemoveKey(c, c.project, c.in.Text("usagePlanId"), c.in.Text("keyId"))
}

// maxUsageDays is the longest time that GetUsage tells of.
const maxUsageDays = 366

// figures are what was used of a plan, by key: what was used and what was left on each day.
type figures struct {
	UsagePlanID string                `json:"usagePlanId"`
	StartDate   string                `json:"startDate"`
	EndDate     string                `json:"endDate"`
	Position    string                `json:"position,omitempty"`
	Values      map[string][][2]int64 `json:"values"`
}

// updateUsage changes what is left of the quota of a key in the running period, and answers with the figures of the day.
func (s *Service) updateUsage(c *call) (any, error) {
	if s.quotas == nil {
		return nil, unsupported("UpdateUsage is not supported by this server.")
	}
	plan, err := s.usage.Plan(c, c.project, c.in.Text("usagePlanId"))
	if err != nil {
		return nil, err
	}
	key := c.in.Text("keyId")
	if !slices.Contains(plan.Keys, key) {
		return nil, hansom.Errorf(hansom.NotFound, "update usage", "Invalid API Key identifier specified")
	}
	for _, p := range patches(c.in) {
		if !p.is("/remaining", "replace") {
			return nil, p.wrong("/remaining")
		}
		n, err := strconv.ParseInt(p.value, 10, 32)
		if err != nil || n < 0 {
			return nil, invalid("Invalid value %.64q for %s: it must be an integer that is not negative.", p.value, p.path)
		}
		if err := s.quotas.Grant(c, plan, key, n); err != nil {
			return nil, err
		}
	}
	now := s.now().UTC()
	days, err := s.quotas.Usage(c, plan, key, now, now)
	if err != nil {
		return nil, err
	}
	today := now.Format(time.DateOnly)
	return figures{plan.ID, today, today, "", map[string][][2]int64{key: days}}, nil
}

func (s *Service) getUsage(c *call) (any, error) {
	if s.quotas == nil {
		return nil, unsupported("GetUsage is not supported by this server.")
	}
	from, err1 := time.Parse(time.DateOnly, c.in.Text("startDate"))
	to, err2 := time.Parse(time.DateOnly, c.in.Text("endDate"))
	if err1 != nil || err2 != nil || to.Before(from) || to.Sub(from) > maxUsageDays*24*time.Hour {
		return nil, invalid("Invalid date range: startDate and endDate must be days, YYYY-MM-DD, in their order and at most %d days apart.", maxUsageDays)
	}
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	plan, err := s.usage.Plan(c, c.project, c.in.Text("usagePlanId"))
	if err != nil {
		return nil, err
	}
	keys := plan.Keys // by ID
	if id := c.in.Text("keyId"); id != "" {
		if !slices.Contains(keys, id) {
			return nil, invalid("Invalid API Key identifier specified")
		}
		keys = []string{id}
	}
	out := figures{plan.ID, c.in.Text("startDate"), c.in.Text("endDate"), "", map[string][][2]int64{}}
	keys = slices.DeleteFunc(slices.Clone(keys), func(id string) bool { return id <= after })
	out.Position = paged(keys, limit, func(id string) string { return id }, func(id string) any { return id }).Position
	for _, id := range keys[:min(limit, len(keys))] {
		if out.Values[id], err = s.quotas.Usage(c, plan, id, from, to); err != nil {
			return nil, err
		}
	}
	return out, nil
}
