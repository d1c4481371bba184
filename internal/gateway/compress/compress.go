// Package compress answers in the coding that a client accepts: zstd, br or gzip.
package compress

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/hansomcloud/hansom"
)

const (
	least       = 1 << 10   // bytes of a body from which it is compressed
	longTask    = 8 << 10   // bytes that take so long that other requests of an event loop should not wait
	maxEncoders = 512       // at work at a time: answers beyond go out as they are, so that memory stays bounded
	window      = 256 << 10 // bytes that zstd looks back
)

// Handler compresses the answers of next, also those that it streams: what it flushes goes out. It leaves alone
//
//   - requests without Accept-Encoding, at no cost, and HEAD;
//   - bodies under 1 KB, and types that do not become smaller;
//   - event streams;
//   - answers with Content-Encoding, with Cache-Control: no-transform, with a digest of the body, and parts of one (206, Content-Range).
//
// A compressed answer varies by Accept-Encoding; its entity tag is made weak, and it accepts no ranges.
func Handler(next http.Handler) http.Handler {
	h := &handler{next: next}
	h.writers.New = func() any { return &writer{handler: h} }
	return h
}

type handler struct {
	next     http.Handler
	writers  sync.Pool
	encoders [identity]sync.Pool
	working  atomic.Int32 // encoders
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	accept := r.Header["Accept-Encoding"]
	if accept == nil || r.Method == http.MethodHead {
		h.next.ServeHTTP(w, r)
		return
	}
	cw := h.writers.Get().(*writer)
	cw.ResponseWriter, cw.fiber, cw.coding = w, hansom.FiberOf(r.Context()), negotiate(accept)
	whole := false
	defer func() {
		cw.release(whole)
		h.writers.Put(cw)
	}()
	h.next.ServeHTTP(cw, r)
	whole = true // it has not panicked: what it wrote is all there is
}

// encoder is what the encoders have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// coder is an encoder whose small writes are gathered.
type coder struct {
	encoder
	out *bufio.Writer
}

func newEncoder(c coding) encoder {
	switch c {
	case zstdCoding:
		// Its errors are those of bad options. One goroutine, that of the caller; memory as the window asks for.
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
		return e
	case brotliCoding:
		return brotli.NewWriterLevel(nil, 3)
	}
	e, _ := gzip.NewWriterLevel(nil, 4) // a level that there is
	return e
}

// encoder takes a coder out of the pool; nil when too many are at work.
func (h *handler) encoder(c coding, w io.Writer) *coder {
	if h.working.Add(1) > maxEncoders {
		h.working.Add(-1)
		return nil
	}
	e, _ := h.encoders[c].Get().(*coder)
	if e == nil {
		e = &coder{newEncoder(c), bufio.NewWriterSize(nil, 4<<10)}
	}
	e.out.Reset(w)
	e.Reset(e.out)
	return e
}

func (h *handler) putEncoder(c coding, e *coder) {
	h.working.Add(-1)
	e.out.Reset(nil)
	e.Reset(nil)
	h.encoders[c].Put(e)
}

// What a writer does with a body.
const (
	undecided = iota
	plain
	coded
)

// writer is the http.ResponseWriter of one request.
type writer struct {
	http.ResponseWriter
	handler *handler
	fiber   hansom.Fiber
	coding  coding
	state   int
	status  int    // 0 before WriteHeader
	held    []byte // of a body that may be too short
	coder   *coder // of a coded one
	begun   bool   // the coder has got something
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status = status
	h := w.Header()
	length, known := -1, h["Content-Length"]
	if len(known) > 0 {
		if n, err := strconv.Atoi(known[0]); err == nil {
			length = n
		}
	}
	switch {
	case !eligible(status, h) || length >= 0 && length < least:
		w.pass()
	case length >= 0:
		w.encode(length)
	}
}

// eligible says whether an answer may be compressed, whatever its size.
func eligible(status int, h http.Header) bool {
	switch {
	case status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || status == http.StatusPartialContent:
		return false
	case len(h["Content-Type"]) == 0 || !compressible(h["Content-Type"][0]):
		return false
	}
	for _, name := range [...]string{"Content-Encoding", "Content-Range", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"} {
		if h[name] != nil {
			return false
		}
	}
	for _, v := range h["Cache-Control"] {
		if strings.Contains(strings.ToLower(v), "no-transform") {
			return false
		}
	}
	return true
}

// pass lets the answer go out as it is.
func (w *writer) pass() {
	w.state = plain
	w.ResponseWriter.WriteHeader(w.status)
}

// encode compresses the answer, of which size bytes are known of.
func (w *writer) encode(size int) {
	h := w.Header()
	vary(h)
	if w.coding != identity {
		if size > longTask {
			w.detach()
		}
		w.coder = w.handler.encoder(w.coding, w.ResponseWriter)
	}
	if w.coder == nil {
		w.pass()
		return
	}
	w.state = coded
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges")
	h["Content-Encoding"] = codingNames[w.coding]
	if tag := h["Etag"]; len(tag) == 1 && strings.HasPrefix(tag[0], `"`) {
		h["Etag"] = []string{"W/" + tag[0]}
	}
	w.ResponseWriter.WriteHeader(w.status)
}

var varyEncoding = []string{"Accept-Encoding"}

func vary(h http.Header) {
	values := h["Vary"]
	if values == nil {
		h["Vary"] = varyEncoding[:1:1]
		return
	}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.Trim(name, " \t"); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	h["Vary"] = append(values[:len(values):len(values)], "Accept-Encoding")
}

func (w *writer) detach() {
	if w.fiber != nil {
		w.fiber.Detach()
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == undecided {
		if len(w.held)+len(p) < least {
			w.held = append(w.held, p...)
			return len(p), nil
		}
		w.encode(len(p))
		if err := w.letGo(); err != nil {
			return 0, err
		}
	}
	if w.state == plain {
		return w.ResponseWriter.Write(p)
	}
	if len(p) > longTask {
		w.detach()
	}
	w.begun = w.begun || len(p) > 0
	return w.coder.Write(p)
}

// letGo writes what was held back.
func (w *writer) letGo() error {
	if len(w.held) == 0 {
		return nil
	}
	held := w.held
	w.held = held[:0]
	var err error
	if w.state == coded {
		w.begun = true
		_, err = w.coder.Write(held)
	} else {
		_, err = w.ResponseWriter.Write(held)
	}
	return err
}

// ReadFrom implements io.ReaderFrom: what is not compressed may be a file that the kernel copies.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if to, ok := w.ResponseWriter.(io.ReaderFrom); ok && w.state == plain {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{w}, src)
}

// FlushError is for http.ResponseController.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == undecided { // a stream, however little there is of it yet
		w.encode(len(w.held))
		if err := w.letGo(); err != nil {
			return err
		}
	}
	if w.state == coded && w.begun {
		if err := w.coder.Flush(); err != nil {
			return err
		}
		if err := w.coder.out.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// release completes the answer, unless it broke off, and gives back what it used.
func (w *writer) release(whole bool) {
	switch {
	case !whole:
	case w.state == coded:
		if w.coder.Close() == nil {
			_ = w.coder.out.Flush() // a client that has gone is nothing to tell anyone
		}
	case w.state == undecided && w.status != 0:
		w.pass()
		_ = w.letGo()
	}
	if w.coder != nil {
		w.handler.putEncoder(w.coding, w.coder)
	}
	*w = writer{handler: w.handler, held: w.held[:0]}
}
