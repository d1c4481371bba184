package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const canary = "GET /canary HTTP/1.1\r\nHost: c\r\n\r\n"

// witness answers with what it sees of a request.
var witness = &Front{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	seen := fmt.Sprintf("%s %s %s %q", r.Method, r.RequestURI, r.Host, body)
	if err != nil {
		seen = fmt.Sprintf("%s %s %s broken", r.Method, r.RequestURI, r.Host)
	}
	w.Header()["Content-Type"] = []string{"text/plain"}
	fmt.Fprint(w, seen)
})}

// startBoth serves witness on a loop and on net/http alone.
func startBoth(t testing.TB) (loop, plain string) {
	small := func(s *http.Server) { s.MaxHeaderBytes = 64 << 10 }
	_, loop = start(t, witness.ServeHTTP, small)
	return loop, startPlain(t, witness, small)
}

// startPlain serves h with net/http alone.
func startPlain(t testing.TB, h http.Handler, change func(*http.Server)) string {
	t.Helper()
	hs := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: quiet()}
	if change != nil {
		change(hs)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = New(hs, nil, slog.New(slog.DiscardHandler)).Serve(l)
	}()
	t.Cleanup(func() {
		_ = hs.Close()
		<-done
	})
	return l.Addr().String()
}

// seen sends text, ends the client's side, and returns what the server answers: a status, or what witness says, for each request.
func seen(t testing.TB, addr, text string) (answers []string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { // the server may not want all of it
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	for r := bufio.NewReader(c); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%q: the server waits for more; so far %q", text, answers)
			}
			return answers
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		switch {
		case res.StatusCode == http.StatusContinue:
		case res.StatusCode == http.StatusOK && err == nil:
			answers = append(answers, string(body))
		default:
			answers = append(answers, strconv.Itoa(res.StatusCode))
		}
	}
}

// safe says what is wrong with answers: a server that has refused a request reads nothing more.
func safe(answers []string) error {
	for i, a := range answers {
		if _, err := strconv.Atoi(a); err == nil && i != len(answers)-1 {
			return fmt.Errorf("goes on after a refusal: %q", answers)
		}
	}
	return nil
}

// odd reads testdata/odd.txt.
func odd(t testing.TB) (texts, wants []string) {
	data, err := os.ReadFile("testdata/odd.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		quoted, want, ok := strings.Cut(line, " -> ")
		text, err := strconv.Unquote(quoted)
		if !ok || err != nil {
			t.Fatal(line, err)
		}
		texts, wants = append(texts, text), append(wants, want)
	}
	return texts, wants
}

// What the table says is what the loop and net/http make of odd requests.
func TestOddRequests(t *testing.T) {
	loop, plain := startBoth(t)
	texts, wants := odd(t)
	for i, text := range texts {
		want, closed := strings.CutSuffix(wants[i], " closed")
		for name, addr := range map[string]string{"loop": loop, "net/http": plain} {
			got := seen(t, addr, text+canary)
			if err := safe(got); err != nil {
				t.Errorf("%s: %q: %v", name, text, err)
			}
			if strings.Join(got, " | ") != want {
				t.Errorf("%s: %q\n got %s\nwant %s (closed: %v)", name, text, strings.Join(got, " | "), want, closed)
			}
		}
	}
}

// Whatever framing headers a request has, the loop and net/http see the same requests, or refuse.
func TestFramingIsThatOfNetHTTP(t *testing.T) {
	loop, plain := startBoth(t)
	lengths := []string{"", "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Content-Length: 10\r\n", "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 10\r\n",
		"Content-Length: 5,10\r\n", "content-length:5\r\n", "Content-Length : 5\r\n", "Content-Length: 5\n", "Content-Length:\t5\t\r\n", "Content-Length: 5\r\n 0\r\n", "Content-Length: 5\x00\r\n"}
	encodings := []string{"", "Transfer-Encoding: chunked\r\n", "transfer-encoding:chunked\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: chunked, identity\r\n",
		"Transfer-Encoding: identity, chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding: CHUNKED\r\n", "Transfer-Encoding : chunked\r\n",
		"Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: chunked\n", "Transfer-Encoding:\tchunked\t\r\n", "Transfer-Encoding: \x0cchunked\r\n", "X: y\r\n Transfer-Encoding: chunked\r\n"}
	bodies := []string{"", "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello" + canary}
	n := 0
	for _, method := range []string{"POST", "GET"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			for _, length := range lengths {
				for _, encoding := range encodings {
					for i, body := range bodies {
						if (version == "HTTP/1.0" || method == "GET") && i%2 == 1 {
							continue // there are enough of them
						}
						head := length + encoding
						if n%2 == 1 {
							head = encoding + length
						}
						n++
						text := method + " /a " + version + "\r\nHost: h\r\n" + head + "\r\n" + body + canary
						got, want := seen(t, loop, text), seen(t, plain, text)
						if strings.Join(got, " | ") != strings.Join(want, " | ") {
							t.Errorf("%q\n    loop: %q\nnet/http: %q", text, got, want)
						}
						if err := safe(got); err != nil {
							t.Errorf("%q: %v", text, err)
						}
						if both := strings.Contains(head, "chunked") && strings.Contains(strings.ToLower(head), "content-length"); both && len(got) > 1 && !strings.Contains(head, "\r\n Transfer") {
							t.Errorf("%q: a second request is read behind two framings: %q", text, got)
						}
					}
				}
			}
		}
	}
	t.Logf("%d requests", n)
}

// Requests that come together with long ones behind them are cut where they end, wherever they lie in the buffer.
func TestPipelinedBodies(t *testing.T) {
	loop, _ := startBoth(t)
	for _, before := range []int{1, 10, 100} {
		for _, size := range []int{10, 1000, readSize - 200, readSize, readSize + 1, 3 * readSize, maxBody} {
			body := strings.Repeat("b", size-1) + "e"
			text := strings.Repeat(canary, before) + "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + body + canary
			got := seen(t, loop, text)
			if len(got) != before+2 || got[before] != fmt.Sprintf("POST /a h %q", body) || got[before+1] != `GET /canary c ""` {
				t.Errorf("%d requests before a body of %d bytes: %d answers", before, size, len(got))
			}
		}
	}
}

func TestHeadersHaveLimits(t *testing.T) {
	loop, plain := startBoth(t)
	fields := func(n int) string { return strings.Repeat("X: y\r\n", n) }
	for _, c := range []struct {
		name, text, want string
	}{
		{"large value", "GET /a HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431"},
		{"large target", "GET /" + strings.Repeat("x", 80<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", "431"},
		{"large enough", "GET /a HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\n", `GET /a h "" | GET /canary c ""`},
		{"many", "GET /a HTTP/1.1\r\nHost: h\r\n" + fields(maxFields) + "\r\n", `GET /a h "" | GET /canary c ""`},
		{"too many", "GET /a HTTP/1.1\r\nHost: h\r\n" + fields(maxFields+1) + "\r\n", "431"},
		{"large trailers", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + fields(20000) + "\r\n", "POST /a h broken"},
	} {
		for name, addr := range map[string]string{"loop": loop, "net/http": plain} {
			if got := strings.Join(seen(t, addr, c.text+canary), " | "); got != c.want {
				t.Errorf("%s, %s: %q, want %q", c.name, name, got, c.want)
			}
		}
	}
}

// FuzzConnection compares what the loop and net/http see on a whole connection.
func FuzzConnection(f *testing.F) {
	texts, _ := odd(f)
	for _, text := range texts {
		f.Add([]byte(text + canary))
		f.Add([]byte(canary + text))
	}
	loop, plain := startBoth(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(bytes.ToLower(text), []byte("expect")) {
			t.Skip("whether an answer comes before or after 100 Continue is a race")
		}
		got, want := seen(t, loop, string(text)), seen(t, plain, string(text))
		if err := safe(got); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		// Of less than four bytes before the client's end net/http says nothing behind another request, and 400 on a new connection.
		got, want = served(got), served(want)
		if lower := bytes.ToLower(text); len(got) > len(want) && bytes.Contains(lower, []byte("content-length")) && bytes.Contains(lower, []byte("chunked")) {
			got = got[:len(want)] // net/http has seen a Content-Length that the loop has taken out of the way
		}
		if strings.Join(got, " | ") != strings.Join(want, " | ") {
			t.Errorf("%q\n    loop: %q\nnet/http: %q", text, got, want)
		}
	})
}

// served leaves the refusal out that answers may end with.
func served(answers []string) []string {
	if n := len(answers); n > 0 {
		if _, err := strconv.Atoi(answers[n-1]); err == nil {
			return answers[:n-1]
		}
	}
	return answers
}
