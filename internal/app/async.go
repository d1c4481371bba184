package app

import (
	"fmt"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// async is how the manifest says that events of the function key are treated; nil when it does not.
func (s *Service) async(project string, r *manifest.Resolved, key string) *hansom.AsyncConfig {
	a := r.Functions[key].Async
	if a == nil {
		return nil
	}
	return &hansom.AsyncConfig{Retries: a.Retries, MaxAge: time.Duration(a.MaxAge) * time.Second,
		OnSuccess: s.destination(project, r, a.OnSuccess), OnFailure: s.destination(project, r, a.OnFailure)}
}

// destination is the ARN of a queue or a function of the app.
func (s *Service) destination(project string, r *manifest.Resolved, key string) string {
	if key == "" {
		return ""
	}
	if q, ok := r.Queues[key]; ok {
		return s.queueARN(project, manifest.QueueName(r.Name, key, q.FIFO))
	}
	return hansom.FunctionARN(s.cfg.Region, project, manifest.FunctionName(r.Name, key), "")
}

// asyncDifferences names what a manifest changes.
func asyncDifferences(old, want *hansom.AsyncConfig) []string {
	normal := hansom.DefaultAsyncConfig()
	if old == nil {
		old = &normal
	}
	if want == nil {
		want = &normal
	}
	var out []string
	diff := func(what string, a, b any) {
		if a != b {
			out = append(out, fmt.Sprintf("async %s %v -> %v", what, a, b))
		}
	}
	diff("retries", old.Retries, want.Retries)
	diff("maxAge", seconds(old.MaxAge), seconds(want.MaxAge))
	diff("onSuccess", resourceOf(old.OnSuccess), resourceOf(want.OnSuccess))
	diff("onFailure", resourceOf(old.OnFailure), resourceOf(want.OnFailure))
	return out
}

// resourceOf is what an ARN names, without project and region.
func resourceOf(arn string) string {
	a, err := hansom.ParseARN(arn)
	if err != nil {
		return orNone(arn)
	}
	return a.Resource
}
