package runtimeapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// still is a carrier of invocations that a test does not need.
type still struct{ sandbox.Link }

func (still) Close() error { return nil }

// extended is a link whose extensions a test plays.
type extended struct {
	*runtimeapi.Link
	t    *testing.T
	addr string

	mu     sync.Mutex
	logged []string
}

func attend(t *testing.T, external ...string) *extended {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &extended{Link: runtimeapi.Beside(ln, still{}), t: t, addr: ln.Addr().String()}
	t.Cleanup(func() { x.Close() })
	x.Attend(sandbox.ExtensionConfig{
		Version:  &hansom.Version{Project: hansom.DefaultProject, Function: "f", Number: hansom.Latest, Handler: "index.handler", Memory: 128},
		Instance: "abc", External: external,
		Dial: func(ctx context.Context, port int) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
		},
		Log: func(e sandbox.Event) {
			kind := "EXTENSION"
			if e.Type == sandbox.EventSubscription {
				kind = map[bool]string{true: "LOGS", false: "TELEMETRY"}[e.Logs]
			}
			x.mu.Lock()
			x.logged = append(x.logged, fmt.Sprintf("%s %s %s %v", kind, e.Name, e.State, e.Names))
			x.mu.Unlock()
		},
	})
	return x
}

func (x *extended) log() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return strings.Join(x.logged, "\n")
}

// extension is a client of the Extensions API.
type extension struct {
	*runtime
	id string
}

func (x *extended) register(name string, events ...string) *extension {
	x.t.Helper()
	e := &extension{runtime: dial(x.t, x.addr)}
	body, _ := json.Marshal(map[string][]string{"events": events})
	e.send("POST", "/2020-01-01/extension/register", "Lambda-Extension-Name: "+name+"\r\n", string(body))
	status, header, answer := e.receive()
	if e.id = header.Get("Lambda-Extension-Identifier"); status != 200 || e.id == "" {
		x.t.Fatalf("register: %d %s", status, answer)
	}
	return e
}

func (e *extension) ask() {
	e.send("GET", "/2020-01-01/extension/event/next", "Lambda-Extension-Identifier: "+e.id+"\r\n", "")
}

func (e *extension) event() map[string]any {
	e.t.Helper()
	status, header, body := e.receive()
	var event map[string]any
	if err := json.Unmarshal([]byte(body), &event); err != nil || status != 200 || header.Get("Lambda-Extension-Identifier") != e.id || header.Get("Lambda-Extension-Event-Identifier") == "" {
		e.t.Fatalf("event: %d %v %s", status, header, body)
	}
	return event
}

func (e *extension) subscribe(version, types, destination string) {
	e.t.Helper()
	e.send("PUT", version, "Lambda-Extension-Identifier: "+e.id+"\r\n",
		`{"schemaVersion":"`+map[bool]string{true: "2021-03-18", false: "2022-12-13"}[strings.HasSuffix(version, "logs")]+`","types":[`+types+`],"buffering":{"timeoutMs":25},"destination":`+destination+`}`)
	if status, _, body := e.receive(); status != 200 {
		e.t.Fatalf("subscribe: %d %s", status, body)
	}
}

// TestExtensionProtocol runs testdata/extensions: requests behind ">", with their headers and bodies, answers behind "<", where
// "*" is any body and {NAME} the identifier of an extension. "settle" ends the init phase; below it may stand its error.
func TestExtensionProtocol(t *testing.T) {
	files, err := filepath.Glob("testdata/extensions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
			var external []string
			if rest, ok := strings.CutPrefix(lines[0], "external: "); ok {
				external, lines = strings.Fields(rest), lines[1:]
			}
			x := attend(t, external...)
			client, ids := dial(t, x.addr), map[string]string{}
			identify := func(s string) string {
				for name, id := range ids {
					s = strings.ReplaceAll(s, "{"+name+"}", id)
				}
				return s
			}
			for len(lines) > 0 {
				line := lines[0]
				lines = lines[1:]
				if want, ok := strings.CutPrefix(line, "logged: "); ok {
					if !strings.Contains(x.log(), want) {
						t.Errorf("no %q in\n%s", want, x.log())
					}
					continue
				}
				if line == "settle" {
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					err := x.Settle(ctx)
					if len(lines) > 0 && strings.HasPrefix(lines[0], "Extension.") {
						if err == nil || err.Error() != lines[0] {
							t.Errorf("Settle = %v, want %s", err, lines[0])
						}
						lines = lines[1:]
					}
					continue
				}
				method, path, _ := strings.Cut(strings.TrimPrefix(line, "> "), " ")
				headers, name := "", ""
				for lines[0] != "" {
					headers += identify(lines[0]) + "\r\n"
					if rest, ok := strings.CutPrefix(lines[0], "Lambda-Extension-Name: "); ok {
						name = rest
					}
					lines = lines[1:]
				}
				lines = lines[1:]
				body := ""
				if !strings.HasPrefix(lines[0], "< ") {
					body, lines = lines[0], lines[1:]
				}
				client.send(method, path, headers, body)
				status, header, got := client.receive()
				if id := header.Get("Lambda-Extension-Identifier"); id != "" && name != "" {
					ids[name] = id
				}
				want := identify(strings.TrimPrefix(lines[0], "< "))
				lines = lines[1:]
				if full := strconv.Itoa(status) + " " + got; full != want && !(strings.HasSuffix(want, " *") && strings.HasPrefix(full, strings.TrimSuffix(want, "*"))) {
					t.Errorf("%s %s\n got %s\nwant %s", method, path, full, want)
				}
			}
		})
	}
}

func TestLifeCycle(t *testing.T) {
	x := attend(t, "one", "two")
	if x.Begin(request("before", "1")) {
		t.Error("an INVOKE without extensions")
	}
	registered := make(chan error, 1)
	go func() { registered <- x.Registered(t.Context()) }()
	one := x.register("one", "INVOKE", "SHUTDOWN")
	select {
	case err := <-registered:
		t.Fatal("registered before both were", err)
	default:
	}
	two := x.register("two")
	if err := <-registered; err != nil {
		t.Fatal(err)
	}
	inner := x.register("inner", "INVOKE")

	settled := make(chan error, 1)
	go func() { settled <- x.Settle(t.Context()) }()
	one.ask()
	two.ask()
	select {
	case err := <-settled:
		t.Fatal("settled before all asked", err)
	case <-time.After(20 * time.Millisecond):
	}
	inner.ask()
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if got := x.log(); got != "EXTENSION one Ready [INVOKE SHUTDOWN]\nEXTENSION two Ready []\nEXTENSION inner Ready [INVOKE]" {
		t.Error(got)
	}

	req := request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "{}")
	req.Deadline, req.Trace = 1_700_000_000_123, "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"
	if !x.Begin(req) {
		t.Fatal("no INVOKE")
	}
	for _, e := range []*extension{one, inner} {
		got := e.event()
		want := map[string]any{"eventType": "INVOKE", "deadlineMs": 1_700_000_000_123.0, "requestId": req.ID, "invokedFunctionArn": req.ARN,
			"tracing": map[string]any{"type": "X-Amzn-Trace-Id", "value": req.Trace}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v want %v", got, want)
		}
	}
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := x.Settle(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Settle while extensions work: %v", err)
	}
	one.ask()
	inner.ask()
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := &extension{runtime: dial(t, x.addr), id: one.id}
	again.ask()
	if status, _, body := again.receive(); status != 403 || !strings.Contains(body, "Extension.InvalidExtensionState") {
		t.Errorf("asked twice: %d %s", status, body)
	}

	// One whose connection was lost may ask anew. An event for which nobody waits comes when it is asked for.
	inner.conn.Close()
	x.Begin(req)
	if late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond); !errors.Is(x.Settle(late), context.DeadlineExceeded) {
		t.Error("settled although an extension did not get its event")
		cancel()
	} else {
		cancel()
	}
	inner = &extension{runtime: dial(t, x.addr), id: inner.id}
	inner.ask()
	if got := inner.event(); got["requestId"] != req.ID {
		t.Error(got)
	}
	one.event()

	// one has not asked for its SHUTDOWN yet: a timeout.
	down := make(chan struct{})
	go func() { x.Shutdown(sandbox.Timeout); close(down) }()
	one.ask()
	if got := one.event(); got["eventType"] != "SHUTDOWN" || got["shutdownReason"] != "timeout" || got["deadlineMs"].(float64) < float64(time.Now().UnixMilli()) {
		t.Error(got)
	}
	select {
	case <-down:
		t.Error("Shutdown did not wait for the extension")
	case <-time.After(20 * time.Millisecond):
	}
	one.ask()
	<-down
}

func TestShutdownEnds(t *testing.T) {
	attend(t).Shutdown(sandbox.Spindown) // without extensions

	x := attend(t, "deaf", "curious")
	x.register("deaf", "SHUTDOWN")
	curious := x.register("curious", "SHUTDOWN")
	curious.ask()
	before := time.Now().UnixMilli()
	down := make(chan struct{})
	go func() { x.Shutdown(sandbox.Failure); close(down) }()
	event := curious.event()
	if deadline := int64(event["deadlineMs"].(float64)); deadline < before+2000 || deadline > time.Now().UnixMilli()+2000 {
		t.Errorf("the deadline is %d ms off", deadline-before)
	}
	if event["shutdownReason"] != "failure" {
		t.Error(event)
	}
	<-down // although neither asks again

	x = attend(t, "one")
	one := x.register("one", "SHUTDOWN")
	one.ask()
	go func() {
		one.event()
		x.Close() // as the end of the tree does
	}()
	x.Shutdown(sandbox.Spindown)
}

// receiver is an extension's telemetry listener.
type receiver struct {
	mu   sync.Mutex
	got  []map[string]any
	fail int // answers so many batches with 500 first
	hold chan struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-req.Context().Done():
			return
		}
	}
	body, _ := io.ReadAll(req.Body)
	var batch []map[string]any
	if err := json.Unmarshal(body, &batch); err != nil || req.Header.Get("Content-Type") != "application/json" || req.URL.Path != "/lambda" {
		http.Error(w, "not a batch", 400)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail > 0 {
		r.fail--
		http.Error(w, "not yet", 500)
		return
	}
	r.got = append(r.got, batch...)
}

// types of what it got; the records of function lines in their place.
func (r *receiver) types() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var types []string
	for _, e := range r.got {
		if e["type"] == "function" {
			types = append(types, fmt.Sprint(e["record"]))
		} else {
			types = append(types, fmt.Sprint(e["type"]))
		}
	}
	return strings.Join(types, " ")
}

func (r *receiver) start(t *testing.T) string {
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return `{"protocol":"HTTP","URI":"http://sandbox.localdomain:` + s.URL[strings.LastIndexByte(s.URL, ':')+1:] + `/lambda"}`
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func line(i int) sandbox.Event {
	return sandbox.Event{Time: time.Now(), Type: sandbox.EventFunctionLog, Message: "line" + strconv.Itoa(i)}
}

func TestTelemetry(t *testing.T) {
	x := attend(t, "one", "two", "three")
	x.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventInitStart, Phase: "init", InitType: "on-demand"})
	one, two, three := x.register("one"), x.register("two"), x.register("three", "SHUTDOWN")
	http, logs := &receiver{fail: 2}, &receiver{}
	one.subscribe("/2022-07-01/telemetry", `"platform","function"`, http.start(t))
	two.subscribe("/2020-08-15/logs", `"platform"`, logs.start(t))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	three.subscribe("/2022-07-01/telemetry", `"function"`, `{"protocol":"TCP","URI":"tcp://sandbox.localdomain:`+strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)+`"}`)
	tcp := make(chan string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		tcp <- string(all)
	}()
	for _, e := range []*extension{one, two, three} {
		e.ask()
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "{}")
	x.Begin(req)
	x.Publish(line(1))
	x.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventRuntimeDone, RequestID: req.ID, Status: "failure", Message: "Error: exit status 1"})
	x.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventReport, RequestID: req.ID, Status: "error", Report: &hansom.Completion{Version: &hansom.Version{Memory: 128}}})
	x.Publish(line(2))
	// The first of its SHUTDOWN comes after what was published.
	go func() { three.event(); three.ask() }()
	x.Shutdown(sandbox.Spindown)
	if got, want := http.types(), "platform.initStart platform.telemetrySubscription platform.telemetrySubscription platform.extension platform.extension platform.extension "+
		"platform.start line1 platform.runtimeDone platform.report line2"; got != want {
		t.Errorf("HTTP:\n got %s\nwant %s", got, want)
	}
	if got, want := logs.types(), "platform.logsSubscription platform.extension platform.extension platform.extension platform.start platform.fault platform.runtimeDone platform.end platform.report"; got != want {
		t.Errorf("Logs API:\n got %s\nwant %s", got, want)
	}
	x.Close()
	var lines []string
	for l := range strings.Lines(<-tcp) {
		var e struct{ Record string }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Errorf("%q: %v", l, err)
		}
		lines = append(lines, e.Record)
	}
	if got := strings.Join(lines, " "); got != "line1 line2" {
		t.Errorf("TCP: %s", got)
	}
}

// A receiver that does not answer holds nobody up and costs a bounded amount of memory; what it missed is counted.
func TestSlowReceiver(t *testing.T) {
	x := attend(t, "one")
	one := x.register("one")
	r := &receiver{hold: make(chan struct{})}
	one.subscribe("/2022-07-01/telemetry", `"function"`, r.start(t))
	one.ask()
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	const lines = 20_000
	long := strings.Repeat("x", 500)
	for range lines {
		x.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventFunctionLog, Message: long})
	}
	x.Shutdown(sandbox.Spindown)
	close(r.hold)
	dropped := func() (n, records float64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range r.got {
			if e["type"] == "platform.logsDropped" {
				n++
				records += e["record"].(map[string]any)["droppedRecords"].(float64)
			}
		}
		return n, float64(len(r.got)) - n + records
	}
	eventually(t, "all lines are received or counted as dropped", func() bool { n, all := dropped(); return n > 0 && all == lines })
}

// A subscriber whose port nobody listens on is tried again, and gets what is kept when somebody does.
func TestLateReceiver(t *testing.T) {
	x := attend(t, "one")
	one := x.register("one")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	one.subscribe("/2022-07-01/telemetry", `"function"`, `{"protocol":"HTTP","URI":"http://sandbox.localdomain:`+addr[strings.LastIndexByte(addr, ':')+1:]+`/lambda"}`)
	x.Publish(line(1))
	time.AfterFunc(100*time.Millisecond, func() { x.Publish(line(2)) })
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken meanwhile:", err)
	}
	r := &receiver{}
	s := &http.Server{Handler: r}
	go s.Serve(ln)
	defer s.Close()
	eventually(t, "both lines", func() bool { return r.types() == "line1 line2" })
}

// A hostile extension harms nobody but itself.
func TestHostileExtension(t *testing.T) {
	x := attend(t, "good")
	good := x.register("good", "INVOKE")
	good.ask()
	bad := dial(t, x.addr)
	bad.send("POST", "/2020-01-01/extension/register", "Lambda-Extension-Name: bad\r\n", `{"events":["`+strings.Repeat("x", 1<<20)+`"]}`)
	if status, _, _ := bad.receive(); status != 413 {
		t.Errorf("a register of 1 MB: %d", status)
	}
	bad.send("POST", "/2020-01-01/extension/register", "Lambda-Extension-Name: "+strings.Repeat("x", 300)+"\r\n", `{}`)
	if status, _, _ := bad.receive(); status != 403 {
		t.Errorf("a name of 300 bytes: %d", status)
	}
	// Requests without end on many connections, whose answers nobody reads.
	for range 70 {
		conn, err := net.Dial("tcp", x.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
		go func() {
			for {
				if _, err := io.WriteString(conn, "GET /2020-01-01/extension/event/next HTTP/1.1\r\n\r\n"); err != nil {
					return
				}
			}
		}()
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.Begin(request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "{}"))
	good.event()
	good.ask()
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A runtime whose end extensions outlive is noticed.
func TestRuntimeEnded(t *testing.T) {
	l, r := newLink(t)
	ended := make(chan struct{})
	l.Attend(sandbox.ExtensionConfig{Version: &hansom.Version{}, Ended: ended, Log: func(sandbox.Event) {}})
	r.poll()
	if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := l.Invoke(request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "1"), nil)
		failed <- err
	}()
	r.receive()
	r.conn.Close()
	close(ended)
	if err := <-failed; !errors.Is(err, sandbox.ErrClosed) || errors.Is(err, sandbox.ErrUndelivered) {
		t.Errorf("an event that it has taken: %v", err)
	}
	if _, err := l.Invoke(request("9476a536-e9f4-11e8-9739-2dfe598c3fcd", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) {
		t.Errorf("a further event: %v", err)
	}
	if err := l.Settle(t.Context()); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Settle: %v", err)
	}
}
