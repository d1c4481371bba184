package telemetry

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

// Request is one that has been answered: over HTTP at the edge, whether or not it reached a function, or through an API.
type Request struct {
	Time      time.Time `json:"time"` // of its end
	ID        string    `json:"requestId,omitempty"`
	Project   string    `json:"project,omitempty"`
	Function  string    `json:"function,omitempty"` // "" when it reached none
	Version   string    `json:"version,omitempty"`
	Source    string    `json:"source"` // what triggered it: "http", "url", "api", "async", "queue"; "edge" when it reached no function
	Method    string    `json:"method,omitempty"`
	Host      string    `json:"host,omitempty"`
	Path      string    `json:"path,omitempty"`
	Status    int       `json:"status,omitempty"` // of the HTTP response; 0 when it was no HTTP request
	Outcome   string    `json:"outcome"`          // "ok", "error", "timeout", "out of memory", "crash"; "refused" when nothing answered but the gateway, or a function was not called
	Reason    string    `json:"reason,omitempty"` // why it was refused
	Duration  float64   `json:"durationMs"`       // as the caller saw it
	Billed    int64     `json:"billedMs,omitempty"`
	Init      float64   `json:"initMs,omitempty"`
	Cold      bool      `json:"cold,omitempty"`
	Memory    int64     `json:"memoryMb,omitempty"` // peak of the instance
	MemoryMax int       `json:"memoryLimitMb,omitempty"`
}

// requestQueue is how many requests a follower may lag behind before it loses some.
const requestQueue = 1000

// Requests tells who follows them of the requests that are answered. Nothing is kept, and while nobody follows nothing is done.
type Requests struct {
	followed  atomic.Int32
	mu        sync.Mutex
	followers []requestFollower
	closed    chan struct{}
}

// NewRequests returns a Requests that nobody follows.
func NewRequests() *Requests { return &Requests{closed: make(chan struct{})} }

// Close ends those who follow. It is called once.
func (q *Requests) Close() { close(q.closed) }

type requestFollower struct {
	project string
	queue   chan Request
}

// Follow calls yield for each request of a project that ends from now on, and for those that belong to no project when it is the
// default one, until ctx ends, Close is called or yield returns false. One that is slow loses requests.
func (q *Requests) Follow(ctx context.Context, project string, yield func(Request) bool) {
	f := requestFollower{project, make(chan Request, requestQueue)}
	q.mu.Lock()
	q.followers = append(q.followers, f)
	q.mu.Unlock()
	q.followed.Add(1)
	defer func() {
		q.followed.Add(-1)
		q.mu.Lock()
		q.followers = slices.DeleteFunc(q.followers, func(o requestFollower) bool { return o.queue == f.queue })
		q.mu.Unlock()
	}()
	for {
		select {
		case r := <-f.queue:
			if !yield(r) {
				return
			}
		case <-ctx.Done():
			return
		case <-q.closed:
			return
		}
	}
}

func (q *Requests) tell(r *Request, start time.Time) {
	r.Time = time.Now()
	r.Duration = milliseconds(r.Time.Sub(start))
	project := r.Project
	if project == "" {
		project = hansom.DefaultProject
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.followers {
		if f.project == project {
			select {
			case f.queue <- *r:
			default:
			}
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type requestKey struct{}

// telling is a request that is to be told of when it has been answered.
type telling struct {
	Request
	again bool // it comes again, over net/http
}

// Handler passes requests on and tells of them.
func (q *Requests) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q.followed.Load() == 0 {
			next.ServeHTTP(w, r)
			return
		}
		told := &telling{Request: Request{Source: "edge", Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Outcome: "refused"}}
		start := time.Now()
		status := &statusWriter{ResponseWriter: w}
		returned := false
		defer func() {
			if told.again || !returned && status.code == 0 && hansom.FiberOf(r.Context()) != nil { // hansom.ErrHandOver
				return
			}
			told.Status = cmp.Or(status.code, http.StatusOK)
			if told.ID == "" && told.Status < 400 {
				told.Outcome = "ok" // what is no function has answered
			}
			q.tell(&told.Request, start)
		}()
		next.ServeHTTP(status, r.WithContext(context.WithValue(r.Context(), requestKey{}, told)))
		returned = true
	})
}

// statusWriter notes the status of a response.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Invoker passes invocations on and tells of them, unless they come from a request of Handler, which tells itself.
func (q *Requests) Invoker(next hansom.Invoker) hansom.Invoker { return requestInvoker{q, next} }

type requestInvoker struct {
	requests *Requests
	next     hansom.Invoker
}

// Invoke implements hansom.Invoker.
func (i requestInvoker) Invoke(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	if i.requests.followed.Load() == 0 {
		return i.next.Invoke(ctx, inv, sink)
	}
	told, fromEdge := ctx.Value(requestKey{}).(*telling)
	if !fromEdge {
		told = &telling{Request: Request{Outcome: "refused"}}
	}
	start := time.Now()
	result, err := i.next.Invoke(ctx, inv, sink)
	told.again = err == hansom.ErrHandOver
	told.ID, told.Project, told.Function, told.Source, told.Version = inv.ID, inv.Project, inv.Function, inv.Source, inv.Version
	if err != nil {
		told.Reason = err.Error()
	} else {
		c := &result.Completion
		told.Outcome, told.Billed, told.Cold = c.Status.String(), c.Billed.Milliseconds(), c.Cold
		told.Init, told.Memory = milliseconds(c.Init), (c.MemoryUsed+1<<20-1)>>20
		if c.Version != nil {
			told.MemoryMax = c.Version.Memory
		}
	}
	if !fromEdge {
		i.requests.tell(&told.Request, start)
	}
	return result, err
}
