package telemetry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hansomcloud/hansom"
)

// MetricsConfig of the metrics.
type MetricsConfig struct {
	// MaxFunctions bounds the functions that have series of their own, and the stages of APIs; the others share series whose labels are "other".
	MaxFunctions int
}

// DefaultMetricsConfig holds the defaults.
func DefaultMetricsConfig() MetricsConfig { return MetricsConfig{MaxFunctions: 2000} }

// Metrics counts what the platform does, in the Prometheus data model. Names begin with "hansom_"; units are base units.
type Metrics struct {
	cfg      MetricsConfig
	registry *prometheus.Registry

	invocations, coldStarts, throttles, provisioned, spillover *prometheus.CounterVec
	requests                                                   *prometheus.CounterVec
	duration, init, latency                                    *prometheus.HistogramVec

	functions known[name, functionMetrics]
	stages    known[stageName, Stage]
}

type name struct{ project, function string }

type stageName struct{ project, api, stage string }

// known are series that were looked up once, at most so many.
type known[K comparable, S any] struct {
	make func(K) *S
	most int64

	all   sync.Map // K -> *S
	count atomic.Int64
	other *S // of those that are too many
}

// of returns the series of k. No lock is taken for one that has been seen.
func (s *known[K, S]) of(k K) *S {
	if x, ok := s.all.Load(k); ok {
		return x.(*S)
	}
	if s.count.Add(1) > s.most {
		s.count.Add(-1)
		return s.other
	}
	x, loaded := s.all.LoadOrStore(k, s.make(k))
	if loaded {
		s.count.Add(-1)
	}
	return x.(*S)
}

// forget tells whether k had series.
func (s *known[K, S]) forget(k K) bool {
	_, ok := s.all.LoadAndDelete(k)
	if ok {
		s.count.Add(-1)
	}
	return ok
}

// functionMetrics are the series of one function, looked up once.
type functionMetrics struct {
	status     [len(statuses)]prometheus.Counter
	duration   prometheus.Observer
	init       prometheus.Observer
	coldStarts prometheus.Counter
	throttles  prometheus.Counter

	provisioned, spillover prometheus.Counter
}

var statuses = [...]string{
	hansom.StatusOK:          "ok",
	hansom.StatusError:       "error",
	hansom.StatusTimeout:     "timeout",
	hansom.StatusOutOfMemory: "out_of_memory",
	hansom.StatusCrash:       "crash",
}

// NewMetrics makes an empty registry with the metrics of the Go runtime and the process in it.
func NewMetrics(cfg MetricsConfig) *Metrics {
	labels := []string{"project", "function"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	ofStage := []string{"project", "api", "stage"}
	histogram := func(name, help string, labels []string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}}, labels)
	}
	m := &Metrics{
		cfg:         cfg,
		registry:    prometheus.NewRegistry(),
		invocations: counter("hansom_invocations_total", "Finished invocations by status.", "project", "function", "status"),
		coldStarts:  counter("hansom_cold_starts_total", "Invocations that started an instance.", labels...),
		throttles:   counter("hansom_throttles_total", "Invocations refused for a concurrency limit.", labels...),
		provisioned: counter("hansom_provisioned_invocations_total", "Invocations that ran on provisioned concurrency.", labels...),
		spillover:   counter("hansom_spillover_invocations_total", "Invocations that ran beside provisioned concurrency, which was in use or not ready.", labels...),
		duration:    histogram("hansom_invocation_duration_seconds", "Time in the handler.", labels),
		init:        histogram("hansom_init_duration_seconds", "Time to start an instance and load the function.", labels),
		requests:    counter("hansom_api_requests_total", "Requests answered at a stage of an API, by the class of the status.", append(ofStage, "status")...),
		latency:     histogram("hansom_api_request_duration_seconds", "Time from a request's arrival to the end of its answer.", ofStage),
	}
	m.registry.MustRegister(m.invocations, m.coldStarts, m.throttles, m.provisioned, m.spillover, m.duration, m.init, m.requests, m.latency,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.functions.make, m.functions.most, m.functions.other = m.series, int64(cfg.MaxFunctions), m.series(name{"other", "other"})
	m.stages.make, m.stages.most, m.stages.other = m.stage, int64(cfg.MaxFunctions), m.stage(stageName{"other", "other", "other"})
	return m
}

func (m *Metrics) series(n name) *functionMetrics {
	f := &functionMetrics{
		duration:   m.duration.WithLabelValues(n.project, n.function),
		init:       m.init.WithLabelValues(n.project, n.function),
		coldStarts: m.coldStarts.WithLabelValues(n.project, n.function),
		throttles:  m.throttles.WithLabelValues(n.project, n.function),

		provisioned: m.provisioned.WithLabelValues(n.project, n.function),
		spillover:   m.spillover.WithLabelValues(n.project, n.function),
	}
	for i, status := range statuses {
		f.status[i] = m.invocations.WithLabelValues(n.project, n.function, status)
	}
	return f
}

// Stage counts what is answered at a stage of an API.
type Stage struct {
	status  [6]prometheus.Counter // by the first digit; 0 for one whose client went away before
	latency prometheus.Observer
}

func (m *Metrics) stage(s stageName) *Stage {
	r := &Stage{latency: m.latency.WithLabelValues(s.project, s.api, s.stage)}
	for i, class := range []string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		r.status[i] = m.requests.WithLabelValues(s.project, s.api, s.stage, class)
	}
	return r
}

// Stage has the series of a stage of an API.
func (m *Metrics) Stage(project, api, stage string) *Stage {
	return m.stages.of(stageName{project, api, stage})
}

// Observe counts an answer.
func (r *Stage) Observe(status int, took time.Duration) {
	r.status[min(max(status/100, 0), len(r.status)-1)].Inc()
	r.latency.Observe(took.Seconds())
}

// ForgetAPI drops the series of an API that was deleted.
func (m *Metrics) ForgetAPI(project, api string) {
	m.stages.all.Range(func(k, _ any) bool {
		if s := k.(stageName); s.project == project && s.api == api {
			m.stages.forget(s)
		}
		return true
	})
	match := prometheus.Labels{"project": project, "api": api}
	m.requests.DeletePartialMatch(match)
	m.latency.DeletePartialMatch(match)
}

// Record counts a finished invocation.
func (m *Metrics) Record(c hansom.Completion) {
	f := m.functions.of(name{c.Version.Project, c.Version.Function})
	if int(c.Status) < len(f.status) {
		f.status[c.Status].Inc()
	}
	f.duration.Observe(c.Duration.Seconds())
	if c.Provisioned {
		f.provisioned.Inc()
	}
	if c.Spillover {
		f.spillover.Inc()
	}
	if c.Cold {
		f.coldStarts.Inc()
		f.init.Observe(c.Init.Seconds())
	}
}

// Throttle counts an invocation refused for a concurrency limit.
func (m *Metrics) Throttle(project, function string) {
	m.functions.of(name{project, function}).throttles.Inc()
}

// Forget drops the series of a deleted function.
func (m *Metrics) Forget(project, function string) {
	if !m.functions.forget(name{project, function}) {
		return
	}
	match := prometheus.Labels{"project": project, "function": function}
	m.invocations.DeletePartialMatch(match)
	m.coldStarts.DeletePartialMatch(match)
	m.throttles.DeletePartialMatch(match)
	m.provisioned.DeletePartialMatch(match)
	m.spillover.DeletePartialMatch(match)
	m.duration.DeletePartialMatch(match)
	m.init.DeletePartialMatch(match)
}

// Gauge adds a gauge that is read when metrics are asked for: f calls emit once for each combination of label values. The name
// must be new; it is a defect if it is not.
func (m *Metrics) Gauge(name, help string, labels []string, f func(emit func(value float64, labelValues ...string))) {
	m.registry.MustRegister(&gauge{desc: prometheus.NewDesc(name, help, labels, nil), kind: prometheus.GaugeValue, read: f})
}

// Counter is Gauge for a value that only grows. Its name ends in "_total".
func (m *Metrics) Counter(name, help string, labels []string, f func(emit func(value float64, labelValues ...string))) {
	m.registry.MustRegister(&gauge{desc: prometheus.NewDesc(name, help, labels, nil), kind: prometheus.CounterValue, read: f})
}

type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(emit func(value float64, labelValues ...string))
}

func (g *gauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g *gauge) Collect(ch chan<- prometheus.Metric) {
	g.read(func(value float64, labelValues ...string) {
		if metric, err := prometheus.NewConstMetric(g.desc, g.kind, value, labelValues...); err != nil {
			ch <- prometheus.NewInvalidMetric(g.desc, err)
		} else {
			ch <- metric
		}
	})
}

// Handler answers with all metrics in the Prometheus text format (or OpenMetrics, as asked for).
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
