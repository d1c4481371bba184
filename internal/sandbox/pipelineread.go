package sandbox

import (
	"io"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/loop"
)

// read takes what the runtime sends, to its end.
func (l *Pipeline) read() {
	var err error
	for err == nil {
		var h frame.Header
		if h, err = l.next(); err == nil {
			err = l.take(h)
		}
	}
	if l.in != nil {
		l.in.Release()
	}
	if l.fiber != nil {
		l.fiber.Detach()
	} else {
		_ = l.conn.SetWriteDeadline(time.Unix(1, 0)) // ends what writes in the background
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	for l.writing {
		l.idle.Wait() // then it is known what was sent
	}
	if l.fiber != nil {
		l.watch.Close()
		_ = syscall.Close(l.fd)
		l.closed = true
	}
	for _, b := range l.queue {
		b.Release()
	}
	l.queue = nil
	if l.timer != nil {
		l.timer.Stop()
	}
	reset := err == ErrUndelivered
	if reset {
		err = ErrClosed
	}
	for _, c := range l.calls {
		if c.end > l.sent || reset && c.stream == l.tail {
			l.end(c, Response{}, ErrUndelivered)
		} else {
			l.end(c, Response{}, err)
		}
	}
}

// take deals with one frame.
func (l *Pipeline) take(h frame.Header) error {
	n := int(h.Length)
	switch h.Kind {
	case frame.Ping:
		return l.pong(h)
	case frame.Log:
		return l.logBody(h)
	case frame.Result, frame.Error, frame.Chunk, frame.End:
	default:
		return protocolError("%s on stream %d", h.Kind, h.Stream)
	}
	l.mu.Lock()
	c, last := l.calls[h.Stream], l.last
	begun, credit := false, 0
	if c != nil {
		begun, credit = c.begun, c.credit
	}
	l.mu.Unlock()
	switch {
	case h.Stream == 0 || h.Stream > last:
		return protocolError("%s on stream %d; the last invocation was %d", h.Kind, h.Stream, last)
	case c == nil: // of an invocation that has ended
		return l.skip(n)
	case h.Kind == frame.Result && begun:
		return protocolError("%s inside a streamed answer", h.Kind)
	case (h.Kind == frame.Chunk || h.Kind == frame.End) && !begun:
		return protocolError("%s before its answer began", h.Kind)
	case h.Kind == frame.Chunk && n > credit:
		return protocolError("CHUNK of %d bytes on stream %d, which has credit for %d", n, h.Stream, credit)
	case h.Kind == frame.Chunk:
		return l.chunk(h.Stream, n)
	case h.Kind == frame.Result && h.Flags&frame.FlagStream != 0:
		return l.begin(h.Stream, n)
	case h.Kind == frame.End && h.Flags&frame.FlagError == 0:
		if n != 0 {
			return protocolError("END with %d bytes", n)
		}
		l.answer(h.Stream, Response{})
		return nil
	}
	resp := Response{Error: h.Kind != frame.Result, Fatal: h.Flags&frame.FlagFatal != 0}
	if n > MaxResponse {
		if err := l.skip(n); err != nil {
			return err
		}
		large := TooLarge(MaxResponse)
		large.Fatal = resp.Fatal
		l.answer(h.Stream, large)
		return nil
	}
	b := NewBuffer(n)
	if err := l.fillBuffer(b.B[:n]); err != nil {
		b.Release()
		return err
	}
	resp.Payload, resp.Release = b.B[:n:n], b.ReleaseFunc()
	l.answer(h.Stream, resp)
	return nil
}

// answer ends the invocation of a stream, unless it has ended meanwhile.
func (l *Pipeline) answer(stream uint64, resp Response) {
	l.mu.Lock()
	c := l.calls[stream]
	if c != nil {
		l.end(c, resp, nil)
	}
	l.mu.Unlock()
	if c == nil && resp.Release != nil {
		resp.Release()
	}
}

func (l *Pipeline) begin(stream uint64, n int) error {
	if n > smallBuffer {
		return protocolError("content type of %d bytes", n)
	}
	contentType := make([]byte, n)
	if err := l.fillBuffer(contentType); err != nil {
		return err
	}
	l.mu.Lock()
	if c := l.calls[stream]; c != nil {
		c.begun, c.contentType = true, string(contentType)
		c.signal()
	}
	l.mu.Unlock()
	return nil
}

// chunk keeps n bytes of a stream for its caller. Small pieces share a buffer, so that they take no more memory than they have credit.
func (l *Pipeline) chunk(stream uint64, n int) error {
	for n > 0 {
		if l.r == l.w && n > smallBuffer {
			b := NewBuffer(n)
			b.B = b.B[:n]
			if err := l.fillBuffer(b.B); err != nil {
				b.Release()
				return err
			}
			l.mu.Lock()
			c := l.calls[stream]
			if c != nil {
				c.credit -= n
				c.chunks = append(c.chunks, b)
				c.signal()
			}
			l.mu.Unlock()
			if c == nil {
				b.Release()
			}
			return nil
		}
		if err := l.fill(1); err != nil {
			return err
		}
		k := min(n, l.w-l.r)
		l.mu.Lock()
		if c := l.calls[stream]; c != nil {
			c.keep(l.in.B[l.r : l.r+k])
			c.signal()
		}
		l.mu.Unlock()
		l.r += k
		n -= k
	}
	return nil
}

// keep copies p behind what was not taken yet.
func (c *exchange) keep(p []byte) {
	c.credit -= len(p)
	if i := len(c.chunks) - 1; i >= 0 {
		b := c.chunks[i]
		k := min(len(p), cap(b.B)-len(b.B))
		b.B = append(b.B, p[:k]...)
		p = p[k:]
	}
	if len(p) > 0 {
		b := NewBuffer(len(p))
		b.B = append(b.B[:0], p...)
		c.chunks = append(c.chunks, b)
	}
}

func (l *Pipeline) logBody(h frame.Header) error {
	l.mu.Lock()
	last, id := l.last, ""
	if c := l.calls[h.Stream]; c != nil {
		id = c.id
	} else if h.Stream != 0 && h.Stream <= last && last-h.Stream < recentStreams {
		id = l.recent[h.Stream%recentStreams]
	}
	l.mu.Unlock()
	if h.Stream > last {
		return protocolError("%s on stream %d; the last invocation was %d", h.Kind, h.Stream, last)
	}
	for left := int(h.Length); left > 0; {
		n := min(left, maxLogMessage)
		left -= n
		if l.w-l.r >= n {
			wait := l.log(id, l.in.B[l.r:l.r+n])
			l.r += n
			holdUp(l.fiber, wait)
			continue
		}
		b := NewBuffer(n)
		err := l.fillBuffer(b.B[:n])
		if err == nil {
			holdUp(l.fiber, l.log(id, b.B[:n]))
		}
		b.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Pipeline) pong(h frame.Header) error {
	if err := l.skip(int(h.Length)); err != nil {
		return err
	}
	l.mu.Lock()
	if l.control > maxControl {
		l.mu.Unlock()
		return protocolError("PING after PING, whose answers it does not read")
	}
	if l.err == nil {
		l.tell(frame.Ping, h.Stream, nil)
	}
	l.flush(false)
	return nil
}

// next reads a header.
func (l *Pipeline) next() (frame.Header, error) {
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

func (l *Pipeline) skip(n int) error {
	for n > 0 {
		if err := l.fill(1); err != nil {
			return err
		}
		k := min(n, l.w-l.r)
		l.r += k
		n -= k
	}
	return nil
}

// fillBuffer fills p with what comes next.
func (l *Pipeline) fillBuffer(p []byte) error {
	if l.in != nil {
		n := copy(p, l.in.B[l.r:l.w])
		l.r += n
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	if l.fiber == nil {
		_, err := io.ReadFull(l.conn, p)
		return readError(err)
	}
	for len(p) > 0 {
		if err := l.ready(); err != nil {
			return readError(err)
		}
		n, err := l.receive(p)
		if err != nil {
			return readError(err)
		}
		p = p[n:]
	}
	return nil
}

// fill reads until at least n bytes, at most a header's size, are unread.
func (l *Pipeline) fill(n int) error {
	if l.w-l.r >= n {
		return nil
	}
	if l.r > 0 {
		if l.r < l.w {
			l.w = copy(l.in.B, l.in.B[l.r:l.w])
		} else {
			l.w = 0
		}
		l.r = 0
	}
	for l.w < n {
		if l.fiber != nil {
			if err := l.ready(); err != nil {
				return readError(err)
			}
			if l.in == nil {
				l.in = NewBuffer(smallBuffer)
			}
			k, err := l.receive(l.in.B[l.w:])
			if err != nil {
				return readError(err)
			}
			l.w += k
			continue
		}
		if err := l.raw.Read(l.readFD); err != nil {
			return readError(err)
		}
		if l.inErr != nil {
			return readError(l.inErr)
		}
		l.w += l.inN
	}
	return nil
}

// tryRead reads behind what is unread; false when there is nothing. Nothing unread means no buffer: instances that are idle hold none.
func (l *Pipeline) tryRead(fd uintptr) bool {
	if l.in == nil {
		l.in = NewBuffer(smallBuffer)
	}
	for {
		n, err := syscall.Read(int(fd), l.in.B[l.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if l.w == 0 {
				l.in.Release()
				l.in = nil
			}
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		l.inN, l.inErr = n, err
		return true
	}
}

// ready waits, on the loop, while there is nothing to read. Nothing unread means no buffer: instances that are idle hold none.
func (l *Pipeline) ready() error {
	if !l.dry || l.ended.Load() {
		return nil
	}
	if l.in != nil && l.r == l.w {
		l.in.Release()
		l.in, l.r, l.w = nil, 0, 0
	}
	l.fiber.Attach()
	if err := l.watch.Wait(l.fiber, time.Time{}); err != nil {
		return err
	}
	l.dry, l.taken = false, 0
	l.mu.Lock()
	if !l.full {
		l.mu.Unlock()
		return nil
	}
	l.full = false
	l.flush(false)
	l.mu.Lock()
	if !l.full {
		_ = l.watch.Writes(false)
	}
	l.mu.Unlock()
	return nil
}

// maxTurn is how many bytes may be read on an event loop without a wait.
const maxTurn = 64 << 10

// receive reads some of what has come; 0 when there was nothing. Who sends much does not hold up the loop.
func (l *Pipeline) receive(p []byte) (int, error) {
	n, err := loop.Read(l.fd, p)
	switch {
	case n > 0:
		l.dry = n < len(p)
		if l.taken += n; l.taken > maxTurn {
			l.fiber.Detach()
		}
		return n, nil
	case err == nil:
		return 0, io.EOF
	case err == syscall.EAGAIN:
		l.dry = true
		return 0, nil
	}
	return 0, err
}
