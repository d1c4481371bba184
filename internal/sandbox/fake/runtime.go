package fake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// APIEnv is the variable by which a sandbox without frames finds the Lambda Runtime API: one of Spec.Listen must set it.
const APIEnv = "AWS_LAMBDA_RUNTIME_API"

// Call is one event as a Handler sees it.
type Call struct {
	RequestID     string
	ARN           string
	Trace         string
	ClientContext []byte
	Deadline      time.Time
	Event         []byte
	Sandbox       *Sandbox

	log    func(message string)
	raw    func(p []byte) error
	stream func(contentType string) io.Writer
}

// Log sends a log message that is attributed to this call. With the Runtime API, which has no such messages, it is Print.
func (c *Call) Log(message string) { c.log(message) }

// Print writes to the standard output of the sandbox.
func (c *Call) Print(text string) { c.Sandbox.Print(text) }

// Raw writes p to the runtime's socket as it is: garbage, frames of other streams, answers given twice. Frames only.
func (c *Call) Raw(p []byte) error { return c.raw(p) }

// Stream begins a streamed answer. What the Handler returns then ends it: a nil error completes it, its payload is ignored.
func (c *Call) Stream(contentType string) io.Writer { return c.stream(contentType) }

// run is the sandbox's process.
func (s *Sandbox) run() {
	if s.script.Boot != nil {
		s.script.Boot(s.ctx)
	}
	var err error
	switch {
	case s.ctx.Err() != nil:
	case s.script.Process != nil:
		if err = s.script.Process(s.ctx, s); err == nil {
			err = Exit(0)
		}
	case s.runtime != nil:
		err = s.serveFrames()
	default:
		err = s.poll()
	}
	if _, exits := errors.AsType[*exitError](err); err != nil && !exits && s.ctx.Err() == nil {
		fmt.Fprintln(s.stdout, err)
	}
	s.commandEnded(exitOf(err))
}

func (s *Sandbox) load(in *sandbox.Init) error {
	if s.script.Init == nil {
		return nil
	}
	return s.script.Init(s.ctx, in)
}

func (s *Sandbox) handle(call *Call) ([]byte, error) {
	s.awaitThaw()
	if err := s.ctx.Err(); err != nil {
		return nil, Signal(9)
	}
	if s.script.Handler == nil {
		return call.Event, nil
	}
	return s.script.Handler(s.ctx, call)
}

// report is the error JSON of err, and whether the process ends after it. An exitError has none: ok is false.
func report(err error) (payload []byte, fatal, ok bool) {
	if _, exits := errors.AsType[*exitError](err); exits {
		return nil, true, false
	}
	e, is := errors.AsType[*FunctionError](err)
	if !is {
		e = &FunctionError{Type: "Error", Message: err.Error()}
	}
	payload, _ = json.Marshal(map[string]string{"errorType": e.Type, "errorMessage": e.Message})
	return payload, e.Fatal, true
}

func (s *Sandbox) send(h frame.Header, body []byte) error {
	h.Length = uint32(len(body))
	_, err := s.runtime.Write(append(frame.AppendHeader(nil, h), body...))
	return err
}

// serveFrames returns when the process ends; an exitError says how.
func (s *Sandbox) serveFrames() error {
	if err := s.send(frame.Header{Kind: frame.Ready}, frame.AppendBooted(nil, frame.Booted{Protocol: frame.Version, Runtime: "fake"})); err != nil {
		return err
	}
	in := bufio.NewReader(s.runtime)
	head := make([]byte, frame.HeaderSize)
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return Exit(0) // the server has gone
		}
		h, err := frame.ParseHeader(head)
		if err != nil {
			return err
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(in, body); err != nil {
			return Exit(0)
		}
		switch h.Kind {
		case frame.Init:
			err = s.loadFrame(body)
		case frame.Invoke:
			err = s.invokeFrame(h.Stream, body)
		case frame.Stop:
			return Exit(0)
		case frame.Ping, frame.Cancel, frame.Window:
		default:
			err = fmt.Errorf("a runtime takes no %s", h.Kind)
		}
		if err != nil {
			return err
		}
	}
}

func (s *Sandbox) loadFrame(body []byte) error {
	load, err := frame.ParseLoad(body)
	if err != nil {
		return err
	}
	in := &sandbox.Init{Handler: load.Handler, TaskRoot: load.TaskRoot}
	for _, e := range load.Env {
		in.Env = append(in.Env, e[0]+"="+e[1])
	}
	if err := s.load(in); err != nil {
		payload, _, ok := report(err)
		if !ok {
			return err
		}
		if err := s.send(frame.Header{Kind: frame.Error, Flags: frame.FlagInit}, payload); err != nil {
			return err
		}
		return Exit(1)
	}
	return s.send(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, nil)
}

type chunkWriter struct {
	s      *Sandbox
	stream uint64
}

func (w chunkWriter) Write(p []byte) (int, error) {
	if err := w.s.send(frame.Header{Kind: frame.Chunk, Stream: w.stream}, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *Sandbox) invokeFrame(stream uint64, body []byte) error {
	c, err := frame.ParseCall(body)
	if err != nil {
		return err
	}
	streamed := false
	payload, err := s.handle(&Call{RequestID: c.RequestID, ARN: c.ARN, Trace: c.Trace, ClientContext: c.ClientContext,
		Deadline: time.UnixMilli(c.Deadline), Event: c.Event, Sandbox: s,
		log: func(m string) { s.send(frame.Header{Kind: frame.Log, Stream: stream}, []byte(m)) },
		raw: func(p []byte) error { _, err := s.runtime.Write(p); return err },
		stream: func(contentType string) io.Writer {
			streamed = true
			s.send(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: stream}, []byte(contentType))
			return chunkWriter{s, stream}
		}})
	switch {
	case err == nil && streamed:
		return s.send(frame.Header{Kind: frame.End, Stream: stream}, nil)
	case err == nil:
		return s.send(frame.Header{Kind: frame.Result, Stream: stream}, payload)
	}
	payload, fatal, ok := report(err)
	if !ok {
		return err
	}
	h := frame.Header{Kind: frame.Error, Stream: stream}
	if streamed {
		h = frame.Header{Kind: frame.End, Flags: frame.FlagError, Stream: stream}
	}
	if fatal {
		h.Flags |= frame.FlagFatal
	}
	if err := s.send(h, payload); err != nil || !fatal {
		return err
	}
	return Exit(1)
}

// poll is serveFrames over the Lambda Runtime API.
func (s *Sandbox) poll() error {
	addr := s.Getenv(APIEnv)
	if addr == "" { // a process that is no runtime: it runs until it is killed
		<-s.ctx.Done()
		return Signal(9)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	api := &apiClient{s: s, http: &http.Client{Transport: transport}, base: "http://" + addr + "/2018-06-01/runtime/"}
	if err := s.load(&sandbox.Init{}); err != nil {
		payload, _, ok := report(err)
		if !ok {
			return err
		}
		if err := api.post("init/error", bytes.NewReader(payload), nil); err != nil {
			return err
		}
		return Exit(1)
	}
	for {
		if err := api.next(); err != nil {
			return err
		}
	}
}

type apiClient struct {
	s    *Sandbox
	http *http.Client
	base string
}

func (a *apiClient) post(path string, body io.Reader, h http.Header) error {
	req, err := http.NewRequestWithContext(a.s.ctx, http.MethodPost, a.base+path, body)
	if err != nil {
		return err
	}
	if h != nil {
		req.Header = h
		req.Trailer = http.Header{"Lambda-Runtime-Function-Error-Type": nil, "Lambda-Runtime-Function-Error-Body": nil}
		if t, ok := body.(*trailerReader); ok {
			t.trailer = req.Trailer
		}
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("POST %s: %s %s", path, resp.Status, text)
	}
	return err
}

func (a *apiClient) next() error {
	req, err := http.NewRequestWithContext(a.s.ctx, http.MethodGet, a.base+"invocation/next", nil)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	event, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET next: %s %s", resp.Status, event)
	}
	ms, err := strconv.ParseInt(resp.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
	if err != nil {
		return err
	}
	id := resp.Header.Get("Lambda-Runtime-Aws-Request-Id")
	var (
		streamed *io.PipeWriter
		posted   chan error
	)
	call := &Call{RequestID: id, ARN: resp.Header.Get("Lambda-Runtime-Invoked-Function-Arn"), Trace: resp.Header.Get("Lambda-Runtime-Trace-Id"),
		ClientContext: []byte(resp.Header.Get("Lambda-Runtime-Client-Context")), Deadline: time.UnixMilli(ms), Event: event, Sandbox: a.s,
		log: func(m string) { fmt.Fprintln(a.s.stdout, m) },
		raw: func([]byte) error { return errors.New("the Runtime API has no socket for raw frames") },
		stream: func(contentType string) io.Writer {
			r, w := io.Pipe()
			streamed, posted = w, make(chan error, 1)
			h := http.Header{"Content-Type": {contentType}, "Lambda-Runtime-Function-Response-Mode": {"streaming"}}
			go func() {
				err := a.post("invocation/"+id+"/response", &trailerReader{r: r}, h)
				r.CloseWithError(context.Canceled)
				posted <- err
			}()
			return w
		}}
	payload, err := a.s.handle(call)
	if streamed != nil {
		if _, exits := errors.AsType[*exitError](err); exits {
			return err // its connection breaks with the process
		}
		streamed.CloseWithError(err)
		return <-posted
	}
	if err == nil {
		return a.post("invocation/"+id+"/response", bytes.NewReader(payload), nil)
	}
	payload, fatal, ok := report(err)
	if !ok {
		return err
	}
	if err := a.post("invocation/"+id+"/error", bytes.NewReader(payload), nil); err != nil || !fatal {
		return err
	}
	return Exit(1)
}

// trailerReader turns an error of the stream into the trailers by which the Runtime API learns of it.
type trailerReader struct {
	r       io.Reader
	trailer http.Header
}

func (t *trailerReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	payload, _, _ := report(err)
	e := &FunctionError{Type: "Error"}
	if fe, ok := errors.AsType[*FunctionError](err); ok {
		e = fe
	}
	t.trailer.Set("Lambda-Runtime-Function-Error-Type", e.Type)
	t.trailer.Set("Lambda-Runtime-Function-Error-Body", base64.StdEncoding.EncodeToString(payload))
	return n, io.EOF
}
