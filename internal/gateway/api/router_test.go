package api

import (
	"testing"

	"github.com/hansomcloud/hansom/internal/gateway/route"
)

// What is taken as routes here is routes for the gateway, and two that are told apart here are told apart there.
func FuzzRouter(f *testing.F) {
	f.Add("GET /pets/{id}", "GET /pets/{name}")
	f.Add("GET /pets/{id}", "ANY /pets/{id}")
	f.Add("GET /{a}/b", "GET /{a+}")
	f.Add("$default", "$default")
	f.Add("GET /", "GET //")
	f.Add("GET /a%2fb", "GET /a%2Fb")
	f.Add("GET /a", "GET /a/")
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckRouteKey(a) != nil || CheckRouteKey(b) != nil {
			return
		}
		if _, err := route.New([]string{a}); err != nil {
			t.Errorf("%q: %v", a, err)
		}
		if _, err := route.New([]string{a, b}); (err == nil) != (shape(a) != shape(b)) {
			t.Errorf("%q and %q: %v", a, b, err)
		}
	})
}
