package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/events"
	"github.com/hansomcloud/hansom/internal/awsapi/iam"
	"github.com/hansomcloud/hansom/internal/awsapi/lambda"
	"github.com/hansomcloud/hansom/internal/awsapi/logs"
	"github.com/hansomcloud/hansom/internal/awsapi/scheduler"
	"github.com/hansomcloud/hansom/internal/awsapi/sqs"
	"github.com/hansomcloud/hansom/internal/awsapi/sts"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/blank"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/bus/subject"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/edge"
	"github.com/hansomcloud/hansom/internal/edge/certs"
	"github.com/hansomcloud/hansom/internal/endpoint"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/eventbus/archive"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/gateway"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
	"github.com/hansomcloud/hansom/internal/hansomapi"
	"github.com/hansomcloud/hansom/internal/invoke"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/pool"
	"github.com/hansomcloud/hansom/internal/provision"
	"github.com/hansomcloud/hansom/internal/queue"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/schedule"
	"github.com/hansomcloud/hansom/internal/site"
	"github.com/hansomcloud/hansom/internal/telemetry"
	"github.com/hansomcloud/hansom/internal/upstream"
)

// Server is a whole Hansom. Make it with New, then call Run once.
type Server struct {
	cfg    Config
	logger *slog.Logger
	ready  chan struct{}

	edgeListener, apiListener net.Listener
	edgeTLSListener           net.Listener     // nil without certificates
	certificates              *certs.Files     // from files
	authority                 *certs.Authority // or of our own
	newAuthority              bool             // it was made by this server
	edgeTLS                   *http.Server     // nil without certificates
	edge                      *edge.Server
	loops                     []*loop.Loop
	linked                    atomic.Uint32 // links made, which take turns at the loops
	api                       *edge.Server
	platform, inner, innerTLS *http.Server    // inside sandboxes: the AWS-shaped APIs, and what edge serves
	streams                   context.Context // of streams of other servers and upgraded connections
	endStreams                context.CancelFunc

	lock      *os.File
	db        *db.DB
	spare     *spare
	bus       *bus.Bus
	backlog   *backlog.Store
	queues    *queue.Service
	subjects  *subject.Source
	auth      *auth.Service
	runtimes  *runtimes.Catalogue
	artifacts *artifact.Store
	layers    *layer.Service
	functions *function.Service
	driver    sandbox.Driver
	offline   error        // why functions cannot reach the internet; nil when they can
	blanks    *blank.Stock // nil without
	pool      *pool.Pool
	provision *provision.Service
	async     *invoke.Async
	events    *event.Service
	endpoints *endpoint.Service
	upstream  *upstream.Dialer
	buses     *eventbus.Service
	archives  *archive.Service
	schedules *schedule.Service
	apis      *api.Service
	usage     *usage.Service
	apps      *app.Service
	sites     *site.Service
	gateway   *gateway.Gateway
	own       ownAPIs // those of apps
	names     *domainNames
	servers   *integrate.Upstreams
	authorize *authorize.Service
	quotas    *throttle.Quotas
	logs      *telemetry.Logs
	metrics   *telemetry.Metrics
	requests  *telemetry.Requests
	checks    []hansomapi.Check
	isolation string // in one line
}

// New opens the data directory and the listeners and wires all parts; nothing is served before Run. What it opened is closed
// again when it fails.
func New(ctx context.Context, cfg Config, logger *slog.Logger) (_ *Server, err error) {
	ctx = db.Essential(ctx)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, logger: logger.With("component", "server"), ready: make(chan struct{})}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, dir := range []*string{&s.cfg.Data, &s.cfg.RunDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, hansom.Errorf(hansom.Invalid, "open data directory", "%w", err)
		}
	}
	if err := s.openData(); err != nil {
		return nil, err
	}
	if err := s.openEdge(logger); err != nil {
		return nil, err
	}
	if s.apiListener, err = listen("api", cfg.API); err != nil {
		return nil, err
	}

	key, err := auth.LoadMasterKey(s.cfg.Data, os.Getenv)
	if err != nil {
		return nil, err
	}
	s.spare = &spare{dir: s.cfg.Data, least: uint64(cfg.Spare) << 20}
	if s.db, err = s.openDB(ctx, logger); err != nil {
		return nil, err
	}
	authConfig := auth.DefaultConfig()
	authConfig.Dev = cfg.Dev
	if authConfig.Root, err = auth.LoadRoot(s.cfg.Data, os.Getenv); err != nil {
		return nil, err
	}
	if s.auth, err = auth.New(ctx, authConfig, s.db, key, logger); err != nil {
		return nil, err
	}
	if err := s.openBacklog(ctx, key, logger); err != nil {
		return nil, err
	}
	blobs, err := disk.New(filepath.Join(s.cfg.Data, "blob"))
	if err != nil {
		return nil, err
	}
	if err := s.openDriver(ctx, logger); err != nil {
		return nil, err
	}
	artifactConfig := artifact.DefaultConfig(s.cfg.Data)
	artifactConfig.Grace = cfg.CodeGrace
	if s.artifacts, err = artifact.New(artifactConfig, sparing{blobs, s.spare.check}, logger); err != nil {
		return nil, err
	}
	layerConfig := layer.DefaultConfig()
	layerConfig.Region = cfg.Region
	if s.layers, err = layer.New(ctx, layerConfig, s.db, s.artifacts); err != nil {
		return nil, err
	}
	functionConfig := function.DefaultConfig()
	functionConfig.Region = cfg.Region
	if s.functions, err = function.New(ctx, functionConfig, s.db, s.artifacts, s.layers, runtimeCheck{s.runtimes, cfg.Region}, logger); err != nil {
		return nil, err
	}

	logConfig := telemetry.DefaultLogsConfig()
	logConfig.FunctionSize, logConfig.Age = int64(cfg.LogSize)<<20, cfg.LogAge
	if s.logs, err = telemetry.NewLogs(logConfig, filepath.Join(s.cfg.Data, "logs"), logger); err != nil {
		return nil, err
	}
	s.metrics = telemetry.NewMetrics(telemetry.DefaultMetricsConfig())

	if s.loops, err = newLoops(); err != nil {
		return nil, err
	}
	poolConfig := pool.DefaultConfig()
	poolConfig.Memory, poolConfig.Idle, poolConfig.Egress = int64(cfg.Memory)<<20, cfg.Idle, s.cfg.Egress
	if s.pool, err = pool.New(poolConfig, s.poolDeps(logger), logger); err != nil {
		return nil, err
	}
	s.functions.Latest(s.pool.Expect)
	s.functions.OnRetire(s.pool.Retire)
	provisionConfig := provision.DefaultConfig()
	provisionConfig.Region = cfg.Region
	if s.provision, err = provision.New(ctx, provisionConfig, s.db, s.functions, s.pool, logger); err != nil {
		return nil, err
	}
	s.functions.SetProvisioned(s.provision)
	invocations, err := invoke.New(invoke.DefaultConfig(), s.functions, s.pool, newThrottles(s.metrics, func(a hansom.Announcement) { s.buses.Announce(a) }))
	if err != nil {
		return nil, err
	}
	s.requests = telemetry.NewRequests()
	invoker := s.requests.Invoker(invocations)

	if err := s.openTriggers(ctx, key, invoker, logger); err != nil {
		return nil, err
	}

	s.openSites(logger)
	if err := s.openGateway(ctx, invoker, logger); err != nil {
		return nil, err
	}
	appConfig := app.DefaultConfig()
	appConfig.Region = cfg.Region
	if s.driver.Name() != "linux" { // functions share the host's loopback
		appConfig.Platform = "http://" + s.APIAddr()
	}
	if s.apps, err = app.New(ctx, appConfig, s.db, app.Deps{Functions: s.functions, Provisioned: s.provision, Events: s.functions.Events(), Queues: s.queues, Mappings: s.events, Rules: s.buses, Schedules: s.schedules, Sites: s.sites, Web: s.webOf(), Announce: s.buses.Announce}, logger); err != nil {
		return nil, err
	}
	s.sites.SetDeployments(s.apps)
	s.publishApps()
	s.db.Subscribe(s.changed) // after the subscriptions of app and function, which renew what this reads

	lambdaConfig := lambda.DefaultConfig()
	lambdaConfig.Region, lambdaConfig.FunctionURL, lambdaConfig.DownloadKey = cfg.Region, s.functionURL, derive(key, "code download")
	lambdaAPI, err := lambda.New(lambdaConfig, s.functions, s.layers, s.provision, s.events, lambdaInvoker{invoker, s.async}, s.artifacts, logger)
	if err != nil {
		return nil, err
	}
	iamAPI, err := iam.New(ctx, s.db, logger)
	if err != nil {
		return nil, err
	}
	aws := awsapi.New(sessions{s.auth, s.functions}, logger, map[string]awsapi.Service{
		"lambda": lambdaAPI, "logs": logs.New(cfg.Region, s.logs, logger), "sts": sts.New(logger), "iam": iamAPI,
		"sqs": sqs.New(cfg.Region, s.queues, logger), "events": events.New(cfg.Region, s.eventsAPI(), logger),
		"scheduler": scheduler.New(cfg.Region, s.schedules, logger), "apigateway": s.apiGateway(logger),
	})
	management := hansomapi.New(hansomapi.Deps{
		Auth: s.auth, Projects: s.auth, Keys: s.auth, Apps: s.apps, Deployments: s.apps, Functions: s.functions, Layers: s.layers, Artifacts: s.artifacts,
		Logs: s.logs, Requests: s.requests, Backup: s.backup, Info: s.info, AppURL: s.appURL, PreviewURL: s.previewURL, Sites: s.sites, FunctionURL: s.functionURL,
		Instances: s.pool.Instances, Provisioned: s.provision, Mappings: ending{s.events, s.buses, s.archives, s.schedules, s.endpoints, s.apis, s.usage, s.quotas}, Queues: s.queues, Consumers: s.events, Buses: s.buses, Schedules: s.schedules, Gateway: s.gateway, Region: cfg.Region,
	}, logger)
	s.observe()
	if err := s.serveEdge(s.gateway, logger); err != nil {
		return nil, err
	}
	s.api = edge.New(httpServer(s.apiHandler(management, lambdaAPI.Downloads(), aws), logger), s.loops, logger.With("component", "api"))
	s.platform = httpServer(aws, logger)
	return s, nil
}

// Ready is closed when both listeners answer.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// EdgeAddr and APIAddr are the bound addresses, host:port.
func (s *Server) EdgeAddr() string { return s.edgeListener.Addr().String() }
func (s *Server) APIAddr() string  { return s.apiListener.Addr().String() }

// NATSAddr is where clients of NATS connect, host:port; "" for nowhere.
func (s *Server) NATSAddr() string { return s.bus.Addr() }

// Run serves until ctx ends. Then it stops accepting, lets running invocations end (up to their deadlines and Config.Drain), flushes
// and closes, in this order. It returns nil after such an end.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	ctx = db.Essential(ctx)
	if err := s.writeAddresses(); err != nil {
		return err
	}
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	beginning, stopBeginning := context.WithCancel(ctx)
	defer stopBeginning()
	failed := make(chan error, 16)
	var wg sync.WaitGroup
	run := func(name string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	run("changes", func() error { return s.follow(background) })
	run("subjects", func() error { return s.subjects.Run(background) })
	run("functions", func() error { return s.functions.Run(background) })
	run("provisioned concurrency", func() error { return s.provision.Run(beginning) })
	run("queues", func() error { return s.queues.Run(beginning) })
	run("asynchronous invocations", func() error { return s.async.Run(beginning) })
	run("event source mappings", func() error { return s.events.Run(beginning) })
	run("connections", func() error { return s.endpoints.Run(beginning) })
	run("event buses", func() error { return s.buses.Run(beginning) })
	run("schedules", func() error { return s.schedules.Run(beginning) })
	run("archives", func() error { return s.archives.Run(beginning) })
	run("authorizers", func() error { return s.authorize.Run(background) })
	run("quotas", func() error { return s.quotas.Run(background) })
	run("artifacts", func() error { return s.artifacts.Run(background, s.references) })
	run("pool", func() error { return s.pool.Maintain(background) })
	run("memory", func() error { return tidy(background) })
	if s.blanks != nil {
		run("blanks", func() error { return s.blanks.Run(beginning) })
	}
	run("edge listener", func() error { return s.edge.Serve(s.edgeListener) })
	if s.edgeTLS != nil {
		run("edge listener with TLS", func() error { return s.edgeTLS.ServeTLS(s.edgeTLSListener, "", "") })
	}
	if s.certificates != nil {
		run("certificates", func() error { return s.certificates.Run(background) })
	}
	run("api listener", func() error { return s.api.Serve(s.apiListener) })
	close(s.ready)

	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping: running invocations may end; a second signal ends at once")
	case err = <-failed:
	}
	stopBeginning()
	drain, cancel := context.WithTimeout(background, s.cfg.Drain)
	defer cancel()
	defer time.AfterFunc(s.cfg.DrainStreams, s.endStreams).Stop()
	apiDone := make(chan error, 1)
	go func() { apiDone <- s.api.Shutdown(drain) }()
	tlsDone := s.shutdownTLS(drain)
	drained := errors.Join(s.edge.Shutdown(drain), tlsDone(), s.pool.Drain(drain))
	if drain.Err() != nil {
		s.logger.Warn("what still ran is ended", "after", s.cfg.Drain, "error", drained)
	} else {
		err = errors.Join(err, drained)
	}
	// Those who follow logs and requests hold the api listener open: once the pool has drained, nothing acknowledged is at stake.
	s.requests.Close()
	s.buses.StopFollowing()
	s.report("pool", s.pool.Close())
	s.report("logs", s.logs.Close())
	select {
	case <-apiDone:
	case <-time.After(time.Second):
		_ = s.api.Close()
	}
	stopBackground()
	wg.Wait()
	return err
}

// close ends what is still open, in the reverse order of New.
func (s *Server) close() {
	s.endStreams()
	if s.pool != nil {
		s.report("pool", s.pool.Close())
	}
	for _, inside := range []*http.Server{s.platform, s.inner, s.innerTLS, s.edgeTLS} {
		if inside != nil {
			_ = inside.Close()
		}
	}
	if s.edge != nil {
		_ = s.edge.Close()
	}
	for _, l := range s.loops {
		l.Close()
	}
	if s.servers != nil {
		s.servers.Close()
	}
	if s.driver != nil {
		s.report("driver", s.driver.Close())
	}
	if s.logs != nil {
		s.report("logs", s.logs.Close())
	}
	if s.bus != nil {
		s.bus.Close()
	}
	if s.db != nil {
		s.report("database", s.db.Close())
	}
	for _, l := range []net.Listener{s.edgeListener, s.edgeTLSListener, s.apiListener} {
		if l != nil {
			_ = l.Close()
		}
	}
	if s.lock != nil {
		_ = os.Remove(s.addressFile())
		_ = s.lock.Close()
	}
}

func (s *Server) report(what string, err error) {
	if err != nil {
		s.logger.Warn("not closed cleanly", "what", what, "error", err)
	}
}

func (s *Server) openDB(ctx context.Context, logger *slog.Logger) (*db.DB, error) {
	url := s.cfg.DB
	if url == "" {
		url = "sqlite:" + filepath.Join(s.cfg.Data, "hansom.db")
	}
	var opts []db.Option
	if s.cfg.DB == "" { // PostgreSQL's disk is another one
		opts = append(opts, db.Room(s.spare.check))
	}
	if s.cfg.Sync == "always" {
		opts = append(opts, db.SyncAlways())
	}
	return db.Open(ctx, url, logger, opts...)
}

func listen(name, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, "listen", "the %s listener cannot use %s: %w; choose another with --%s", name, addr, err, name)
	}
	return l, nil
}

func httpServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// newLoops are the event loops of the edge listener. One serves as many requests as the functions of about four processors
// answer.
func newLoops() (loops []*loop.Loop, err error) {
	for n := (runtime.GOMAXPROCS(0) + 3) / 4; loop.Supported && err == nil && len(loops) < n; {
		var l *loop.Loop
		if l, err = loop.New(); err == nil {
			loops = append(loops, l)
		}
	}
	return loops, err
}

// derive makes a key for one purpose from the master key.
func derive(key []byte, purpose string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

// runtimeCheck lets function ask about a runtime.
type runtimeCheck struct {
	*runtimes.Catalogue
	region string
}

func (c runtimeCheck) CheckRuntime(identifier string) (warning string, err error) {
	r, err := c.Resolve(identifier)
	if err != nil {
		return "", err
	}
	return r.Warning, nil
}

func (c runtimeCheck) RuntimeARN(identifier string) string {
	r, err := c.Resolve(identifier)
	if err != nil {
		return ""
	}
	return r.ARN(c.region)
}

// lambdaInvoker is what the Lambda API needs to invoke functions.
type lambdaInvoker struct {
	hansom.Invoker
	*invoke.Async
}

// scoped refuses signatures for other services than one, as function URLs (lambda) and HTTP APIs (execute-api) do.
type scoped struct {
	sessions
	service string
}

func (s scoped) Authenticate(r *http.Request) (hansom.Principal, error) {
	if service, _, ok := auth.Scope(r); ok && service != s.service {
		return hansom.Principal{}, hansom.Errorf(hansom.Unauthenticated, "authenticate", "Credential should be scoped to correct service: '%s'.", s.service)
	}
	return s.sessions.Authenticate(r)
}

// changed follows the configuration.
func (s *Server) changed(c db.Change) {
	s.publishApps()
	if c.Domain == "auth" {
		s.projectsChanged(c.Keys)
		s.bus.Recheck()
		s.dropProjects()
	}
	if c.Domain != "function" {
		return
	}
	for _, key := range c.Keys {
		project, name, _ := strings.Cut(key, "/")
		switch f, err := s.functions.Resolve(context.Background(), project, name, ""); {
		case err == nil:
			s.pool.Expect(f.Version)
		case hansom.KindOf(err) == hansom.NotFound:
			s.metrics.Forget(project, name)
		}
	}
}

// references marks the packages that versions, layers and kept deployments need, all as of one moment.
func (s *Server) references(ctx context.Context, refs *artifact.References) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		return errors.Join(s.functions.References(ctx, tx, refs), s.layers.References(ctx, tx, refs), s.apps.References(ctx, tx, refs))
	})
}

func (s *Server) functionURL(id string) string { return s.host(id+".lambda-url") + "/" }

func (s *Server) appURL(project, name string) string { return s.host(s.appLabel(project, name)) + "/" }

// appLabel is the host of an app, without the base domain.
func (s *Server) appLabel(project, name string) string {
	if project != hansom.DefaultProject {
		if p, err := s.auth.Project(project); err == nil {
			name += "." + p.Slug
		}
	}
	return name
}

// observe registers what metrics read from other parts.
func (s *Server) observe() {
	s.metrics.Gauge("hansom_instances", "Instances by state.", []string{"state"}, func(emit func(float64, ...string)) {
		st := s.pool.Stats()
		emit(float64(st.Booting), "booting")
		emit(float64(st.Idle), "idle")
		emit(float64(st.Busy), "busy")
	})
	if s.blanks != nil {
		s.observeBlanks()
	}
	s.observeQueues()
	s.metrics.Gauge("hansom_instance_memory_bytes", "Memory limits of all instances together.", nil, func(emit func(float64, ...string)) {
		emit(float64(s.pool.Stats().Reserved))
	})
	s.metrics.Gauge("hansom_waiting_invocations", "Invocations that wait for an instance.", nil, func(emit func(float64, ...string)) {
		emit(float64(s.pool.Stats().Waiting))
	})
	concurrency := []string{"project", "function", "version"}
	provisioned := func(name, help string, of func(provision.Usage) float64) {
		s.metrics.Gauge(name, help, concurrency, func(emit func(float64, ...string)) {
			for _, u := range s.provision.Usage() {
				emit(of(u), u.Project, u.Function, u.Version)
			}
		})
	}
	provisioned("hansom_provisioned_concurrency", "Concurrent executions that are asked for ahead of time.", func(u provision.Usage) float64 { return float64(u.Requested) })
	provisioned("hansom_provisioned_concurrency_available", "Of those: in instances that are ready.", func(u provision.Usage) float64 { return float64(u.Available) })
	provisioned("hansom_provisioned_concurrency_in_use", "Invocations that run in such instances.", func(u provision.Usage) float64 { return float64(u.InUse) })
	s.metrics.Counter("hansom_log_lines_dropped_total", "Log lines of functions that were dropped for their rate.", nil, func(emit func(float64, ...string)) {
		emit(float64(s.logs.Dropped()))
	})
	s.metrics.Counter("hansom_packages_collected_total", "Packages of code and layers that were removed because nothing referred to them.", nil, func(emit func(float64, ...string)) {
		packages, _ := s.artifacts.Totals()
		emit(float64(packages))
	})
	s.metrics.Counter("hansom_packages_collected_bytes_total", "Bytes of the packages that were removed because nothing referred to them.", nil, func(emit func(float64, ...string)) {
		_, bytes := s.artifacts.Totals()
		emit(float64(bytes))
	})
	s.metrics.Gauge("hansom_goroutines", "Goroutines of the server.", nil, func(emit func(float64, ...string)) {
		emit(float64(runtime.NumGoroutine()))
	})
}
