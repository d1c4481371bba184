package api

import (
	"strconv"

	"github.com/hansomcloud/hansom"
)

// OfRoutes is the own API of an app, made of the routes of its manifest: one stage, $default, and an integration of payload format 2.0 for each function.
func OfRoutes(project, region, app string, routes []hansom.Route) *Live {
	a := &API{Project: project, ID: app, Name: app}
	s := &Snapshot{Routes: make([]Route, 0, len(routes))}
	integrations := map[string]string{} // by function
	for i, r := range routes {
		id, ok := integrations[r.Function]
		if !ok {
			id = "function-" + strconv.Itoa(len(integrations))
			integrations[r.Function] = id
			s.Integrations = append(s.Integrations, Integration{ID: id, Type: AWSProxy, URI: hansom.FunctionARN(region, project, r.Function, ""), Payload: "2.0"})
		}
		s.Routes = append(s.Routes, Route{ID: "route-" + strconv.Itoa(i), Key: r.Method + " " + r.Path, Integration: id})
	}
	a.Routes, a.Integrations = s.Routes, s.Integrations
	return &Live{API: a, Stages: map[string]*LiveStage{DefaultStage: {Stage{Name: DefaultStage}, s}}}
}
