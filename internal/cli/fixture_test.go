package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	packages "github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/events"
	"github.com/hansomcloud/hansom/internal/awsapi/lambda"
	"github.com/hansomcloud/hansom/internal/awsapi/scheduler"
	"github.com/hansomcloud/hansom/internal/awsapi/sqs"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/backup"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/gateway"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/openapi"
	"github.com/hansomcloud/hansom/internal/hansomapi"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/provision"
	"github.com/hansomcloud/hansom/internal/queue"
	"github.com/hansomcloud/hansom/internal/schedule"
	"github.com/hansomcloud/hansom/internal/site"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// testServer is a server without sandboxes: apps, functions, keys and logs are real, invocations are answered with their event.
type testServer struct {
	listener  net.Listener
	http      *http.Server
	functions *function.Service
	queues    *queue.Service
	apps      *app.Service
	logs      *telemetry.Logs
	requests  *telemetry.Requests
	ready     chan struct{}
}

// anyRuntime says that every runtime is there.
type anyRuntime struct{}

func (anyRuntime) CheckRuntime(identifier string) (string, error) {
	if identifier == "python3.11" {
		return "python3.11 is not on this machine; python3.12 runs it", nil
	}
	return "", nil
}

func (anyRuntime) RuntimeARN(id string) string { return "arn:aws:lambda:us-east-1::runtime:" + id }

// host is what a test server needs of a test or a script.
type host interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

func newTestServer(t host, dir string) *testServer {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, logger := context.Background(), slog.New(slog.DiscardHandler)
	d, err := db.Open(ctx, "sqlite:"+filepath.Join(dir, "test.db"), logger)
	must(err)
	t.Cleanup(func() { must(d.Close()) })
	cfg := auth.DefaultConfig()
	cfg.Dev = true
	cfg.Root = hansom.Credentials{AccessKeyID: "AKIAROOTROOTROOTROOT", SecretAccessKey: "rootrootrootrootrootrootrootrootrootroot"}
	accounts, err := auth.New(ctx, cfg, d, make([]byte, 32), logger)
	must(err)
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	must(err)
	s := &testServer{ready: make(chan struct{})}
	artifacts, err := packages.New(packages.DefaultConfig(dir), blobs, logger)
	must(err)
	layers, err := layer.New(ctx, layer.DefaultConfig(), d, artifacts)
	must(err)
	s.functions, err = function.New(ctx, function.DefaultConfig(), d, artifacts, layers, anyRuntime{}, logger)
	must(err)
	provisioned, err := provision.New(ctx, provision.DefaultConfig(), d, s.functions, readyPool{}, logger)
	must(err)
	s.functions.SetProvisioned(provisioned)
	log, err := bus.Open(ctx, bus.Config{Dir: filepath.Join(dir, "bus")}, logger)
	must(err)
	t.Cleanup(log.Close)
	messages, err := backlog.Open(ctx, backlog.DefaultConfig(), log, logger)
	must(err)
	queueConfig := queue.DefaultConfig()
	queueConfig.Key = make([]byte, 32)
	s.queues, err = queue.New(ctx, queueConfig, d, messages, logger)
	must(err)
	mappings, err := event.New(ctx, event.DefaultConfig(), d, event.Deps{Functions: s.functions}, logger)
	must(err)
	buses, err := eventbus.New(ctx, eventbus.DefaultConfig(), d, everything{}, logger)
	must(err)
	schedules, err := schedule.New(ctx, schedule.DefaultConfig(), d, everything{}, logger)
	must(err)
	sites := site.New(site.DefaultConfig(), artifacts, logger)
	web := openapi.Apps{Region: "us-east-1", Domain: "localhost"}
	s.apps, err = app.New(ctx, app.DefaultConfig(), d, app.Deps{Functions: s.functions, Provisioned: provisioned, Events: s.functions.Events(), Queues: s.queues, Mappings: mappings, Rules: buses, Schedules: schedules, Sites: sites, Web: web}, logger)
	must(err)
	sites.SetDeployments(s.apps)
	edge := gateway.New(gateway.DefaultConfig(), gateway.Deps{URLs: s.functions, Sites: sites}, logger)
	publish := func() { s.publish(edge, web) }
	publish()
	d.Subscribe(func(db.Change) { publish() })
	s.logs, err = telemetry.NewLogs(telemetry.DefaultLogsConfig(), filepath.Join(dir, "logs"), logger)
	must(err)
	t.Cleanup(func() { must(s.logs.Close()) })
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s.requests = telemetry.NewRequests()
	mux := http.NewServeMux()
	mux.Handle("/edge", s.requests.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	mux.Handle(hansomapi.Prefix, hansomapi.New(hansomapi.Deps{
		Auth: accounts, Projects: accounts, Keys: accounts, Apps: s.apps, Deployments: s.apps, Functions: s.functions, Layers: layers, Artifacts: artifacts, Logs: s.logs, Requests: s.requests,
		Info: func(context.Context) (hansomapi.Info, error) {
			return hansomapi.Info{Version: "dev", Region: "us-east-1", Edge: "127.0.0.1:8080", Database: "sqlite", Sync: "process", Driver: "linux", Egress: "platform",
				Runtimes: []hansomapi.Runtime{
					{Identifier: "python3.11", HostVersion: "3.11.2"}, {Identifier: "nodejs22.x", HostVersion: "22.1.0"},
					{Identifier: "python3.9", HostVersion: "3.9.1"}, {Identifier: "provided.al2023"}, {Identifier: "provided.al2"},
				},
				Time:   time.Now(),
				Checks: []hansomapi.Check{{Name: "memory limits", Status: "warning", Detail: "cgroups are read-only", Fix: "run it as root"}}}, nil
		},
		Backup: func(ctx context.Context, w io.Writer, logs bool) error {
			return backup.Write(ctx, w, backup.Source{Dir: dir, DB: d, Version: "dev", Region: "us-east-1", Logs: logs, Now: time.Now()})
		},
		AppURL: func(project, app string) string { return "http://" + app + ".localhost:8080/" },
		PreviewURL: func(project, app string, number int64) string {
			return "http://" + site.PreviewLabel(app, number) + ".localhost:8080/"
		},
		Sites:       sites,
		FunctionURL: functionURL,
		Instances:   func(string, string) (int, int) { return 2, 1 },
		Provisioned: provisioned, Mappings: mappings, Queues: s.queues, Consumers: mappings, Buses: buses, Schedules: schedules, Gateway: edge, Region: "us-east-1",
	}, logger))
	lambdaConfig := lambda.DefaultConfig()
	lambdaConfig.FunctionURL, lambdaConfig.DownloadKey = functionURL, make([]byte, 32)
	lambdaAPI, err := lambda.New(lambdaConfig, s.functions, layers, provisioned, mappings, s, artifacts, logger)
	must(err)
	mux.Handle(lambda.DownloadPath, lambdaAPI.Downloads())
	mux.Handle("/", awsapi.New(accounts, logger, map[string]awsapi.Service{"lambda": lambdaAPI, "sqs": sqs.New("us-east-1", s.queues, logger),
		"events": events.New("us-east-1", events.Deps{Buses: buses}, logger), "scheduler": scheduler.New("us-east-1", schedules, logger)}))
	s.http = &http.Server{Handler: mux}
	return s
}

// publish tells the gateway of the apps and their domains.
func (s *testServer) publish(g *gateway.Gateway, web openapi.Apps) {
	var apps []gateway.App
	var domains []*api.Domain
	for _, name := range s.apps.Apps(hansom.DefaultProject) {
		m, _ := s.apps.Manifest(hansom.DefaultProject, name)
		live, err := web.Live(hansom.DefaultProject, m)
		if err != nil {
			panic(err) // it was deployed
		}
		apps = append(apps, gateway.App{Project: hansom.DefaultProject, Name: name, Live: live})
		for _, d := range m.Domains {
			domains = append(domains, &api.Domain{Project: hansom.DefaultProject, Name: d, Mappings: []api.Mapping{{API: name}}})
		}
	}
	g.SetApps(apps)
	g.SetDomains(domains)
}

// everything is taken over, and goes nowhere.
type everything struct{}

func (everything) Dispatch(context.Context, hansom.Dispatch) error { return nil }

// readyPool has two provisioned instances of everything.
type readyPool struct{}

func (readyPool) Provision(*hansom.Version, int)              {}
func (readyPool) Boot(*hansom.Version) error                  { return nil }
func (readyPool) Provisioned(*hansom.Version) (int, int, int) { return 2, 2, 0 }
func (readyPool) ProvisionedEnded() <-chan struct{}           { return nil }
func (readyPool) Memory() int64                               { return 1 << 30 }

func functionURL(id string) string { return "http://" + id + ".lambda-url.localhost:8080/" }

// Invoke answers with the event; an event of "fail" is a function error.
func (s *testServer) Invoke(ctx context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	if _, err := s.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier); err != nil {
		return hansom.Result{}, err
	}
	r := hansom.NewResult(slices.Clone(inv.Payload), nil)
	r.Version = hansom.Latest
	if inv.LogTail {
		r.LogTail = []byte("START\nsaid \x1b[31mhello\nEND\n")
	}
	if string(inv.Payload) == `"fail"` {
		r.FunctionError = "Unhandled"
	}
	return r, nil
}

// Accept takes an event over and forgets it.
func (s *testServer) Accept(ctx context.Context, inv *hansom.Invocation) error {
	_, err := s.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier)
	return err
}

// log writes a line as a function would have some time ago.
func (s *testServer) log(function, message string, ago time.Duration) {
	e := hansom.LogEvent{Time: time.Now().Add(-ago), Project: hansom.DefaultProject, Function: function, Version: "$LATEST", Instance: "i", RequestID: "1", Message: message}
	if strings.HasPrefix(message, "START ") {
		e.Source = "async"
	}
	s.logs.Append(e)
}

func (s *testServer) Ready() <-chan struct{} { return s.ready }
func (s *testServer) EdgeAddr() string       { return "127.0.0.1:8080" }
func (s *testServer) APIAddr() string        { return s.listener.Addr().String() }
func (s *testServer) NATSAddr() string       { return "" }
func (s *testServer) Isolation() string      { return "none: a test" }

func (s *testServer) Run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.Background())
	defer cancel()
	active, moving := make(chan error, 1), make(chan error, 1)
	go func() { active <- s.functions.Run(background) }()
	go func() { moving <- s.queues.Run(background) }()
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	close(s.ready)
	<-ctx.Done()
	err := s.http.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	cancel()
	if e := <-active; !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, <-moving)
}

// start runs the server until the end of the test.
func (s *testServer) start(t host) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
