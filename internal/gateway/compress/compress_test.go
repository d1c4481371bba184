package compress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode is a reader of a coded body.
func decode(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "":
		return r
	case "br":
		return brotli.NewReader(r)
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return z
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(z.Close)
		return z
	}
	t.Fatal(coding)
	return nil
}

func ask(accept string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if accept != "" {
		r.Header.Set("Accept-Encoding", accept)
	}
	return r
}

// testdata/accept.txt: an Accept-Encoding header, and the coding that is chosen.
func TestNegotiate(t *testing.T) {
	data, err := os.ReadFile("testdata/accept.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		accept, want, ok := strings.Cut(line, " -> ")
		if !ok {
			t.Fatal(line)
		}
		got := "identity"
		if c := negotiate(strings.Split(accept, " | ")); c != identity {
			got = codingNames[c][0]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", accept, got, want)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"gzip", "gzip;q=0.5, br;q=1.0", "*;q=0", "identity", "gzip;q=", ";;;,,,", "zstd;q=0.001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := negotiate([]string{s})
		if c != identity && !strings.Contains(s, "*") && !strings.Contains(strings.ToLower(s), codingNames[c][0]) {
			t.Errorf("%q: %s was not asked for", s, codingNames[c][0])
		}
	})
}

var (
	long  = strings.Repeat("all work and no play makes Jack a dull boy. ", 100)
	short = long[:least-1]
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, accept, method string
		status               int
		header               []string
		body                 string
		coding               string   // of the answer
		want                 []string // headers of it; "" for none
	}{
		{"json", "gzip", "GET", 200, []string{"Content-Type", "application/json"}, long, "gzip", []string{"Vary", "Accept-Encoding", "Content-Length", ""}},
		{"best", "gzip, deflate, br, zstd", "GET", 200, []string{"Content-Type", "text/html; charset=utf-8"}, long, "zstd", nil},
		{"brotli", "gzip, br", "POST", 404, []string{"Content-Type", "text/plain"}, long, "br", nil},
		{"declared length", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Content-Length", strconv.Itoa(len(long))}, long, "gzip", []string{"Content-Length", ""}},
		{"short", "gzip", "GET", 200, []string{"Content-Type", "text/plain"}, short, "", []string{"Vary", ""}},
		{"short and declared", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Content-Length", strconv.Itoa(len(short))}, short, "", []string{"Content-Length", strconv.Itoa(len(short))}},
		{"empty", "gzip", "GET", 200, []string{"Content-Type", "text/plain"}, "", "", []string{"Vary", ""}},
		{"not asked for", "", "GET", 200, []string{"Content-Type", "text/plain"}, long, "", []string{"Vary", ""}},
		{"not acceptable", "deflate, gzip;q=0", "GET", 200, []string{"Content-Type", "text/plain"}, long, "", []string{"Vary", "Accept-Encoding"}},
		{"image", "gzip", "GET", 200, []string{"Content-Type", "image/png"}, long, "", []string{"Vary", ""}},
		{"drawing", "gzip", "GET", 200, []string{"Content-Type", "image/svg+xml"}, long, "gzip", nil},
		{"no type", "gzip", "GET", 200, []string{"Content-Type", ""}, long, "", nil},
		{"events", "gzip", "GET", 200, []string{"Content-Type", "text/event-stream"}, long, "", []string{"Vary", ""}},
		{"coded already", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Content-Encoding", "x"}, long, "x", nil},
		{"no transform", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Cache-Control", "public, No-Transform"}, long, "", nil},
		{"part", "gzip", "GET", 206, []string{"Content-Type", "text/plain", "Content-Range", "bytes 0-9/10"}, long, "", nil},
		{"digest", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Content-Digest", "sha-256=:x:"}, long, "", nil},
		{"no content", "gzip", "GET", 204, []string{"Content-Type", "text/plain"}, "", "", []string{"Vary", ""}},
		{"not modified", "gzip", "GET", 304, []string{"Content-Type", "text/plain", "Etag", `"x"`}, "", "", []string{"Etag", `"x"`}},
		{"head", "gzip", "HEAD", 200, []string{"Content-Type", "text/plain", "Content-Length", "5000"}, "", "", []string{"Content-Length", "5000"}},
		{"strong tag", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Etag", `"x"`, "Accept-Ranges", "bytes"}, long, "gzip", []string{"Etag", `W/"x"`, "Accept-Ranges", ""}},
		{"weak tag", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Etag", `W/"x"`}, long, "gzip", []string{"Etag", `W/"x"`}},
		{"tag of a plain answer", "gzip", "GET", 200, []string{"Content-Type", "image/png", "Etag", `"x"`}, long, "", []string{"Etag", `"x"`}},
		{"varies", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Vary", "Origin"}, long, "gzip", []string{"Vary", "Origin|Accept-Encoding"}},
		{"varies by it", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Vary", "Origin, accept-encoding"}, long, "gzip", []string{"Vary", "Origin, accept-encoding"}},
		{"varies by all", "gzip", "GET", 200, []string{"Content-Type", "text/plain", "Vary", "*"}, long, "gzip", []string{"Vary", "*"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, parts := range []int{1, 7, 1000} {
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for i := 0; i < len(c.header); i += 2 {
						if c.header[i+1] != "" {
							w.Header().Set(c.header[i], c.header[i+1])
						} else {
							w.Header()[c.header[i]] = nil
						}
					}
					w.WriteHeader(c.status)
					for rest := c.body; rest != ""; {
						n := min(len(rest), len(c.body)/parts+1)
						if m, err := io.WriteString(w, rest[:n]); m != n || err != nil {
							t.Error(m, err)
						}
						rest = rest[n:]
					}
				}))
				r := ask(c.accept)
				r.Method = c.method
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				res := w.Result()
				coding := res.Header.Get("Content-Encoding")
				if res.StatusCode != c.status || coding != c.coding {
					t.Fatalf("%d %v", res.StatusCode, res.Header)
				}
				if coding == "x" {
					coding = ""
				}
				if body, err := io.ReadAll(decode(t, coding, res.Body)); err != nil || string(body) != c.body {
					t.Errorf("%d bytes, %v; want %d", len(body), err, len(c.body))
				}
				for i := 0; i < len(c.want); i += 2 {
					if got := strings.Join(res.Header[c.want[i]], "|"); got != c.want[i+1] {
						t.Errorf("%s: %q, want %q", c.want[i], got, c.want[i+1])
					}
				}
			}
		})
	}
}

// What is flushed reaches the client before the rest is written.
func TestStreams(t *testing.T) {
	for _, coding := range []string{"zstd", "br", "gzip", ""} {
		t.Run(coding, func(t *testing.T) {
			next := make(chan struct{})
			s := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/x-ndjson")
				if coding == "" {
					w.Header().Set("Content-Type", "text/event-stream")
				}
				control := http.NewResponseController(w)
				w.WriteHeader(http.StatusOK)
				if err := control.Flush(); err != nil { // the head alone
					t.Error(err)
				}
				<-next
				for i := range 3 {
					fmt.Fprintf(w, "line %d\n", i)
					if err := control.Flush(); err != nil {
						t.Error(err)
					}
					<-next
				}
			})))
			defer s.Close()
			tr := &http.Transport{DisableCompression: true}
			defer tr.CloseIdleConnections()
			r, _ := http.NewRequest("GET", s.URL, nil)
			r.Header.Set("Accept-Encoding", "gzip")
			if coding != "" {
				r.Header.Set("Accept-Encoding", coding)
			}
			res, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := res.Header.Get("Content-Encoding"); got != coding {
				t.Fatalf("coded in %q", got)
			}
			next <- struct{}{} // the head has come
			lines := bufio.NewReader(decode(t, coding, res.Body))
			for i := range 3 {
				if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("line %d\n", i) {
					t.Fatalf("%q, %v", line, err)
				}
				next <- struct{}{}
			}
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

// An answer that breaks off does not look whole.
func TestBrokenAnswers(t *testing.T) {
	for _, coding := range []string{"zstd", "br", "gzip"} {
		s := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, long)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})))
		tr := &http.Transport{DisableCompression: true}
		r, _ := http.NewRequest("GET", s.URL, nil)
		r.Header.Set("Accept-Encoding", coding)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: the body ended well", coding)
		}
		res.Body.Close()
		tr.CloseIdleConnections()
		s.Close()
	}
}

// Writers and encoders are used again, also by requests at the same time.
func TestManyAnswers(t *testing.T) {
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, long+r.URL.RawQuery)
	}))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				coding := codingNames[(g+i)%3][0]
				r := ask(coding)
				r.URL.RawQuery = fmt.Sprint(g, i)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if body, err := io.ReadAll(decode(t, coding, w.Body)); err != nil || string(body) != long+fmt.Sprint(g, i) {
					t.Errorf("%s: %d bytes, %v", coding, len(body), err)
				}
			}
		})
	}
	wg.Wait()
	if n := h.(*handler).working.Load(); n != 0 {
		t.Errorf("%d encoders are at work", n)
	}
}

// More answers at a time than there may be encoders go out as they are.
func TestEncodersAreBounded(t *testing.T) {
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, long)
	})).(*handler)
	h.working.Store(maxEncoders)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, ask("gzip"))
	if w.Header().Get("Content-Encoding") != "" || w.Body.String() != long || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("%v, %d bytes", w.Header(), w.Body.Len())
	}
	if h.working.Load() != maxEncoders {
		t.Error("it was not counted right")
	}
}

// Long bodies do not hold up an event loop; short ones stay on it.
func TestLongBodiesDetach(t *testing.T) {
	for size, want := range map[int]bool{0: false, least: false, longTask: false, longTask + 1: true, 1 << 20: true} {
		f := &fiber{}
		r := ask("gzip").WithContext(hansom.WithFiber(context.Background(), f))
		Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(make([]byte, size))
		})).ServeHTTP(httptest.NewRecorder(), r)
		if f.detached != want {
			t.Errorf("%d bytes: detached %v", size, f.detached)
		}
	}
}

type fiber struct{ detached bool }

func (f *fiber) Detach() { f.detached = true }

// A client that has gone is the handler's to see.
func TestWriteErrors(t *testing.T) {
	gone := errors.New("gone")
	for _, coding := range []string{"zstd", "br", "gzip", "x"} {
		var err error
		Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for i := 0; i < 1000 && err == nil; i++ {
				_, err = io.WriteString(w, long)
				if err == nil {
					err = http.NewResponseController(w).Flush()
				}
			}
		})).ServeHTTP(&brokenWriter{httptest.NewRecorder(), gone}, ask(coding))
		if !errors.Is(err, gone) {
			t.Errorf("%s: %v", coding, err)
		}
	}
}

type brokenWriter struct {
	*httptest.ResponseRecorder
	err error
}

func (w *brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// Informational answers and files pass.
func TestPassThrough(t *testing.T) {
	var got readFrom
	Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "video/mp4")
		w.WriteHeader(http.StatusOK)
		if n, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(long)}); n != int64(len(long)) || err != nil {
			t.Error(n, err)
		}
	})).ServeHTTP(&got, ask("gzip"))
	if fmt.Sprint(got.statuses) != "[103 200]" || got.body.String() != long || !got.from {
		t.Errorf("%v, %d bytes, read from %v", got.statuses, got.body.Len(), got.from)
	}
}

// readFrom is a writer that can copy.
type readFrom struct {
	statuses []int
	header   http.Header
	body     bytes.Buffer
	from     bool
}

func (w *readFrom) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *readFrom) WriteHeader(status int)      { w.statuses = append(w.statuses, status) }
func (w *readFrom) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *readFrom) ReadFrom(r io.Reader) (int64, error) {
	w.from = true
	return w.body.ReadFrom(r)
}

// nothing is a ResponseWriter that allocates nothing.
type nothing struct{ header http.Header }

func (w *nothing) Header() http.Header         { return w.header }
func (w *nothing) WriteHeader(int)             {}
func (w *nothing) Write(p []byte) (int, error) { return len(p), nil }

var jsonType = []string{"application/json"}

// Clients that accept nothing cost nothing, and small answers nothing to speak of.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		accept string
		size   int
		most   float64
	}{{"", 10000, 0}, {"gzip", 500, 0}, {"gzip, br, zstd", 500, 0}, {"br", 5000, 1}, {"zstd", 5000, 1}, {"gzip", 5000, 1}} {
		body, w, r := bytes.Repeat([]byte("x"), c.size), &nothing{http.Header{}}, ask(c.accept)
		length := []string{strconv.Itoa(c.size)}
		h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			clear(w.Header())
			w.Header()["Content-Type"], w.Header()["Content-Length"] = jsonType, length
			_, _ = w.Write(body)
		}))
		h.ServeHTTP(w, r)
		if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > c.most && !raceEnabled {
			t.Errorf("%q, %d bytes: %.0f allocations, want at most %.0f", c.accept, c.size, n, c.most)
		}
	}
}

func BenchmarkAnswers(b *testing.B) {
	text, err := os.ReadFile("compress_test.go")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{500, 4 << 10, len(text), 256 << 10} {
		body := bytes.Repeat(text, size/len(text)+1)[:size]
		length := []string{strconv.Itoa(size)}
		for _, accept := range []string{"", "zstd", "br", "gzip"} {
			b.Run(fmt.Sprintf("%d/%s", size, accept), func(b *testing.B) {
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					clear(w.Header())
					w.Header()["Content-Type"], w.Header()["Content-Length"] = jsonType, length
					_, _ = w.Write(body)
				}))
				out := &counted{nothing: nothing{http.Header{}}}
				r := ask(accept)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(out, r)
				}
				b.ReportMetric(float64(out.n)/float64(b.N)/float64(size), "ratio")
			})
		}
	}
}

type counted struct {
	nothing
	n int64
}

func (w *counted) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}
