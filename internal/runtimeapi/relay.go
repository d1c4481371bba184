package runtimeapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Bounds of what one sandbox's telemetry may hold in the server's memory, in bytes and events.
const (
	maxHeld        = 4 << 20   // of all its subscribers
	maxEarly       = 256 << 10 // before anybody has subscribed
	maxEarlyEvents = 1000
)

// How often an event that the receiver refuses is sent, and how long between two attempts.
const (
	maxRefusals  = 5
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = time.Second
)

// relay gives events to subscribers. Nobody waits for them: what they do not take in time is dropped and counted.
type relay struct {
	link   *Link
	ctx    context.Context
	cancel context.CancelFunc
	open   atomic.Bool // events are wanted

	mu         sync.Mutex
	sealed     bool            // no more subscribers
	early      []sandbox.Event // what came before the first subscriber
	earlyBytes int
	subs       []*subscriber
	held       int
	change     chan struct{} // closed and replaced when a subscriber has nothing left to deliver
}

type subscriber struct {
	subscription
	name  string
	relay *relay
	wake  chan struct{}
	conn  net.Conn // of TCP
	http  *http.Client

	// The rest is guarded by relay.mu.
	queue   [][]byte
	queued  int       // bytes of queue
	due     time.Time // of what is in the queue
	hurry   bool      // do not wait until then
	busy    bool      // a batch is under way
	dropped struct{ records, bytes int }
}

func newRelay(l *Link) *relay {
	r := &relay{link: l, change: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.open.Store(true)
	return r
}

// seal ends subscribing. Without subscribers nothing is kept any more.
func (r *relay) seal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealed, r.early = true, nil
	r.open.Store(len(r.subs) > 0)
}

// subscribe answers fresh when name had no such subscription before.
func (r *relay) subscribe(name string, s subscription) (fresh bool, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.subs {
		switch {
		case other.name != name:
		case (other.form >= logs20200815) == (s.form >= logs20200815):
			return false, ""
		default:
			return false, "the extension is subscribed to the other one of the Telemetry and the Logs API already"
		}
	}
	sub := &subscriber{subscription: s, name: name, relay: r, wake: make(chan struct{}, 1)}
	r.subs = append(r.subs, sub)
	for i := range r.early {
		r.give(sub, &r.early[i], nil)
	}
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	if !r.link.closed {
		r.link.wg.Go(sub.run)
	}
	return true, ""
}

// publish gives e to all who want it.
func (r *relay) publish(e *sandbox.Event) {
	switch e.Type {
	case sandbox.EventReport:
		end := sandbox.Event{Time: e.Time, Type: eventEnd, RequestID: e.RequestID}
		r.publish(&end)
	case sandbox.EventRuntimeDone:
		if e.Status == "failure" {
			fault := sandbox.Event{Time: e.Time, Type: eventFault, RequestID: e.RequestID, Message: e.Message}
			r.publish(&fault)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if size := len(e.Message) + 256; !r.sealed && len(r.early) < maxEarlyEvents && r.earlyBytes+size <= maxEarly {
		r.early = append(r.early, *e)
		r.earlyBytes += size
	}
	var rendered [forms][]byte
	for _, sub := range r.subs {
		r.give(sub, e, &rendered)
	}
}

// give puts e into the subscriber's queue, unless it did not ask for such events. rendered spares rendering one form twice; it may
// be nil. r is locked.
func (r *relay) give(s *subscriber, e *sandbox.Event, rendered *[forms][]byte) {
	if e.Type != sandbox.EventLogsDropped && !slices.Contains(s.types, streams[stream(e.Type)]) {
		return
	}
	var p []byte
	if rendered != nil {
		p = rendered[s.form]
	}
	if p == nil {
		if p = render(e, s.form, &r.link.ext.cfg); p == nil {
			return
		}
		if rendered != nil {
			rendered[s.form] = p
		}
	}
	if len(s.queue) >= s.maxItems || s.queued+len(p) > 2*s.maxBytes || r.held+len(p) > maxHeld {
		s.drop(p)
		return
	}
	if len(s.queue) == 0 {
		s.due = time.Now().Add(s.timeout)
	}
	s.queue = append(s.queue, p)
	s.queued += len(p)
	r.held += len(p)
	if len(s.queue) == 1 || s.full() || e.Type == sandbox.EventReport {
		s.hurry = s.hurry || e.Type == sandbox.EventReport // the processes may be stopped soon
		s.signal()
	}
}

func (s *subscriber) full() bool { return len(s.queue) >= s.maxItems || s.queued >= s.maxBytes }

// drop counts an event that will not be delivered. relay is locked.
func (s *subscriber) drop(p []byte) {
	s.dropped.records++
	s.dropped.bytes += len(p)
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush waits until all that was published is delivered, or ctx ends.
func (r *relay) flush(ctx context.Context) {
	for {
		r.mu.Lock()
		idle := true
		for _, s := range r.subs {
			if s.busy || len(s.queue) > 0 {
				idle, s.hurry = false, true
				s.signal()
			}
		}
		change := r.change
		r.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-change:
		case <-r.link.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// run delivers until the link closes.
func (s *subscriber) run() {
	defer s.disconnect()
	for {
		batch := s.take()
		if batch == nil {
			return
		}
		s.deliver(batch)
		s.relay.mu.Lock()
		for _, p := range batch {
			s.relay.held -= len(p)
		}
		s.relay.mu.Unlock()
	}
}

// take waits for a batch; nil when the link closes.
func (s *subscriber) take() [][]byte {
	r := s.relay
	for {
		r.mu.Lock()
		s.busy = false
		wait := time.Until(s.due)
		if n := len(s.queue); n > 0 && (s.hurry || s.full() || wait <= 0) {
			batch := s.queue
			if d := &s.dropped; d.records > 0 {
				p := render(&sandbox.Event{Time: time.Now(), Type: sandbox.EventLogsDropped, DroppedRecords: d.records, DroppedBytes: d.bytes}, s.form, &r.link.ext.cfg)
				batch, d.records, d.bytes = append(batch, p), 0, 0
				r.held += len(p)
			}
			s.queue, s.queued, s.hurry, s.busy = nil, 0, false, true
			r.mu.Unlock()
			return batch
		} else if n == 0 {
			s.hurry = false
			wait = time.Hour
			close(r.change)
			r.change = make(chan struct{})
		}
		r.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-r.ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// deliver sends a batch until it has arrived, the receiver has refused it too often, or the link closes. There is no time limit:
// a receiver that is frozen takes the batch when it is thawed.
func (s *subscriber) deliver(batch [][]byte) {
	backoff := firstBackoff
	for refusals := 0; ; {
		refused, err := s.attempt(batch)
		if err == nil {
			return
		}
		if refused {
			if refusals++; refusals == maxRefusals {
				s.relay.mu.Lock()
				for _, p := range batch {
					s.drop(p)
				}
				s.relay.mu.Unlock()
				return
			}
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-s.relay.ctx.Done():
			timer.Stop()
			return
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

func (s *subscriber) attempt(batch [][]byte) (refused bool, err error) {
	if !s.tcp {
		return s.post(batch)
	}
	if s.conn == nil {
		if s.conn, err = s.dial(); err != nil {
			return false, err
		}
	}
	conn := s.conn
	stop := context.AfterFunc(s.relay.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = conn.Write(append(bytes.Join(batch, []byte{'\n'}), '\n')); err != nil {
		conn.Close()
		s.conn = nil
	}
	return true, err
}

func (s *subscriber) dial() (net.Conn, error) {
	return s.relay.link.ext.cfg.Dial(s.relay.ctx, s.port)
}

// post sends a batch as a JSON array.
func (s *subscriber) post(batch [][]byte) (refused bool, err error) {
	if s.http == nil {
		s.http = &http.Client{
			Transport: &http.Transport{
				DialContext:            func(context.Context, string, string) (net.Conn, error) { return s.dial() },
				MaxResponseHeaderBytes: 16 << 10, MaxIdleConns: 1, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	body := slices.Concat([]byte{'['}, bytes.Join(batch, []byte{','}), []byte{']'})
	req, err := http.NewRequestWithContext(s.relay.ctx, s.method, "http://sandbox.localdomain:"+strconv.Itoa(s.port)+s.path, bytes.NewReader(body))
	if err != nil {
		return true, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxSmallBody)
	if resp.StatusCode >= 400 {
		return true, fmt.Errorf("status %d", resp.StatusCode)
	}
	return false, nil
}

func (s *subscriber) disconnect() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}
