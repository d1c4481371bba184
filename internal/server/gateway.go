package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/gateway"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
	"github.com/hansomcloud/hansom/internal/queue"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// openGateway makes the handler of the edge listener. invoker runs functions.
func (s *Server) openGateway(ctx context.Context, invoker hansom.Invoker, logger *slog.Logger) error {
	limits, err := throttle.New(throttle.DefaultConfig())
	if err != nil {
		return err
	}
	if s.quotas, err = throttle.NewQuotas(ctx, throttle.DefaultQuotaConfig(), s.db, logger); err != nil {
		return err
	}
	authorizers := authorize.DefaultConfig()
	authorizers.Region = s.cfg.Region
	s.authorize = authorize.New(authorizers, authorize.Deps{Dialer: s.upstream, Invoker: invoker, Auth: scoped{sessions{s.auth, s.functions}, "execute-api"}, Keys: s.usage}, logger)
	s.servers = integrate.NewUpstreams(s.streams, s.upstream, nil)
	cfg := gateway.DefaultConfig()
	cfg.Domain, cfg.Region = s.cfg.Domain, s.cfg.Region
	s.gateway = gateway.New(cfg, gateway.Deps{
		URLs: s.functions, Auth: scoped{sessions{s.auth, s.functions}, "lambda"}, Invoker: invoker, Sites: s.sites, Authorizer: s.authorize, Limits: limits, Quotas: s.quotas, Logs: s.logs, Meter: meter{s.metrics},
		Integrate: s.integrations(),
	}, logger.With("component", "gateway"))
	s.names = &domainNames{Gateway: s.gateway}
	s.apis.Refuse(s.names.owned)
	s.apis.Follow(s.names)
	return nil
}

// meter counts the requests of APIs.
type meter struct{ *telemetry.Metrics }

func (m meter) Stage(project, api, stage string) gateway.Observer {
	return m.Metrics.Stage(project, api, stage)
}

// integrations is what integrations other than functions work with.
func (s *Server) integrations() integrate.Deps {
	return integrate.Deps{Region: s.cfg.Region, Upstreams: s.servers, Queues: toQueues{s.queues}, Buses: toBuses{s.buses}, Sites: s.sites}
}

// checkIntegration refuses what the gateway could not carry out.
func (s *Server) checkIntegration(project string, i *api.Integration) error {
	return integrate.Check(i, project, s.integrations())
}

// usedQuotas tells the API what was counted.
type usedQuotas struct{ *throttle.Quotas }

// Usage implements apigateway.Quotas.
func (q usedQuotas) Usage(ctx context.Context, plan *api.Plan, key string, from, to time.Time) ([][2]int64, error) {
	list, err := q.Quotas.Usage(ctx, plan, key, from, to)
	days := make([][2]int64, len(list))
	for i, u := range list {
		days[i] = [2]int64{u.Used, u.Remaining}
	}
	return days, err
}

// toQueues has integrations send messages.
type toQueues struct{ queues *queue.Service }

// SendMessage implements integrate.Queues.
func (q toQueues) SendMessage(ctx context.Context, project, name string, m integrate.Message) (integrate.Sent, error) {
	attributes := func(from map[string]integrate.Attribute) map[string]queue.Attribute {
		to := make(map[string]queue.Attribute, len(from))
		for name, a := range from {
			to[name] = queue.Attribute{Type: a.Type, Text: a.Text, Bytes: a.Bytes}
		}
		return to
	}
	sent, err := q.queues.SendMessage(ctx, project, name, queue.SendInput{Body: m.Body, Delay: m.Delay, Attributes: attributes(m.Attributes), System: attributes(m.System),
		Group: m.Group, Dedup: m.Dedup, Sender: "apigateway.amazonaws.com", Trace: m.Trace})
	return integrate.Sent{ID: sent.ID, Body: sent.Body, Attributes: sent.Attributes, System: sent.System, Sequence: sent.Sequence}, err
}

// toBuses has integrations publish events.
type toBuses struct{ buses *eventbus.Service }

// PutEvent implements integrate.Buses.
func (b toBuses) PutEvent(ctx context.Context, project string, e integrate.Event) (string, error) {
	results, err := b.buses.Publish(ctx, project, []eventbus.Entry{{Bus: e.Bus, Source: e.Source, DetailType: e.DetailType, Detail: e.Detail, Resources: e.Resources, Time: e.Time, Trace: e.Trace}})
	if err != nil {
		return "", err
	}
	return results[0].ID, results[0].Err
}
