package telemetry

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/_hansom/metrics", nil))
	if w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(MetricsConfig{MaxFunctions: 2})
	version := func(f string) *hansom.Version { return &hansom.Version{Project: project, Function: f} }
	m.Record(hansom.Completion{Version: version("a"), Duration: 3 * time.Millisecond, Init: 70 * time.Millisecond, Cold: true})
	for status := hansom.StatusOK; status <= hansom.StatusCrash; status++ {
		m.Record(hansom.Completion{Version: version("a"), Duration: time.Second, Status: status})
	}
	m.Throttle(project, "b")
	m.Record(hansom.Completion{Version: version("c")})
	m.Throttle(project, "d")
	m.Stage(project, "api1", "$default").Observe(200, 3*time.Millisecond)
	m.Stage(project, "api1", "$default").Observe(599, time.Second)
	m.Stage(project, "api1", "live").Observe(0, 0)
	m.Stage(project, "api2", "live").Observe(404, 0)
	m.Gauge("hansom_instances", "Instances by state.", []string{"state"}, func(emit func(float64, ...string)) {
		emit(3, "idle")
		emit(1, "busy")
	})
	m.Counter("hansom_log_lines_dropped_total", "Lines.", nil, func(emit func(float64, ...string)) { emit(7) })
	golden, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := "\n" + scrape(t, m)
	for want := range strings.Lines(string(golden)) {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
	if !strings.Contains(got, "\ngo_goroutines ") || !strings.Contains(got, "\nprocess_") {
		t.Error("the metrics of the runtime or of the process are missing")
	}
	m.Forget(project, "a")
	m.Forget(project, "a")
	m.ForgetAPI(project, "api1")
	m.ForgetAPI(project, "api1")
	m.Stage(project, "api2", "live").Observe(404, 0)
	m.Record(hansom.Completion{Version: version("d")})
	got = scrape(t, m)
	if strings.Contains(got, `function="a"`) || !strings.Contains(got, `hansom_invocations_total{function="d",project="000000000000",status="ok"} 1`) {
		t.Error("forgetting a function does not make room for another")
	}
	if strings.Contains(got, `"api1"`) || !strings.Contains(got, `hansom_api_requests_total{api="api2",project="000000000000",stage="live",status="4xx"} 1`) {
		t.Error("forgetting an API does not make room for another")
	}
}

func TestMetricsConcurrent(t *testing.T) {
	m := NewMetrics(MetricsConfig{MaxFunctions: 50})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				m.Record(hansom.Completion{Version: &hansom.Version{Project: project, Function: fmt.Sprint("f", i%60)}})
			}
		})
	}
	wg.Wait()
	total, series := 0, 0
	for l := range strings.Lines(scrape(t, m)) {
		var n int
		if _, after, ok := strings.Cut(l, `status="ok"} `); ok && strings.HasPrefix(l, "hansom_invocations_total") {
			fmt.Sscan(after, &n)
			total += n
			series++
		}
	}
	if total != 4000 || series > 51 {
		t.Errorf("%d invocations in %d series, want 4,000 in at most 51", total, series)
	}
}
