package function

import (
	"context"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/function/events"
)

func ptr[T any](v T) *T { return &v }

// What invocations are told of is what was written, of each qualifier on its own, also after a restart; it goes with its qualifier.
func TestEventConfigs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		changed := changes(d)
		h := newHost(t)
		s := h.open(t, d)
		run(t, s)
		create(t, s, simple(t, "f"))
		create(t, s, simple(t, "after"))
		settle(t, s, changed, project, "f")
		if _, err := s.Publish(ctx, project, "f", PublishInput{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateAlias(ctx, project, "f", AliasInput{Name: "live", Version: "1"}); err != nil {
			t.Fatal(err)
		}
		after := hansom.FunctionARN("us-east-1", project, "after", "")
		queue := "arn:aws:sqs:us-east-1:" + project + ":dead"
		for qualifier, in := range map[string]events.Input{
			"":     {Retries: ptr(0), Destinations: &events.Destinations{OnSuccess: after}},
			"1":    {MaxAge: ptr(60)},
			"live": {Destinations: &events.Destinations{OnFailure: queue}},
		} {
			if _, err := s.Events().Put(ctx, project, "f", qualifier, in); err != nil {
				t.Fatal(qualifier, err)
			}
		}
		if _, err := s.Events().Update(ctx, project, "f", "live", events.Input{Retries: ptr(1)}); err != nil {
			t.Fatal(err)
		}
		want := map[string]hansom.AsyncConfig{
			"": {Retries: 0, MaxAge: 6 * time.Hour, OnSuccess: after}, hansom.Latest: {Retries: 0, MaxAge: 6 * time.Hour, OnSuccess: after},
			"1": {Retries: 2, MaxAge: time.Minute}, "live": {Retries: 1, MaxAge: 6 * time.Hour, OnFailure: queue}, "other": {Retries: 2, MaxAge: 6 * time.Hour},
		}
		for _, service := range []*Service{s, h.open(t, d)} {
			for qualifier, c := range want {
				if got := service.Async(project, "f", qualifier); got != c {
					t.Errorf("%q: %+v, want %+v", qualifier, got, c)
				}
			}
		}
		first, next, err := s.Events().List(ctx, project, "f", Page{Max: 2})
		if err != nil || len(first) != 2 || first[0].Qualifier != hansom.Latest || first[1].Qualifier != "1" || next == "" {
			t.Fatal(first, next, err)
		}
		rest, next, err := s.Events().List(ctx, project, "f", Page{Max: 2, Marker: next})
		if err != nil || len(rest) != 1 || rest[0].Qualifier != "live" || *rest[0].Retries != 1 || rest[0].MaxAge != nil || next != "" {
			t.Fatal(rest, next, err)
		}
		if err := s.Events().Delete(ctx, project, "f", hansom.Latest); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteAlias(ctx, project, "f", "live"); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, project, "f", "1"); err != nil {
			t.Fatal(err)
		}
		for qualifier := range want {
			if got := s.Async(project, "f", qualifier); got != hansom.DefaultAsyncConfig() {
				t.Errorf("%q still has %+v", qualifier, got)
			}
			_, err := s.Events().Get(ctx, project, "f", qualifier)
			wantError(t, qualifier, err, hansom.NotFound, "doesn't have an EventInvokeConfig")
		}
	})
}

// Dead letters are part of a version; loops are of the function.
func TestDeadLettersAndLoops(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		changed := changes(d)
		s := running(t, d)
		in := simple(t, "f")
		in.DeadLetter = "arn:aws:sqs:us-east-1:" + project + ":dead"
		create(t, s, in)
		settle(t, s, changed, project, "f")
		if _, err := s.Publish(ctx, project, "f", PublishInput{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{DeadLetter: ptr("")}); err != nil {
			t.Fatal(err)
		}
		settle(t, s, changed, project, "f")
		if err := s.PutRecursion(ctx, project, "f", "Allow"); err != nil {
			t.Fatal(err)
		}
		for qualifier, want := range map[string]string{"": "", "1": in.DeadLetter} {
			if got, err := s.Resolve(ctx, project, "f", qualifier); err != nil || got.Version.DeadLetter != want || !got.Loops {
				t.Errorf("%q: %+v %v", qualifier, got, err)
			}
		}
		if err := s.PutRecursion(ctx, project, "f", "Terminate"); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Resolve(ctx, project, "f", ""); err != nil || got.Loops {
			t.Errorf("%+v %v", got, err)
		}
	})
}
