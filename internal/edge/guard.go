package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	bodyRate = 1 << 10 // bytes of a body that add a second of patience
	filePart = 1 << 20 // bytes of a file that count as one write
)

// pace is what clients have to keep, beside http.Server's ReadHeaderTimeout for heads.
type pace struct {
	body  time.Duration // of waiting for a body, and a second more for each KB of it
	left  time.Duration // for the rest of a body that the handler has left
	write time.Duration // for a client to take what one write gives it
}

func (p pace) usual() pace {
	if p == (pace{}) {
		return pace{20 * time.Second, 5 * time.Second, time.Minute}
	}
	return p
}

// patience is how long one may wait for the rest of a body.
func (p pace) patience(got int64, waited time.Duration) time.Duration {
	return max(0, p.body+time.Duration(got)*time.Second/bodyRate-waited)
}

// guard holds a client of net/http to its pace. A client that reads slowly, or is sent nothing for long, is not disturbed: deadlines
// stand only while there is something to wait for.
type guard struct {
	http.ResponseWriter
	control *http.ResponseController
	hsts    string
	pace    pace

	mu     sync.Mutex
	body   paced
	begun  bool // the answer has
	duplex bool // a body may go on beside the answer: that is a conversation, which may be slow
	fixed  bool // read deadlines are the handler's, or one has passed
	http1  bool
}

// paced is the body of a request.
type paced struct {
	io.ReadCloser // nil when there is none
	guard         *guard
	got           int64 // bytes
	waited        time.Duration
	over          bool // it has ended, well or not
}

func newGuard(w http.ResponseWriter, r *http.Request, hsts string, p pace) *guard {
	g := &guard{ResponseWriter: w, control: http.NewResponseController(w), hsts: hsts, pace: p, http1: r.ProtoMajor == 1, duplex: r.ProtoMajor > 1}
	g.endless() // the last request on the connection has left a deadline
	if r.Body != nil && r.Body != http.NoBody {
		g.body = paced{ReadCloser: r.Body, guard: g}
		r.Body = &g.body
	}
	return g
}

// Read implements io.Reader.
func (b *paced) Read(p []byte) (int, error) {
	g := b.guard
	start := time.Now()
	g.readDeadline(start.Add(g.pace.patience(b.got, b.waited)))
	n, err := b.ReadCloser.Read(p)
	b.got += int64(n)
	b.waited += time.Since(start)
	if errors.Is(err, os.ErrDeadlineExceeded) && g.fix() { // net/http does not wait for the rest either
		err = hansom.Errorf(hansom.Timeout, "read body", "the body came too slowly: at least %d bytes/s are needed", bodyRate)
	} else {
		g.readDeadline(time.Time{}) // over HTTP/2 it counts between reads too, and over HTTP/1.1 for the next request's first byte
	}
	if err != nil {
		g.mu.Lock()
		b.over = true
		g.mu.Unlock()
	}
	return n, err
}

// readDeadline is for the body's reader.
func (g *guard) readDeadline(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.fixed && !(g.begun && g.duplex) {
		_ = g.control.SetReadDeadline(t)
	}
}

// fix leaves the read deadline as it is. It reports false when the handler has set it.
func (g *guard) fix() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ours := !g.fixed
	g.fixed = true
	return ours
}

// SetReadDeadline is for http.ResponseController.
func (g *guard) SetReadDeadline(t time.Time) error {
	g.fix()
	return g.control.SetReadDeadline(t)
}

// EnableFullDuplex is for http.ResponseController.
func (g *guard) EnableFullDuplex() error {
	g.mu.Lock()
	g.duplex = true
	g.mu.Unlock()
	return g.control.EnableFullDuplex()
}

// begin notes that the answer begins.
func (g *guard) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.begun {
		return
	}
	if g.hsts != "" && g.Header()["Strict-Transport-Security"] == nil {
		g.Header()["Strict-Transport-Security"] = []string{g.hsts}
	}
	if g.duplex && g.body.ReadCloser != nil && !g.fixed {
		_ = g.control.SetReadDeadline(time.Time{})
	}
	g.begun = true
}

// WriteHeader implements http.ResponseWriter.
func (g *guard) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		g.begin()
	}
	g.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (g *guard) Write(p []byte) (int, error) {
	g.begin()
	defer g.patient()()
	return g.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (g *guard) FlushError() error {
	g.begin()
	defer g.patient()()
	return g.control.Flush()
}

// ReadFrom implements io.ReaderFrom: the kernel copies files.
func (g *guard) ReadFrom(src io.Reader) (n int64, err error) {
	to, ok := g.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{g}, src)
	}
	g.begin()
	left := int64(1<<63 - 1)
	limited, ok := src.(*io.LimitedReader)
	if ok {
		src, left = limited.R, limited.N
	}
	for left > 0 && err == nil {
		part := &io.LimitedReader{R: src, N: min(left, filePart)}
		want := part.N
		var m int64
		func() {
			defer g.patient()()
			m, err = to.ReadFrom(part)
		}()
		n, left = n+m, left-m
		if m < want {
			break
		}
	}
	if limited != nil {
		limited.N = left
	}
	return n, err
}

// patient gives a write its time; the function that it returns is for its end.
func (g *guard) patient() func() {
	now := time.Now()
	if g.left(now.Add(g.pace.left)) {
		now = now.Add(g.pace.left)
	}
	_ = g.control.SetWriteDeadline(now.Add(g.pace.write))
	return g.endless
}

// endless lets nothing be written for as long as that takes: over HTTP/2 a deadline resets the stream, whether something is written or not.
func (g *guard) endless() {
	_ = g.control.SetWriteDeadline(time.Time{})
	g.left(time.Time{})
}

// left is for what the handler has left of a body, which net/http reads over HTTP/1.1 before it writes the head of the answer. It reports
// whether there may be something.
func (g *guard) left(deadline time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.http1 || g.duplex || g.body.ReadCloser == nil || g.body.over || g.fixed {
		return false
	}
	_ = g.control.SetReadDeadline(deadline)
	return true
}

// end leaves the rest to net/http, which writes what is buffered.
func (g *guard) end() { g.patient() }

// Unwrap is for http.ResponseController.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }
