package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to it: " + what)
		}
	}
}

// slowly answers when its directory has the file that its path names, or streams until then.
const slowly = `const fs = require('fs');
const there = (name) => new Promise((done) => { const look = () => fs.existsSync(name) ? done() : setTimeout(look, 5); look(); });
exports.handler = awslambda.streamifyResponse(async (e, out) => {
  const [, kind, name] = e.rawPath.split('/');
  console.log('began ' + kind);
  out = awslambda.HttpResponseStream.from(out, {statusCode: 200, headers: {'content-type': 'text/event-stream'}});
  if (kind === 'stream') {
    const ticks = setInterval(() => out.write('data: tick\n\n'), 5);
    await there(process.env.DIR + name);
    clearInterval(ticks);
  } else {
    await there(process.env.DIR + name);
  }
  console.log('ended ' + kind);
  out.end('data: done\n\n');
});`

// A client that goes away while its call waits, runs or streams: what waits is forgotten, what runs comes to its end, is told of in
// the log and billed, and the instance takes the next call.
func TestClientsThatGoAway(t *testing.T) {
	dir := t.TempDir() + "/"
	s := start(t, func(c *server.Config) {
		c.Driver, c.Memory, c.Blanks = "process", 256, 0 // functions see the host's files, and there is room for one instance
		c.HTTPS, c.EdgeTLS = true, "127.0.0.1:0"
	})
	url := publicURL(t, s, "slowly", strings.ReplaceAll(slowly, "process.env.DIR", fmt.Sprintf("%q", dir)), memory(256))
	host := strings.TrimPrefix(url, "https://")
	authority, _ := s.Authority()
	log := func() string {
		_, text := manage(t, s.API(), hansomtest.Credentials, "GET", "logs?function=slowly", "")
		return text
	}
	metric := func(name string) (value string) {
		_, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
		_, value, _ = strings.Cut(text, "\n"+name+" ")
		value, _, _ = strings.Cut(value, "\n")
		return value
	}
	release := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A request of each kind of connection, and how its client goes away.
	open := map[string]func(t *testing.T, path string, read bool) (leave func()){
		"loop": func(t *testing.T, path string, read bool) func() {
			conn, err := net.Dial("tcp", s.EdgeAddr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if read {
				if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 {
					t.Fatal(res, err)
				}
			}
			return func() { conn.Close() }
		},
	}
	for name, http2 := range map[string]bool{"TLS": false, "HTTP/2": true} {
		c := secureBrowser(t, s.EdgeTLSAddr(), authority, http2)
		open[name] = func(t *testing.T, path string, read bool) func() {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, "GET", url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan error, 1)
			over := make(chan struct{})
			go func() {
				defer close(over)
				res, err := c.Do(r)
				answered <- err
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}()
			if read {
				if err := <-answered; err != nil {
					t.Fatal(err)
				}
			}
			return func() { cancel(); <-over }
		}
	}
	ended := `hansom_invocations_total{function="slowly",project="000000000000",status="ok"}`
	count := func(text, part string) int { return strings.Count(text, part) }
	runs := 0
	for name, open := range open {
		t.Run(name, func(t *testing.T) {
			t.Run("runs", func(t *testing.T) {
				file := "runs" + strings.ReplaceAll(name, "/", "")
				before := count(log(), "began runs")
				leave := open(t, "/runs/"+file, false)
				until(t, "the function begins", func() bool { return count(log(), "began runs") > before })

				// Another one waits for the instance, and does not when its client has gone.
				leaveWaiting := open(t, "/never/x", false)
				until(t, "a call waits", func() bool { return metric("hansom_waiting_invocations") == "1" })
				leaveWaiting()
				until(t, "it waits no more", func() bool { return metric("hansom_waiting_invocations") == "0" })

				leave()
				release(file)
				runs++
				until(t, "it ends", func() bool { return metric(ended) == fmt.Sprint(runs) })
				until(t, "it is reported", func() bool { return count(log(), "REPORT RequestId: ") == runs })
				if text := log(); count(text, "ended runs") != before+1 || strings.Contains(text, "began never") || count(text, "Billed Duration: ") != runs {
					t.Errorf("the log: %s", text)
				}
			})
			t.Run("streams", func(t *testing.T) {
				file := "stream" + strings.ReplaceAll(name, "/", "")
				leave := open(t, "/stream/"+file, true)
				leave()
				// It writes on until it notices, or to its end.
				release(file)
				runs++
				until(t, "it is reported", func() bool { return count(log(), "REPORT RequestId: ") == runs })
				if text := log(); count(text, "Billed Duration: ") != runs {
					t.Errorf("the log: %s", text)
				}
			})
			t.Run("goes on", func(t *testing.T) {
				release("now")
				status, body := get(t, secureBrowser(t, s.EdgeTLSAddr(), authority, true), url+"/runs/now")
				runs++
				if status != 200 || body != "data: done\n\n" {
					t.Errorf("%d %q", status, body)
				}
				if text := log(); count(text, "INIT_REPORT")+count(text, "Init Duration: ") > 1 {
					t.Errorf("there is a new instance: %s", text)
				}
			})
		})
	}
}

// A client that goes away ends what it asked a function's own server for, over HTTP/2 as well.
func TestClientsThatGoAwayFromServers(t *testing.T) {
	s := start(t, func(c *server.Config) { c.HTTPS, c.EdgeTLS = true, "127.0.0.1:0" })
	w := &web{Server: s, lambda: client(t, s.API(), hansomtest.Credentials)}
	w.create(t, "web")
	authority, _ := s.Authority()
	for _, http2 := range []bool{true, false} {
		w.browser = secureBrowser(t, s.EdgeTLSAddr(), authority, http2)
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", w.url+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "data: hello\n" {
			t.Fatal(line, err)
		}
		count := func() int {
			_, text := manage(t, w.API(), hansomtest.Credentials, "GET", "logs?function=web", "")
			return strings.Count(text, "client gone")
		}
		before := count()
		cancel()
		res.Body.Close()
		until(t, "the program learns of it", func() bool { return count() > before })
		if _, text := w.do(t, "POST", "/count", strings.NewReader("abc")); text != "3" {
			t.Error(text)
		}
	}
}
