package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

const (
	functionARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
	busARN      = "arn:aws:events:us-east-1:000000000000:event-bus/orders"
	endpointARN = "arn:aws:events:us-east-1:000000000000:api-destination/crm/0e1f"
	deadARN     = "arn:aws:sqs:us-east-1:000000000000:dead"
)

// targets are all that can be delivered to.
type targets struct {
	answer func(ctx context.Context, arn string) error

	mu   sync.Mutex
	from time.Time
	seen []string          // "seconds arn payload group dedup", each attempt
	last hansom.Delivery   // that was accepted
	runs map[string][2]int // by ARN: under way, most
}

func (g *targets) deliver(ctx context.Context, d hansom.Delivery) error {
	g.mu.Lock()
	g.seen = append(g.seen, strings.TrimSpace(fmt.Sprintf("%.0f %s %s %s %s", time.Since(g.from).Seconds(), d.ARN, d.Payload, d.Group, d.Dedup)))
	n := g.runs[d.ARN]
	g.runs[d.ARN] = [2]int{n[0] + 1, max(n[1], n[0]+1)}
	answer := g.answer
	g.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(ctx, d.ARN)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n = g.runs[d.ARN]
	g.runs[d.ARN] = [2]int{n[0] - 1, n[1]}
	if err == nil {
		g.last = d
		g.last.Payload = bytes.Clone(d.Payload)
	}
	return err
}

func (g *targets) Queue(string) (bool, time.Duration, error)            { return false, 0, nil }
func (g *targets) Send(ctx context.Context, d hansom.Delivery) error    { return g.deliver(ctx, d) }
func (g *targets) Forward(ctx context.Context, d hansom.Delivery) error { return g.deliver(ctx, d) }
func (g *targets) Accept(ctx context.Context, inv *hansom.Invocation) error {
	return g.deliver(ctx, hansom.Delivery{Project: inv.Project, ARN: inv.Function + ":" + inv.Qualifier, Payload: inv.Payload, Trace: inv.Trace})
}

func (g *targets) set(answer func(ctx context.Context, arn string) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

// at is how many deliveries to a target are under way, and the most that were.
func (g *targets) at(arn string) [2]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs[arn]
}

// taken are the attempts so far, and forgets them.
func (g *targets) taken() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.seen
	g.seen = nil
	return list
}

// newDispatcher returns a service without jitter that delivers to g.
func newDispatcher(g *targets, m *lanestest.Memory, log *bytes.Buffer) *Service {
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	cfg := DefaultConfig()
	cfg.Lane = 3
	g.runs = map[string][2]int{}
	s := newUnstored(cfg, Deps{Acceptor: g, Queues: g, Messages: m}, logger)
	s.jitter = func(d time.Duration) time.Duration { return d }
	s.SetBuses(g)
	s.SetEndpoints(g)
	return s
}

// dispatching runs f with a running service in a time of its own.
func dispatching(t *testing.T, f func(t *testing.T, g *targets, s *Service, m *lanestest.Memory, log *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g, m := &targets{from: time.Now()}, lanestest.NewMemory()
		s := newDispatcher(g, m, &log)
		defer runs(t, s)()
		f(t, g, s, m, &log)
	})
}

func runs(t *testing.T, s *Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func dispatch(lane, arn string) hansom.Dispatch {
	return hansom.Dispatch{Delivery: hansom.Delivery{Project: project, ARN: arn, Payload: []byte("{}"), Group: "g", Dedup: "d", Trace: "Root=1", Hops: 2,
		HTTP: &hansom.HTTPParameters{Path: []string{"x"}}, Event: &hansom.EventParameters{Source: "lambda"}},
		Lane: lane, Retries: 185, MaxAge: 24 * time.Hour}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func stored(s *Service) int {
	waiting, taken := s.Deliveries()
	return waiting + taken
}

var errDown = hansom.Errorf(hansom.Unavailable, "deliver", "the target is down")

func TestDeliver(t *testing.T) {
	g := &targets{from: time.Now()}
	s := newDispatcher(g, lanestest.NewMemory(), nil)
	for _, c := range []struct {
		arn  string
		kind hansom.Kind
		want string
	}{
		{functionARN, 0, "f: {}"},
		{functionARN + ":live", 0, "f:live {}"},
		{ordered, 0, ordered + " {} g d"},
		{busARN, 0, busARN + " {} g d"},
		{endpointARN, 0, endpointARN + " {} g d"},
		{"arn:aws:lambda:us-east-1:111111111111:function:f", hansom.Denied, ""},
		{"arn:aws:sqs:us-east-1:111111111111:jobs", hansom.Denied, ""},
		{"arn:aws:events:us-east-1:111111111111:event-bus/orders", hansom.Denied, ""},
		{"arn:aws:events:us-east-1:111111111111:api-destination/crm/0e1f", hansom.Denied, ""},
		{"arn:aws:sqs:eu-west-1:000000000000:jobs", hansom.NotFound, ""},
		{"arn:aws:lambda:us-east-1:000000000000:layer:l", hansom.Unsupported, ""},
		{"arn:aws:sns:us-east-1:000000000000:topic", hansom.Unsupported, ""},
		{"arn:aws:events:us-east-1:000000000000:rule/r", hansom.Unsupported, ""},
		{"arn:aws:events:us-east-1:000000000000:event-bus/", hansom.Unsupported, ""},
		{"jobs", hansom.Invalid, ""},
	} {
		err := s.Deliver(t.Context(), hansom.Delivery{Project: project, ARN: c.arn, Payload: []byte("{}"), Group: "g", Dedup: "d"})
		if got := g.taken(); c.want == "" {
			if err == nil || hansom.KindOf(err) != c.kind || len(got) > 0 {
				t.Errorf("%s: %v", c.arn, err)
			}
		} else if err != nil || !slices.Equal(got, []string{"0 " + c.want}) {
			t.Errorf("%s: %v %v", c.arn, got, err)
		}
	}
	s.SetBuses(nil)
	s.SetEndpoints(nil)
	for _, arn := range []string{busARN, endpointARN} {
		if err := s.Deliver(t.Context(), hansom.Delivery{Project: project, ARN: arn}); hansom.KindOf(err) != hansom.Unsupported {
			t.Errorf("%s: %v", arn, err)
		}
	}
}

// What goes well at once is not stored; what does not is, and comes again at growing intervals, as it was.
func TestDispatch(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, _ *lanestest.Memory, _ *bytes.Buffer) {
		must(t, s.Dispatch(t.Context(), dispatch("a", busARN)))
		if stored(s) != 0 {
			t.Error("a delivery that went well is stored")
		}
		same(t, g.taken(), "0 "+busARN+" {} g d")
		g.set(func(context.Context, string) error { return errDown })
		d := dispatch("a", busARN)
		must(t, s.Dispatch(t.Context(), d))
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		var at []string
		for _, line := range g.taken() {
			when, what, _ := strings.Cut(line, " ")
			if at = append(at, when); what != busARN+" {} g d" {
				t.Error(line)
			}
		}
		same(t, at, "0", "1", "3", "7", "15", "31", "63", "127", "255", "511", "1023", "1623", "2223")
		if stored(s) != 1 {
			t.Error(stored(s))
		}
		g.set(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(dispatch("", busARN).Delivery, g.last); diff != "" || stored(s) != 0 {
			t.Errorf("%s, %d stored", diff, stored(s))
		}
	})
}

// An API destination is never tried before the event is stored.
func TestDispatchToEndpoint(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, _ *lanestest.Memory, _ *bytes.Buffer) {
		release := make(chan struct{})
		g.set(func(context.Context, string) error { <-release; return nil })
		must(t, s.Dispatch(t.Context(), dispatch("a", endpointARN))) // returns at once
		synctest.Wait()
		if stored(s) != 1 || g.at(endpointARN)[0] != 1 {
			t.Error(stored(s), g.at(endpointARN))
		}
		close(release)
		synctest.Wait()
		if stored(s) != 0 {
			t.Error("it is kept")
		}
	})
}

// What is given up goes to the dead-letter queue in EventBridge's words, and without one to the log.
func TestGivenUp(t *testing.T) {
	about := map[string]hansom.Attribute{"RULE_ARN": {Type: "String", Value: "rule"}, "TARGET_ARN": {Type: "String", Value: "target"}}
	kinds := map[string]hansom.Kind{"NO_RESOURCE": hansom.NotFound, "NO_PERMISSIONS": hansom.Denied, "INVALID_PARAMETER": hansom.TooLarge,
		"THROTTLING": hansom.Throttled, "TIMEOUT": hansom.Timeout, "INTERNAL_ERROR": hansom.Unavailable}
	for name, c := range map[string]struct {
		code      string
		arn       string
		retries   int
		age       time.Duration
		after     time.Duration
		condition string
		attempts  int
	}{
		"gone":             {"NO_RESOURCE", functionARN, 185, time.Hour, 0, "", 1},
		"denied":           {"NO_PERMISSIONS", busARN, 185, time.Hour, 0, "", 1},
		"too large":        {"INVALID_PARAMETER", functionARN, 185, time.Hour, 0, "", 1},
		"no retries":       {"TIMEOUT", functionARN, 0, time.Hour, 0, exhausted, 1},
		"retries over":     {"THROTTLING", functionARN, 2, time.Hour, 3 * time.Second, exhausted, 3},
		"too old":          {"INTERNAL_ERROR", functionARN, 185, time.Minute, 31 * time.Second, aged, 6},
		"endpoint":         {"SDK_CLIENT_ERROR", endpointARN, 1, time.Minute, time.Second, exhausted, 2},
		"endpoint is gone": {"NO_RESOURCE", endpointARN, 1, time.Minute, 0, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			dispatching(t, func(t *testing.T, g *targets, s *Service, _ *lanestest.Memory, log *bytes.Buffer) {
				g.set(func(_ context.Context, arn string) error {
					if arn == deadARN {
						return nil
					}
					kind, ok := kinds[c.code]
					if !ok {
						kind = hansom.Unavailable
					}
					return hansom.Errorf(kind, "deliver", "it is so")
				})
				d := dispatch("a", c.arn)
				d.Retries, d.MaxAge, d.DeadLetter, d.About = c.retries, c.age, deadARN, about
				must(t, s.Dispatch(t.Context(), d))
				time.Sleep(c.after)
				synctest.Wait()
				if n := len(g.taken()); n != c.attempts+1 || stored(s) != 0 {
					t.Errorf("%d attempts, %d stored", n-1, stored(s))
				}
				want := map[string]hansom.Attribute{"ERROR_CODE": {Type: "String", Value: c.code}, "ERROR_MESSAGE": {Type: "String", Value: "it is so"},
					"RETRY_ATTEMPTS": {Type: "String", Value: fmt.Sprint(c.attempts - 1)}}
				if c.condition != "" {
					want["EXHAUSTED_RETRY_CONDITION"] = hansom.Attribute{Type: "String", Value: c.condition}
				}
				maps.Copy(want, about)
				if g.last.ARN != deadARN || string(g.last.Payload) != "{}" || g.last.Project != project || g.last.Trace != "Root=1" || !maps.Equal(g.last.Attributes, want) {
					t.Errorf("%+v", g.last)
				}
				g.last = hansom.Delivery{}
				d.DeadLetter = ""
				log.Reset()
				must(t, s.Dispatch(t.Context(), d))
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(g.taken()) != c.attempts || g.last.ARN != "" || stored(s) != 0 || !strings.Contains(log.String(), "could not be delivered") {
					t.Errorf("%+v, %d stored: %s", g.last, stored(s), log)
				}
			})
		})
	}
}

// A dead-letter queue that is down gets the event later, which is not delivered any more; one that is gone does not.
func TestDeadLetterQueueIsDown(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, m *lanestest.Memory, log *bytes.Buffer) {
		g.set(func(_ context.Context, arn string) error {
			if arn == deadARN {
				return errDown
			}
			return hansom.Errorf(hansom.NotFound, "deliver", "gone")
		})
		d := dispatch("a", busARN)
		d.DeadLetter = deadARN
		must(t, s.Dispatch(t.Context(), d))
		time.Sleep(8 * time.Second)
		same(t, g.taken(), "0 "+busARN+" {} g d", "0 "+deadARN+" {}", "1 "+deadARN+" {}", "3 "+deadARN+" {}", "7 "+deadARN+" {}")
		next := newDispatcher(g, m.Crashed(), log)
		g.set(nil)
		stop := runs(t, next)
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if stored(next) != 0 || g.last.ARN != deadARN || g.last.Attributes["ERROR_CODE"].Value != "NO_RESOURCE" || g.last.Attributes["RETRY_ATTEMPTS"].Value != "0" {
			t.Errorf("%d stored, %+v", stored(next), g.last)
		}
		stop()
		g.set(func(context.Context, string) error { return hansom.Errorf(hansom.NotFound, "deliver", "gone") })
		must(t, s.Dispatch(t.Context(), d))
		if !strings.Contains(log.String(), "a dead letter was dropped") {
			t.Error(log)
		}
	})
}

// A target that says when to come again is not asked sooner.
func TestRetryAfter(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, _ *lanestest.Memory, _ *bytes.Buffer) {
		g.set(func(context.Context, string) error {
			err := hansom.Errorf(hansom.Throttled, "send", "slow down")
			err.After = time.Minute
			return errors.Join(errors.New("no"), err)
		})
		must(t, s.Dispatch(t.Context(), dispatch("a", endpointARN)))
		time.Sleep(150 * time.Second)
		same(t, g.taken(), "0 "+endpointARN+" {} g d", "60 "+endpointARN+" {} g d", "120 "+endpointARN+" {} g d")
	})
}

// A slow target has no more deliveries at a time than it may, and holds up no other.
func TestSlowTarget(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, _ *lanestest.Memory, _ *bytes.Buffer) {
		g.set(func(_ context.Context, arn string) error {
			if arn == endpointARN {
				time.Sleep(5 * time.Second)
			}
			return nil
		})
		quick := endpointARN + "2"
		for range 9 {
			must(t, s.Dispatch(t.Context(), dispatch("slow", endpointARN)))
		}
		for range 100 {
			must(t, s.Dispatch(t.Context(), dispatch("quick", quick)))
		}
		synctest.Wait()
		if n := stored(s); n != 9 || g.at(endpointARN) != [2]int{3, 3} {
			t.Errorf("%d stored, %v", n, g.at(endpointARN))
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := stored(s); n != 0 || g.at(endpointARN) != [2]int{0, 3} {
			t.Errorf("%d stored, %v", n, g.at(endpointARN))
		}
	})
}

// Whatever was stored is delivered after a crash, at once if it was under way, and that attempt does not count. An end of the server
// that cuts an attempt off does not count either.
func TestDispatchSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, m := &targets{from: time.Now()}, lanestest.NewMemory()
		s := newDispatcher(g, m, nil)
		stop := runs(t, s)
		g.set(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		d := dispatch("a", endpointARN)
		d.Retries = 0
		must(t, s.Dispatch(t.Context(), d))
		synctest.Wait()
		crashed := m.Crashed()
		stop()
		for _, left := range []*lanestest.Memory{crashed, m} {
			g.taken()
			g.set(nil)
			next := newDispatcher(g, left, nil)
			if n := stored(next); n != 1 {
				t.Errorf("%d stored", n)
			}
			stop := runs(t, next)
			synctest.Wait()
			if len(g.taken()) != 1 || stored(next) != 0 || g.last.ARN != endpointARN {
				t.Errorf("%d stored, %+v", stored(next), g.last)
			}
			stop()
		}
		g.taken()
		m.Full = hansom.Errorf(hansom.Unavailable, "look at the disk", "the disk is nearly full")
		if err := s.Dispatch(t.Context(), d); err == nil || err.Error() != "the disk is nearly full" {
			t.Error(err)
		}
		m.Full = nil
		d.MaxAge = time.Minute // it was down for longer
		d.DeadLetter = deadARN
		must(t, s.Dispatch(t.Context(), d))
		time.Sleep(time.Hour)
		next := newDispatcher(g, m, nil)
		defer runs(t, next)()
		synctest.Wait()
		if a := g.last.Attributes; len(g.taken()) != 1 || a["EXHAUSTED_RETRY_CONDITION"].Value != aged || a["RETRY_ATTEMPTS"].Value != "0" {
			t.Errorf("%+v", g.last)
		}
	})
}

// Dispatches of one lane and id within five minutes are the same, whether they went well at once or were stored, and before and after
// they have ended.
func TestDispatchOnce(t *testing.T) {
	dispatching(t, func(t *testing.T, g *targets, s *Service, m *lanestest.Memory, _ *bytes.Buffer) {
		for _, arn := range []string{functionARN, endpointARN} {
			d := dispatch("lane "+arn, arn)
			d.ID = "id"
			send := func(to *Service, want int) {
				t.Helper()
				must(t, to.Dispatch(t.Context(), d))
				synctest.Wait()
				if n := len(g.taken()); n != want {
					t.Errorf("%s: %d deliveries, want %d", arn, n, want)
				}
			}
			send(s, 1)
			send(s, 0)
			time.Sleep(4 * time.Minute)
			send(s, 0)
			if arn == endpointARN {
				send(newDispatcher(g, m.Crashed(), nil), 0)
			}
			d.Lane += "2"
			send(s, 1)
			d.ID = "id2"
			send(s, 1)
			d.ID = ""
			send(s, 1)
			send(s, 1)
			d.ID, d.Lane = "id", "lane "+arn
			time.Sleep(time.Minute + time.Second)
			send(s, 1)
		}
		for n := range 2*maxRecent + 1 {
			s.recent.add(time.Now(), "q", fmt.Sprint(n))
		}
		if s.recent.has(time.Now(), "q", "0") || !s.recent.has(time.Now(), "q", fmt.Sprint(maxRecent)) || len(s.recent.young)+len(s.recent.old) > 2*maxRecent {
			t.Error("what is remembered has no bound")
		}
	})
}

func TestLaneNames(t *testing.T) {
	long := strings.Repeat("x", 193)
	if a, b := laneOf(long[:192]), laneOf(long); a != "deliver/"+long[:192] || len(b) > 200 || !strings.HasPrefix(b, "deliver/") || b == laneOf(long+"y") || b != laneOf(long) {
		t.Error(a, b)
	}
}

func TestJitter(t *testing.T) {
	for range 1000 {
		if d := jitter(10); d < 5 || d > 10 {
			t.Fatal(d)
		}
	}
	jitter(0)
}
