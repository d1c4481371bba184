package edge

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

// Files go out whole, in part, to slow readers, and to several at once; an answer that breaks off ends the connection.
func TestFiles(t *testing.T) {
	data := make([]byte, 3<<20)
	rand.Read(data)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		from, _ := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			t.Error(err)
		}
		n := int64(len(data)) - from
		switch r.URL.Path {
		case "/all":
			w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
			_, err = io.Copy(w, f)
		case "/part":
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusPartialContent)
			_, err = io.CopyN(w, f, 1000)
		case "/chunked": // its length is not known beforehand
			_, err = io.Copy(w, f)
		case "/behind": // of something else
			w.Header().Set("Content-Length", strconv.FormatInt(n+5, 10))
			_, _ = io.WriteString(w, "first")
			_, err = io.CopyN(w, f, n)
		case "/short":
			w.Header().Set("Content-Length", strconv.FormatInt(n+1, 10))
			_, err = io.Copy(w, f)
		}
		if fast(r) && r.URL.Path == "/all" && r.Method == "GET" && !hansom.FiberOf(r.Context()).(interface{ Detached() bool }).Detached() {
			t.Error("a file was read on the loop")
		}
		if err != nil && r.Method != "HEAD" && !errors.Is(err, io.EOF) {
			t.Logf("%s: %v", r.URL, err) // the client has gone
		}
	}, nil)
	get := func(method, target string, limit int64) (*http.Response, []byte, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if limit > 0 {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		if _, err := io.WriteString(c, method+" "+target+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
		if err != nil {
			t.Fatal(target, err)
		}
		body, err := io.ReadAll(resp.Body)
		return resp, body, err
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, body, err := get("GET", "/all", int64(i%2)); err != nil || !bytes.Equal(body, data) {
				t.Errorf("all: %d bytes, %v", len(body), err)
			}
			if resp, body, err := get("GET", "/part?from=12345", 0); err != nil || resp.StatusCode != 206 || !bytes.Equal(body, data[12345:13345]) {
				t.Errorf("part: %s, %d bytes, %v", resp.Status, len(body), err)
			}
			if _, body, err := get("GET", "/chunked?from=7", 0); err != nil || !bytes.Equal(body, data[7:]) {
				t.Errorf("chunked: %d bytes, %v", len(body), err)
			}
			if _, body, err := get("GET", "/behind", 0); err != nil || !strings.HasPrefix(string(body), "first") || !bytes.Equal(body[5:], data) {
				t.Errorf("behind: %d bytes, %v", len(body), err)
			}
		})
	}
	wg.Wait()
	if resp, body, err := get("HEAD", "/all", 0); err != nil || len(body) > 0 || resp.ContentLength != int64(len(data)) {
		t.Error(resp, len(body), err)
	}
	if _, body, err := get("GET", "/short", 0); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(body, data) {
		t.Errorf("short: %d bytes, %v", len(body), err)
	}
}
