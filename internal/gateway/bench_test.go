package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// manyAPIs are n of routes each, from number first on: by turns one with a parameter, an exact one and a greedy one.
func manyAPIs(n, routes, first int) map[string]*api.Live {
	all := map[string]*api.Live{}
	for i := range n {
		id := fmt.Sprintf("api%07d", i)
		s := &api.Snapshot{Integrations: []api.Integration{function("f", "2.0")}}
		for k := first; k < first+routes; k++ {
			key := fmt.Sprintf("GET /items%d/{id}", k)
			switch k % 3 {
			case 1:
				key = fmt.Sprintf("GET /items%d/list", k)
			case 2:
				key = fmt.Sprintf("ANY /items%d/{id}/{rest+}", k)
			}
			s.Routes = append(s.Routes, api.Route{Key: key, Integration: "f"})
		}
		all[id] = &api.Live{API: &api.API{Project: hansom.DefaultProject, ID: id}, Stages: map[string]*api.LiveStage{"$default": {Stage: api.Stage{Name: "$default"}, Snapshot: s}}}
	}
	return all
}

// requests ask for routes of asked APIs, of n, in no order.
func requests(b testing.TB, n, asked, routes int) []*http.Request {
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]*http.Request, 1024)
	for i := range list {
		k := random.IntN(routes)
		path := fmt.Sprintf("/items%d/list", k)
		if k%3 == 2 {
			path += "/x"
		}
		list[i] = readRequest(b, fmt.Sprintf("GET %s HTTP/1.1\nHost: api%07d.execute-api.localhost\nUser-Agent: x", path, n/2+random.IntN(asked)))
	}
	return list
}

// sizes: with 1,000 APIs of which one is asked, what there is more of than with one API is to be seen; where 500 are asked in turns, what they need is in no cache.
var sizes = []struct{ apis, asked, routes int }{{1, 1, 1}, {1000, 1, 50}, {1000, 500, 50}}

// BenchmarkRouting finds the API, the stage and the route of requests.
func BenchmarkRouting(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dof%dx%d", size.asked, size.apis, size.routes), func(b *testing.B) {
			g := New(DefaultConfig(), Deps{}, slog.New(slog.DiscardHandler))
			g.SetAPIs(manyAPIs(size.apis, size.routes, 0))
			list := requests(b, size.apis, size.asked, size.routes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := list[i%len(list)]
				label, host, below := g.label(r.Host)
				p, _ := g.place(label, host, below, rawPath(r))
				if t, _ := p.route(r.Method); t == nil {
					b.Fatal("no route")
				}
				i++
			}
		})
	}
}

// BenchmarkServe answers requests, with a function that costs nothing.
func BenchmarkServe(b *testing.B) {
	result := []byte(`{"hello":"world"}`)
	invoke := invokeFunc(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		return hansom.NewResult(result, nil), nil
	})
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dof%dx%d", size.asked, size.apis, size.routes), func(b *testing.B) {
			g := New(DefaultConfig(), Deps{Invoker: invoke}, slog.New(slog.DiscardHandler))
			g.SetAPIs(manyAPIs(size.apis, size.routes, 0))
			list := requests(b, size.apis, size.asked, size.routes)
			w := httptest.NewRecorder()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w.Body.Reset()
				clear(w.Header())
				g.ServeHTTP(w, list[i%len(list)])
				i++
			}
			if w.Code != 200 {
				b.Fatal(w.Code, w.Body)
			}
		})
	}
}

// BenchmarkScale compares many APIs with one that has one route, of each kind by turns, and by the quickest of many rounds, so that other work on the machine shows less: what
// finding a route takes, and what all of a request does.
func BenchmarkScale(b *testing.B) {
	invoke := invokeFunc(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		return hansom.NewResult([]byte("{}"), nil), nil
	})
	gateway := func(apis map[string]*api.Live) *Gateway {
		g := New(DefaultConfig(), Deps{Invoker: invoke}, slog.New(slog.DiscardHandler))
		g.SetAPIs(apis)
		return g
	}
	type asked struct {
		g *Gateway
		r *http.Request
	}
	var sides [3][]asked
	var alone [3]*Gateway
	for kind := range alone {
		alone[kind] = gateway(manyAPIs(1, 1, kind))
	}
	for _, r := range requests(b, 1, 1, len(alone)) {
		sides[0] = append(sides[0], asked{alone[r.RequestURI[len("/items")]-'0'], r})
	}
	for i, size := range sizes[1:] {
		g := gateway(manyAPIs(size.apis, size.routes, 0))
		for _, r := range requests(b, size.apis, size.asked, size.routes) {
			sides[i+1] = append(sides[i+1], asked{g, r})
		}
	}
	w := httptest.NewRecorder()
	for name, ask := range map[string]func(g *Gateway, r *http.Request){
		"route": func(g *Gateway, r *http.Request) {
			label, host, below := g.label(r.Host)
			p, _ := g.place(label, host, below, rawPath(r))
			if t, _ := p.route(r.Method); t == nil {
				b.Fatal("no route")
			}
		},
		"request": func(g *Gateway, r *http.Request) {
			w.Body.Reset()
			clear(w.Header())
			g.ServeHTTP(w, r)
		},
	} {
		b.Run(name, func(b *testing.B) {
			best := []time.Duration{time.Hour, time.Hour, time.Hour}
			for range b.N {
				for i, side := range sides {
					begin := time.Now()
					for _, a := range side {
						ask(a.g, a.r)
					}
					best[i] = min(best[i], time.Since(begin))
				}
			}
			b.ReportMetric(float64(best[0])/float64(len(sides[0])), "ns/request-of-1")
			b.ReportMetric(float64(best[1])/float64(best[0]), "x-of-1000")
			b.ReportMetric(float64(best[2])/float64(best[0]), "x-in-turns")
		})
	}
}

// BenchmarkChange is a change of one of many APIs.
func BenchmarkChange(b *testing.B) {
	g := New(DefaultConfig(), Deps{}, slog.New(slog.DiscardHandler))
	all := manyAPIs(1000, 50, 0)
	g.SetAPIs(all)
	one := map[string]*api.Live{"api0000007": all["api0000007"]}
	b.ReportAllocs()
	for b.Loop() {
		g.SetAPIs(one)
	}
}

// A change leaves the other APIs as they are.
func TestChange(t *testing.T) {
	g := New(DefaultConfig(), Deps{}, slog.New(slog.DiscardHandler))
	all := manyAPIs(3, 3, 0)
	g.SetAPIs(all)
	before := *g.apis.Load()
	g.SetAPIs(map[string]*api.Live{"api0000001": nil, "api0000002": all["api0000002"]})
	after := *g.apis.Load()
	if before["api0000000"] != after["api0000000"] || before["api0000002"] == after["api0000002"] || len(after) != 2 || len(before) != 3 {
		t.Errorf("%v became %v", before, after)
	}
	g.SetApps([]App{testApp("a", nil), testApp("b", nil)})
	a := g.apps.Load().hosts["a"]
	g.SetApps([]App{a.app, testApp("b", []hansom.Route{{Method: "GET", Path: "/", Function: "f"}})})
	if g.apps.Load().hosts["a"] != a {
		t.Error("an app that did not change was made again")
	}
}
