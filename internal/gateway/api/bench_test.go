package api

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/hansomcloud/hansom/internal/db"
)

// BenchmarkChange is a change of one API of 50 routes, which is deployed with it, beside others.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			database, err := db.Open(b.Context(), "sqlite:"+b.TempDir()+"/bench.db", nil)
			if err != nil {
				b.Fatal(err)
			}
			defer database.Close()
			s, err := New(b.Context(), DefaultConfig(), database, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			var id string
			for n := range others + 1 {
				a := API{Project: project, Name: fmt.Sprint(n), Stages: []Stage{{Name: DefaultStage, AutoDeploy: true}}, Integrations: []Integration{{ID: "i", Type: AWSProxy, URI: worker, Payload: "2.0", Timeout: MaxTimeout}}}
				for r := range 50 {
					a.Routes = append(a.Routes, Route{ID: fmt.Sprint(r), Key: fmt.Sprintf("GET /r%d/{id}", r), Integration: "i"})
				}
				made, err := s.insert(b.Context(), a)
				if err != nil {
					b.Fatal(err)
				}
				id = made.ID
			}
			n := 0
			for b.Loop() {
				n++
				if _, err := s.UpdateRoute(b.Context(), project, id, "7", func(r *Route) error { r.Key = fmt.Sprint("GET /", n); return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
