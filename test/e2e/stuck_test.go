package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// TestStuckRequests: whatever requests wait for, others on the same event loops get their answers meanwhile.
func TestStuckRequests(t *testing.T) {
	s := start(t, func(c *server.Config) { c.Memory = 6 << 30 })
	c := client(t, s.API(), hansomtest.Credentials)
	code := pack(t, map[string]string{"app.js": testdata(t, "stuck.js"), "boots.mjs": "await new Promise((resolve) => setTimeout(resolve, 6000))\nexport const slow = async () => 'slow'\n"})
	hosts := map[string]string{}
	for name, f := range map[string]struct {
		handler string
		change  func(*lambda.CreateFunctionInput)
	}{
		"quick": {"app.quick", memory(128)}, "slow": {"app.slow", memory(128)}, "many": {"app.slow", beside(4)}, "print": {"app.print", memory(256)},
		"stream": {"app.stream", memory(128)}, "large": {"app.slow", memory(3008)}, "boots": {"boots.slow", memory(128)},
	} {
		create(t, c, name, node22, code, handler(f.handler), f.change)
		in := &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone}
		if name == "stream" {
			in.InvokeMode = types.InvokeModeResponseStream
		}
		out, err := c.CreateFunctionUrlConfig(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		hosts[name] = strings.Trim(strings.TrimPrefix(aws.ToString(out.FunctionUrl), "http://"), "/")
	}
	open := func() net.Conn {
		conn, err := net.Dial("tcp", s.EdgeAddr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	request := func(name string, ms int) string {
		return fmt.Sprintf("GET /?ms=%d HTTP/1.1\r\nHost: %s\r\n\r\n", ms, hosts[name])
	}
	answered := func(conn net.Conn) error {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s %.100s", resp.Status, body)
		}
		return err
	}
	for _, name := range []string{"quick", "slow", "many", "print", "stream", "large"} { // warm them up
		conn := open()
		fmt.Fprint(conn, request(name, 0))
		if err := answered(conn); err != nil {
			t.Fatal(name, err)
		}
	}

	const ms = 6000
	var first atomic.Bool // a request that is stuck has been answered
	var all sync.WaitGroup
	stuck := func(name string, conn net.Conn) {
		all.Go(func() {
			err := answered(conn)
			first.Store(true)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for _, name := range []string{"slow", "many", "many", "print", "large", "large", "large", "boots"} { // two of the large ones wait for memory
		conn := open()
		fmt.Fprint(conn, request(name, ms))
		stuck(name, conn)
	}
	upload := open() // net/http's
	fmt.Fprintf(upload, "POST /?ms=0 HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\nxxx", hosts["slow"], 1<<20)
	body := open()
	fmt.Fprintf(body, "POST /?ms=0 HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\nxxx", hosts["slow"])
	head := open()
	fmt.Fprintf(head, "GET /?ms=0 HTTP/1.1\r\nHost: %s\r\nX", hosts["slow"])
	unread := open()
	fmt.Fprint(unread, request("stream", ms))
	eventually(t, "all that can run does", func() bool { return busy(t, s.API()) >= 4 })

	// As many connections as loops have some of each.
	for range goruntime.GOMAXPROCS(0) {
		conn := open()
		for end := time.Now().Add(time.Second); ; { // until the one that prints is held up, too
			fmt.Fprint(conn, request("quick", 0))
			if err := answered(conn); err != nil {
				t.Fatal(err)
			}
			if first.Load() || time.Now().After(end) {
				break
			}
		}
	}
	if first.Load() {
		t.Error("requests that wait held up others")
	}
	for conn, rest := range map[net.Conn]string{upload: strings.Repeat("x", 1<<20-3), body: strings.Repeat("x", 97), head: ": y\r\n\r\n", unread: ""} {
		go io.WriteString(conn, rest)
		stuck("the rest", conn)
	}
	all.Wait()
}
