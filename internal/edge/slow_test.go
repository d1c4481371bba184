package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

// hasty is a pace that tests can wait for.
var hasty = pace{body: 30 * time.Millisecond, left: 30 * time.Millisecond, write: 30 * time.Millisecond}

// startHasty serves h behind a Front, on a loop.
func startHasty(t *testing.T, h http.HandlerFunc) (addr string) {
	_, addr = startPaced(t, (&Front{Next: h, pace: hasty}).ServeHTTP, nil, hasty)
	return addr
}

func dial(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// A body that does not come is not waited for, whoever reads it.
func TestSlowBodies(t *testing.T) {
	addr := startHasty(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		if hansom.KindOf(err) != hansom.Timeout {
			t.Errorf("reading ended with %v", err)
		}
		w.WriteHeader(http.StatusRequestTimeout)
	})
	for name, head := range map[string]string{
		"loop": "Content-Length: 10\r\n", "net/http": "Content-Length: 100000\r\n", "chunked": "Transfer-Encoding: chunked\r\n", "expecting": "Expect: 100-continue\r\nContent-Length: 10\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr, "POST / HTTP/1.1\r\nHost: h\r\n"+head+"\r\n1")
			got, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(got), "HTTP/1.1 408 ") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// One byte at a time, each in time, is too slow as well.
func TestTricklingBodies(t *testing.T) {
	addr := startHasty(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); hansom.KindOf(err) == hansom.Timeout {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	for name, length := range map[string]int{"loop": 60000, "net/http": 100000} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", length))
			answered := make(chan string)
			go func() {
				b, _ := io.ReadAll(c)
				answered <- string(b)
			}()
			for sent := 0; ; sent++ {
				select {
				case got := <-answered:
					if sent == 0 || !strings.Contains(got, " 408 ") {
						t.Errorf("got %q after %d bytes", got, sent)
					}
					return
				case <-time.After(hasty.body / 10):
					_, _ = c.Write([]byte("x")) // it may have been closed
				}
				if sent == length {
					t.Fatal("all of it was taken")
				}
			}
		})
	}
}

// A body that comes as it should is taken, however long that takes in all.
func TestSteadyBodies(t *testing.T) {
	addr := startHasty(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	const parts, size = 40, 8 << 10
	c := dial(t, addr, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", parts*size))
	for range parts {
		time.Sleep(hasty.body / 10) // it is slow, which is the point
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != fmt.Sprint(parts*size, " <nil>") {
		t.Errorf("got %q", body)
	}
}

// Once the answer has begun, both sides may talk as slowly as they like.
func TestConversationsMayBeSlow(t *testing.T) {
	addr := startHasty(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_, _ = io.WriteString(w, "hello ")
		_ = control.Flush()
		b := make([]byte, 10)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = control.Flush()
			if err != nil {
				return
			}
		}
	})
	c := dial(t, addr, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	for _, word := range []string{"hello ", "a", "b", "c"} {
		if word != "hello " {
			time.Sleep(2 * hasty.body) // longer than a body is waited for, which is the point
			if _, err := io.WriteString(c, "1\r\n"+word+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := io.ReadFull(res.Body, b[:len(word)]); err != nil || string(b[:n]) != word {
			t.Fatalf("%q, %v; want %q", b[:n], err, word)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// A body that the handler leaves is not waited for either.
func TestBodiesThatAreLeft(t *testing.T) {
	addr := startHasty(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	c := dial(t, addr, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n1")
	if got, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(got), " 404 ") {
		t.Errorf("got %q, %v", got, err)
	}
}

// The connection goes on to requests that come later than any deadline of one before.
func TestDeadlinesEndWithTheirRequest(t *testing.T) {
	addr := startHasty(t, echo)
	c := dial(t, addr, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("x", 70000))
	r := bufio.NewReader(c)
	for i := 1; i <= 3; i++ {
		if i > 1 {
			time.Sleep(2 * hasty.write) // longer than the deadlines, which is the point
			if _, err := fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", i); err != nil {
				t.Fatal(err)
			}
		}
		res, err := http.ReadResponse(r, nil)
		if err == nil && res.StatusCode == http.StatusContinue {
			res, err = http.ReadResponse(r, nil)
		}
		if err != nil {
			t.Fatal(i, err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), fmt.Sprintf("POST /%d h x", i)) {
			t.Fatalf("%d: %.20q, %v", i, body, err)
		}
	}
}

// A client that takes nothing of a large answer does not hold the handler.
func TestClientsThatDoNotRead(t *testing.T) {
	ended := make(chan error, 1)
	large := t.TempDir() + "/large"
	if f, err := os.Create(large); err != nil || f.Truncate(1<<40) != nil || f.Close() != nil { // of holes
		t.Skip("no large files here: ", err)
	}
	addr := startHasty(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file" {
			w.Header().Set("Content-Length", fmt.Sprint(1<<40))
			f, err := os.Open(large)
			if err == nil {
				_, err = io.Copy(w, f)
				f.Close()
			}
			ended <- err
			return
		}
		part := bytes.Repeat([]byte("x"), 1<<20)
		for {
			if _, err := w.Write(part); err != nil {
				ended <- err
				return
			}
		}
	})
	for name, head := range map[string]string{"/loop": "", "/net/http": "Transfer-Encoding: chunked\r\n", "/file": ""} {
		t.Run(name, func(t *testing.T) {
			text := "POST " + name + " HTTP/1.1\r\nHost: h\r\n" + head + "\r\n"
			if head != "" {
				text += "0\r\n\r\n"
			}
			dial(t, addr, text)
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("writing ended with %v", err)
			}
		})
	}
}

// What is sent from a file comes whole and within limits.
func TestFilesAreSent(t *testing.T) {
	const size = 5<<20 + 17
	name := t.TempDir() + "/file"
	want := bytes.Repeat([]byte("0123456789abcdef!"), size/17)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := startPlain(t, &Front{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })}, nil)
	for _, c := range []struct {
		header string
		want   []byte
	}{{"", want}, {"Range: bytes=1000000-3999999\r\n", want[1000000:4000000]}} {
		conn := dial(t, addr, "GET /file HTTP/1.1\r\nHost: h\r\n"+c.header+"\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%q: %d bytes, %v; want %d", c.header, len(got), err, len(c.want))
		}
	}
}
