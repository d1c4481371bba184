package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/frame"
)

// MaxResponse is the largest buffered answer of a function, in bytes, as Lambda counts it.
const MaxResponse = hansom.MaxSyncPayload + 100

const (
	maxLogMessage = 256 << 10 // larger LOG frames are handed on in pieces
	copyLimit     = 32 << 10  // events up to this many bytes are copied behind their metadata; larger ones go out with writev
)

// FrameLink is the Link of managed runtimes: frames over the socket that the runtime has as fd 3 (see package frame).
// The goroutine that calls Invoke writes one frame and reads the answer itself. A link on which the runtime broke the protocol
// or missed a deadline is of no further use: each later call returns ErrClosed.
type FrameLink struct {
	socket socket
	log    LogFunc
	stream uint64    // of the last invocation sent
	ids    [2]string // request ids of streams stream and stream-1
	in     *Buffer   // what was read; nil while there is nothing unread
	r, w   int       // in.B[r:w] is unread
	broken bool
}

var _ Link = (*FrameLink)(nil)

// NewFrameLink returns a link over the server's end of a runtime's socket. log takes the messages of LOG frames.
func NewFrameLink(conn *net.UnixConn, log LogFunc) *FrameLink {
	return &FrameLink{socket: newSocket(conn), log: log}
}

// Close closes the socket; an Invoke under way returns ErrClosed.
func (l *FrameLink) Close() error { return l.socket.close() }

// CarriesFibers implements Carrier.
func (l *FrameLink) CarriesFibers() bool { return true }

// Init sends INIT without waiting for the runtime to boot, which saves a wake-up: a runtime reads it when it is ready.
func (l *FrameLink) Init(ctx context.Context, in *Init) error {
	if l.broken {
		return ErrClosed
	}
	load := frame.Load{Handler: in.Handler, TaskRoot: in.TaskRoot}
	for _, e := range in.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return hansom.Errorf(hansom.Internal, "init runtime", "environment entry %q is not of the form NAME=value", e)
		}
		load.Env = append(load.Env, [2]string{name, value})
	}
	if err := l.socket.begin(nil, time.Time{}); err != nil {
		return ErrClosed
	}
	defer l.socket.end()
	stop := context.AfterFunc(ctx, l.socket.interrupt)
	err := l.init(&load)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		l.broken = true
	}
	return err
}

func (l *FrameLink) init(load *frame.Load) error {
	body := frame.AppendLoad(make([]byte, frame.HeaderSize), load)
	if len(body)-frame.HeaderSize > frame.MaxBody {
		return hansom.Errorf(hansom.Internal, "init runtime", "environment of %d bytes is too large", len(body))
	}
	frame.AppendHeader(body[:0], frame.Header{Length: uint32(len(body) - frame.HeaderSize), Kind: frame.Init})
	// A runtime that failed to boot may have said why before it went, so a failed write does not keep us from reading.
	_ = l.socket.write(body)
	booted := false
	for {
		h, err := l.next()
		if err != nil {
			return err
		}
		switch {
		case h.Kind == frame.Log:
			err = l.logBody(h)
		case h.Kind == frame.Ping:
			err = l.pong(h)
		case h.Stream != 0:
			return protocolError("%s on stream %d before the first invocation", h.Kind, h.Stream)
		case h.Kind == frame.Error && h.Flags&frame.FlagInit != 0:
			buf, payload, err := l.body(h)
			if err != nil {
				return err
			}
			defer buf.Release()
			return &InitError{Payload: append([]byte(nil), payload...)}
		case h.Kind == frame.Ready && h.Flags&frame.FlagInit == 0 && !booted:
			booted = true
			err = l.checkBooted(h)
		case h.Kind == frame.Ready && h.Flags&frame.FlagInit != 0 && booted && h.Length == 0:
			return nil
		default:
			return protocolError("%s with flags %#x and %d bytes while it loads the function", h.Kind, h.Flags, h.Length)
		}
		if err != nil {
			return err
		}
	}
}

func (l *FrameLink) checkBooted(h frame.Header) error {
	if h.Length > smallBuffer {
		return protocolError("READY of %d bytes", h.Length)
	}
	buf, body, err := l.body(h)
	if err != nil {
		return err
	}
	defer buf.Release()
	booted, err := frame.ParseBooted(body)
	if err != nil {
		return protocolError("%v", err)
	}
	if booted.Protocol != frame.Version {
		return protocolError("its bootstrap speaks version %d of the frame protocol, the server version %d", booted.Protocol, frame.Version)
	}
	return nil
}

// Invoke implements Link. A LOG frame of an earlier invocation is still logged; a second answer to one is dropped; an answer to
// an invocation that was never sent breaks the link.
func (l *FrameLink) Invoke(req *Request, sink hansom.Sink) (Response, error) {
	if l.broken {
		return Response{}, ErrClosed
	}
	resp, err := l.invoke(req, sink)
	if err != nil {
		l.broken = true
		l.drop()
	}
	return resp, err
}

func (l *FrameLink) invoke(req *Request, sink hansom.Sink) (Response, error) {
	var deadline time.Time
	if req.Deadline != 0 {
		deadline = time.UnixMilli(req.Deadline)
	}
	if err := l.socket.begin(req.Fiber, deadline); err != nil {
		return Response{}, ErrUndelivered
	}
	defer l.socket.end()
	if err := l.settle(); err != nil {
		return Response{}, err
	}
	if err := l.send(req); err != nil {
		if errors.Is(err, net.ErrClosed) {
			return Response{}, ErrUndelivered
		}
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			return Response{}, readError(err)
		}
		// It ended while it was idle. What it had still logged is in the socket.
		for err = nil; err == nil; {
			var h frame.Header
			if h, err = l.await(); err == nil {
				err = l.skip(int64(h.Length))
			}
		}
		return Response{}, ErrUndelivered
	}
	l.stream++
	l.ids[0], l.ids[1] = req.ID, l.ids[0]
	return l.answer(sink)
}

// send writes one INVOKE for stream l.stream+1.
func (l *FrameLink) send(req *Request) error {
	call := frame.Call{Deadline: req.Deadline, RequestID: req.ID, ARN: req.ARN, Trace: req.Trace, ClientContext: req.ClientContext}
	length := call.Size() + len(req.Payload)
	if length > frame.MaxBody {
		return hansom.Errorf(hansom.TooLarge, "invoke", "event of %d bytes is too large", len(req.Payload))
	}
	buf := NewBuffer(frame.HeaderSize + call.Size() + copyLimit)
	defer buf.Release()
	b := frame.AppendHeader(buf.B[:0], frame.Header{Length: uint32(length), Kind: frame.Invoke, Stream: l.stream + 1})
	b = frame.AppendCall(b, &call)
	l.socket.asked = true
	if len(req.Payload) <= copyLimit {
		return l.socket.write(append(b, req.Payload...))
	}
	return l.socket.writeBoth(b, req.Payload)
}

// answer reads frames until the current stream has ended.
func (l *FrameLink) answer(sink hansom.Sink) (Response, error) {
	h, err := l.await()
	if err != nil {
		return Response{}, err
	}
	switch {
	case h.Kind == frame.Error:
		buf, payload, err := l.body(h)
		if err != nil {
			return Response{}, err
		}
		if payload == nil {
			resp := TooLarge(MaxResponse)
			resp.Fatal = h.Flags&frame.FlagFatal != 0
			return resp, nil
		}
		return Response{Payload: payload, Error: true, Fatal: h.Flags&frame.FlagFatal != 0, Release: buf.ReleaseFunc()}, nil
	case h.Kind == frame.Result && h.Flags&frame.FlagStream == 0:
		buf, payload, err := l.body(h)
		if err != nil {
			return Response{}, err
		}
		if payload == nil {
			return TooLarge(MaxResponse), nil
		}
		return Response{Payload: payload, Release: buf.ReleaseFunc()}, nil
	case h.Kind == frame.Result:
		return l.stream200(h, sink)
	}
	return Response{}, protocolError("%s before its answer began", h.Kind)
}

// stream200 relays a streamed answer: to sink, or into memory when there is none.
func (l *FrameLink) stream200(h frame.Header, sink hansom.Sink) (Response, error) {
	if h.Length > smallBuffer {
		return Response{}, protocolError("content type of %d bytes", h.Length)
	}
	buf, body, err := l.body(h)
	if err != nil {
		return Response{}, err
	}
	contentType := string(body)
	buf.Release()
	out := NewStream(sink, contentType)
	for {
		h, err := l.await()
		if err == nil && h.Kind == frame.Chunk {
			err = l.chunk(h, out)
		}
		if err != nil {
			out.Discard()
			return Response{}, err
		}
		switch {
		case h.Kind == frame.Chunk:
		case h.Kind == frame.End && h.Flags&frame.FlagError == 0:
			if h.Length != 0 {
				return Response{}, protocolError("END with %d bytes", h.Length)
			}
			return out.End(), nil
		case h.Kind == frame.End, h.Kind == frame.Error:
			out.Discard()
			buf, payload, err := l.body(h)
			if err != nil {
				return Response{}, err
			}
			resp := TooLarge(MaxResponse)
			if payload != nil {
				resp = Response{Payload: payload, Error: true, Release: buf.ReleaseFunc()}
			}
			resp.Streamed = sink != nil
			resp.Fatal = h.Flags&frame.FlagFatal != 0
			return resp, nil
		default:
			out.Discard()
			return Response{}, protocolError("%s inside a streamed answer", h.Kind)
		}
	}
}

// chunk passes the body of a CHUNK on as it comes in.
func (l *FrameLink) chunk(h frame.Header, out *Stream) error {
	for left := int(h.Length); left > 0; {
		if l.r == l.w {
			out.Flush()
			if l.in != nil && left > len(l.in.B) && len(l.in.B) < mediumBuffer {
				l.drop()
				l.in = NewBuffer(mediumBuffer)
			}
			if err := l.fill(1); err != nil {
				return err
			}
		}
		n := min(left, l.w-l.r)
		out.Write(l.in.B[l.r : l.r+n])
		l.r += n
		left -= n
	}
	if l.w-l.r < frame.HeaderSize {
		out.Flush() // the next frame is yet to come
	}
	return nil
}

// await returns the header of the next frame that belongs to the current stream's answer; it deals with all others.
func (l *FrameLink) await() (frame.Header, error) {
	for {
		h, err := l.next()
		if err != nil {
			return h, err
		}
		if err := l.check(h); err != nil {
			return h, err
		}
		switch {
		case h.Kind == frame.Log:
			err = l.logBody(h)
		case h.Kind == frame.Ping:
			err = l.pong(h)
		case h.Stream == l.stream:
			return h, nil
		default: // a second answer to an invocation that has ended
			err = l.skip(int64(h.Length))
		}
		if err != nil {
			return h, err
		}
	}
}

// check refuses frames that a runtime which has loaded its function may not send.
func (l *FrameLink) check(h frame.Header) error {
	switch h.Kind {
	case frame.Ping:
		return nil
	case frame.Log:
		if h.Stream <= l.stream {
			return nil
		}
	case frame.Result, frame.Error, frame.Chunk, frame.End:
		if h.Stream != 0 && h.Stream <= l.stream {
			return nil
		}
	}
	return protocolError("%s on stream %d; the last invocation was %d", h.Kind, h.Stream, l.stream)
}

// settle deals with what was read beyond the last answer, before the next invocation makes its stream the current one.
func (l *FrameLink) settle() error {
	for l.w-l.r >= frame.HeaderSize {
		h, err := frame.ParseHeader(l.in.B[l.r:l.w])
		if err != nil {
			return protocolError("%v", err)
		}
		if err := l.check(h); err != nil {
			return err
		}
		if int64(l.w-l.r) < frame.HeaderSize+int64(h.Length) {
			return nil // its header was looked at, which is what matters
		}
		l.r += frame.HeaderSize
		switch h.Kind {
		case frame.Log:
			err = l.logBody(h)
		case frame.Ping:
			err = l.pong(h)
		default:
			l.r += int(h.Length)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *FrameLink) requestID(stream uint64) string {
	switch {
	case stream == 0:
		return ""
	case stream == l.stream:
		return l.ids[0]
	case stream+1 == l.stream:
		return l.ids[1]
	}
	return ""
}

func (l *FrameLink) logBody(h frame.Header) error {
	id := l.requestID(h.Stream)
	for left := int(h.Length); left > 0; {
		part := h
		part.Length = uint32(min(left, maxLogMessage))
		left -= int(part.Length)
		if n := int(part.Length); l.w-l.r >= n {
			wait := l.log(id, l.in.B[l.r:l.r+n])
			l.r += n
			holdUp(l.socket.fiber, wait)
			continue
		}
		buf, message, err := l.body(part)
		if err != nil {
			return err
		}
		wait := l.log(id, message)
		buf.Release()
		holdUp(l.socket.fiber, wait)
	}
	return nil
}

func (l *FrameLink) pong(h frame.Header) error {
	if err := l.skip(int64(h.Length)); err != nil {
		return err
	}
	return readError(l.socket.write(frame.AppendHeader(nil, frame.Header{Kind: frame.Ping, Stream: h.Stream})))
}

// next reads a header.
func (l *FrameLink) next() (frame.Header, error) {
	if err := l.fill(frame.HeaderSize); err != nil {
		return frame.Header{}, err
	}
	h, err := frame.ParseHeader(l.in.B[l.r:l.w])
	if err != nil {
		return h, protocolError("%v", err)
	}
	l.r += frame.HeaderSize
	return h, nil
}

// body reads the body of a frame into a buffer that then belongs to the caller. It skips a body over MaxResponse: payload is nil.
func (l *FrameLink) body(h frame.Header) (buf *Buffer, payload []byte, err error) {
	n := int(h.Length)
	if n > MaxResponse {
		return nil, nil, l.skip(int64(n))
	}
	if l.in == nil {
		l.in, l.r, l.w = NewBuffer(smallBuffer), 0, 0
	}
	if n <= len(l.in.B)-l.r {
		if err := l.fill(n); err != nil {
			return nil, nil, err
		}
		buf, payload = l.in, l.in.B[l.r:l.r+n:l.r+n]
		rest := buf.B[l.r+n : l.w]
		l.in, l.r, l.w = nil, 0, len(rest)
		if len(rest) > 0 {
			l.in = NewBuffer(len(rest))
			copy(l.in.B, rest)
		}
		return buf, payload, nil
	}
	buf = NewBuffer(n)
	payload = buf.B[:n:n]
	have := copy(payload, l.in.B[l.r:l.w])
	l.drop()
	if _, err := io.ReadFull(&l.socket, payload[have:]); err != nil {
		buf.Release()
		return nil, nil, readError(err)
	}
	return buf, payload, nil
}

func (l *FrameLink) skip(n int64) error {
	for n > 0 {
		if l.r == l.w {
			if err := l.fill(1); err != nil {
				return err
			}
		}
		k := min(n, int64(l.w-l.r))
		l.r += int(k)
		n -= k
	}
	return nil
}

// fill reads until at least n bytes, at most a small buffer's size, are unread.
func (l *FrameLink) fill(n int) error {
	if l.w-l.r >= n {
		return nil
	}
	if l.in == nil {
		l.in, l.r, l.w = NewBuffer(smallBuffer), 0, 0
	}
	if l.r == l.w {
		l.r, l.w = 0, 0
	} else if len(l.in.B)-l.r < n {
		l.w = copy(l.in.B, l.in.B[l.r:l.w])
		l.r = 0
	}
	for l.w-l.r < n {
		k, err := l.socket.Read(l.in.B[l.w:])
		l.w += k
		if err != nil {
			return readError(err)
		}
	}
	return nil
}

// unread takes over what was read beyond the last frame: buf.B[r:w]. buf may be nil.
func (l *FrameLink) unread() (buf *Buffer, r, w int) {
	buf, r, w = l.in, l.r, l.w
	l.in, l.r, l.w = nil, 0, 0
	return buf, r, w
}

// drop forgets what is unread and gives the buffer back.
func (l *FrameLink) drop() {
	if l.in != nil {
		l.in.Release()
	}
	l.in, l.r, l.w = nil, 0, 0
}

// readError maps an error of the socket to what Link promises.
func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, syscall.ECONNRESET):
		return ErrUndelivered // a Unix socket says so when the peer closed it with the event unread
	}
	var e *hansom.Error
	if errors.As(err, &e) {
		return err
	}
	return ErrClosed
}

// TooLarge is the answer in place of one over limit bytes, in Lambda's words.
func TooLarge(limit int) Response {
	return Response{Error: true, Payload: []byte(`{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (` +
		strconv.Itoa(limit) + ` bytes)."}`)}
}
