package sandbox

import (
	"context"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/loop"
)

const (
	recentStreams = 128      // streams whose late log messages still find their request
	maxControl    = 64 << 10 // bytes of PING and WINDOW that a runtime may leave unread
	together      = 4        // events of fibers that are written at once: with more a runtime and its loop only wait for each other
)

// Pipeline is the Link of managed runtimes that may take several invocations at once, which Init.Slots says; it is a FrameLink
// for those that take one. Callers append their INVOKE to one queue, and one of them writes all that has gathered: fibers when there
// are some, or when all of them that can go on have done so. One fiber, or a goroutine where there is no loop, reads and wakes the
// callers. Neither ever waits for a sink: a streamed answer has credit (frame.Credit), which its caller grants again as the sink
// takes it. A missed deadline sends CANCEL and leaves the other invocations alone.
type Pipeline struct {
	conn  *net.UnixConn
	raw   syscall.RawConn
	log   LogFunc
	loop  *loop.Loop     // nil where Go's poller looks after conn
	watch *loop.Watch    // of fd; nil without a loop
	fd    int            // conn's, once that is closed
	first *FrameLink     // carries INIT, and all else with one slot
	many  bool           // there are more
	work  sync.WaitGroup // the reader and what writes in the background
	due   func()         // flushes what fibers have queued

	mu      sync.Mutex
	calls   map[uint64]*exchange // that wait for an answer, by stream
	recent  []string             // request ids, by stream
	last    uint64               // stream of the latest invocation
	err     error                // what ended the link
	timer   *time.Timer          // nil before the first deadline
	alarm   int64                // when it fires, in Unix milliseconds; 0 when it is not set
	queue   []*Buffer            // what is to be written, B being what is used of each
	queued  int64                // bytes that were ever put there
	sent    int64                // of them, those that are in the socket
	tail    uint64               // stream of the frame queued last; 0 when it was no INVOKE
	idle    sync.Cond            // writing has become false
	writing bool                 // somebody takes from queue
	awaited bool                 // due will be called
	waiting int                  // events that fibers queued since the last write
	full    bool                 // the socket is: the reader goes on with queue when there is room
	closed  bool                 // fd is
	control int                  // bytes of PING and WINDOW queued since all was written

	// Of the one that writes.
	out     []byte
	outN    int
	outErr  error
	writeFD func(fd uintptr) bool

	// Of the reader.
	in     *Buffer // nil while there is nothing unread
	r, w   int     // in.B[r:w] is unread
	inN    int
	inErr  error
	readFD func(fd uintptr) bool
	fiber  *loop.Fiber // that it is; nil for a goroutine
	taken  int         // bytes read since it waited last
	dry    bool        // all that came was read: it is pointless to try before something has happened
	ended  atomic.Bool // the runtime's side has
}

// exchange is one invocation in flight. All but wake is guarded by Pipeline.mu.
type exchange struct {
	wake     chan struct{}
	fiber    *loop.Fiber // that waits; a goroutine waits for wake
	news     bool        // something below has changed
	stream   uint64
	id       string // of the request
	deadline int64  // Unix milliseconds; 0 is none
	end      int64  // Pipeline.queued after its INVOKE

	over        bool // resp or err is its end
	resp        Response
	err         error
	begun       bool // its answer is streamed
	contentType string
	chunks      []*Buffer // that came in and were not taken yet
	credit      int       // bytes that the runtime may still send
}

var exchanges = sync.Pool{New: func() any { return &exchange{wake: make(chan struct{}, 1)} }}

var (
	_ Link    = (*Pipeline)(nil)
	_ Carrier = (*Pipeline)(nil)
)

// NewPipeline returns a link over the server's end of a runtime's socket, which on, unless it is nil, looks after. log takes the
// messages of LOG frames.
func NewPipeline(conn *net.UnixConn, on *loop.Loop, log LogFunc) *Pipeline {
	return &Pipeline{conn: conn, loop: on, log: log, first: NewFrameLink(conn, log)}
}

// CarriesFibers implements Carrier.
func (l *Pipeline) CarriesFibers() bool { return !l.many || l.loop != nil }

// Init implements Link.
func (l *Pipeline) Init(ctx context.Context, in *Init) error {
	if err := l.first.Init(ctx, in); err != nil || in.Slots <= 1 {
		return err
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return ErrClosed
	}
	l.raw, l.many = raw, true
	l.calls, l.recent = map[uint64]*exchange{}, make([]string, recentStreams)
	l.idle.L = &l.mu
	l.writeFD, l.readFD, l.due = l.tryWrite, l.tryRead, l.flushDue
	l.in, l.r, l.w = l.first.unread()
	if l.loop != nil {
		return l.join()
	}
	l.work.Go(l.read)
	return nil
}

// join has the loop look after the socket, and read it.
func (l *Pipeline) join() error {
	fd, err := duplicate(l.conn)
	if err != nil {
		return ErrClosed
	}
	_ = l.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch, err = l.loop.Watch(fd, func() { l.ended.Store(true) }); err == nil {
		l.fd = fd
		l.work.Add(1)
		err = l.loop.Go(func(f *loop.Fiber) {
			defer l.work.Done()
			l.fiber = f
			l.read()
		})
		if err == nil {
			return nil
		}
		l.work.Done()
		l.watch.Close()
	}
	_ = syscall.Close(fd)
	l.closed, l.err = true, ErrClosed
	return ErrClosed
}

// Close closes the socket, which ends all invocations with ErrClosed. It waits, which a fiber must not do.
func (l *Pipeline) Close() error {
	err := l.first.Close()
	l.mu.Lock()
	if l.watch != nil && !l.closed {
		l.watch.Close()
		_ = syscall.Shutdown(l.fd, syscall.SHUT_RDWR)
	}
	l.mu.Unlock()
	l.work.Wait()
	return err
}

// Invoke implements Link. With several slots it may be called by as many at once.
func (l *Pipeline) Invoke(req *Request, sink hansom.Sink) (Response, error) {
	if !l.many {
		return l.first.Invoke(req, sink)
	}
	c := exchanges.Get().(*exchange)
	if err := l.send(c, req); err != nil {
		c.put()
		return Response{}, err
	}
	f, _ := req.Fiber.(*loop.Fiber)
	resp, err := l.await(c, f, sink)
	c.put()
	return resp, err
}

func (c *exchange) put() {
	select {
	case <-c.wake:
	default:
	}
	*c = exchange{wake: c.wake}
	exchanges.Put(c)
}

// send queues an INVOKE and sees to it that it is written.
func (l *Pipeline) send(c *exchange, req *Request) error {
	call := frame.Call{Deadline: req.Deadline, RequestID: req.ID, ARN: req.ARN, Trace: req.Trace, ClientContext: req.ClientContext}
	size := call.Size() + len(req.Payload)
	if size > frame.MaxBody {
		return hansom.Errorf(hansom.TooLarge, "invoke", "event of %d bytes is too large", len(req.Payload))
	}
	var large *Buffer // is filled before others are made to wait
	if size > copyLimit {
		large = NewBuffer(frame.HeaderSize + size)
		b := frame.AppendHeader(large.B[:0], frame.Header{Length: uint32(size), Kind: frame.Invoke})
		large.B = append(frame.AppendCall(b, &call), req.Payload...)
	}
	c.id, c.deadline, c.credit = req.ID, req.Deadline, frame.Credit
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		if large != nil {
			large.Release()
		}
		return ErrUndelivered
	}
	l.last++
	c.stream = l.last
	l.calls[c.stream] = c
	l.recent[c.stream%recentStreams] = req.ID
	if large != nil {
		frame.AppendHeader(large.B[:0], frame.Header{Length: uint32(size), Kind: frame.Invoke, Stream: c.stream})
		l.queue = append(l.queue, large)
	} else {
		b := l.room(frame.HeaderSize + size)
		b.B = frame.AppendHeader(b.B, frame.Header{Length: uint32(size), Kind: frame.Invoke, Stream: c.stream})
		b.B = append(frame.AppendCall(b.B, &call), req.Payload...)
	}
	l.queued += int64(frame.HeaderSize + size)
	c.end, l.tail = l.queued, c.stream
	if c.deadline != 0 && (l.alarm == 0 || c.deadline < l.alarm) {
		l.arm(c.deadline)
	}
	f, _ := req.Fiber.(*loop.Fiber)
	if f == nil || f.Detached() {
		l.flush(true)
		return nil
	}
	if l.waiting++; l.waiting == together {
		l.waiting = 0
		l.flush(false)
		return nil
	}
	awaited := l.awaited
	l.awaited = true
	l.mu.Unlock()
	if !awaited {
		f.Loop().Later(l.due)
	}
	return nil
}

// flushDue writes what fibers have queued.
func (l *Pipeline) flushDue() {
	l.mu.Lock()
	l.awaited, l.waiting = false, 0
	l.flush(false)
}

// room returns the last buffer of the queue when n bytes more fit, else a new one. l is locked.
func (l *Pipeline) room(n int) *Buffer {
	if i := len(l.queue) - 1; i >= 0 && cap(l.queue[i].B)-len(l.queue[i].B) >= n {
		return l.queue[i]
	}
	b := NewBuffer(n)
	b.B = b.B[:0]
	l.queue = append(l.queue, b)
	return b
}

// tell queues a small frame. l is locked.
func (l *Pipeline) tell(kind frame.Kind, stream uint64, body []byte) {
	n := frame.HeaderSize + len(body)
	b := l.room(n)
	b.B = append(frame.AppendHeader(b.B, frame.Header{Length: uint32(len(body)), Kind: kind, Stream: stream}), body...)
	l.queued += int64(n)
	l.control += n
	l.tail = 0
}

// flush writes what is queued, unless somebody does so already. What the socket does not take at once goes out in the background:
// a caller has its own deadline to watch. gather lets goroutines that are about to run add their events. l is locked; flush unlocks.
func (l *Pipeline) flush(gather bool) {
	if l.writing || l.full {
		l.mu.Unlock()
		return
	}
	l.writing = true
	if gather && len(l.calls) > 1 {
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	for {
		b := l.dequeue()
		l.mu.Unlock()
		if b == nil {
			return
		}
		l.out, l.outN, l.outErr = b.B, 0, nil
		var err error
		if l.loop == nil {
			err = l.raw.Write(l.writeFD)
		} else {
			l.tryWrite(uintptr(l.fd))
		}
		n := l.outN
		l.out = nil
		if err == nil {
			err = l.outErr
		}
		l.mu.Lock()
		l.sent += int64(n)
		if err == nil && n < len(b.B) {
			if l.loop == nil {
				l.work.Go(func() { l.writeRest(b, n) })
			} else {
				b.B = b.B[n:]
				l.queue = slices.Insert(l.queue, 0, b)
				l.writing, l.full = false, true
				l.idle.Broadcast()
				_ = l.watch.Writes(true)
			}
			l.mu.Unlock()
			return
		}
		b.Release()
		if err != nil {
			l.unwritable()
			l.mu.Unlock()
			return
		}
	}
}

// dequeue returns the next buffer to write; nil when there is none and nobody writes any more. l is locked.
func (l *Pipeline) dequeue() *Buffer {
	if len(l.queue) == 0 || l.err != nil {
		l.writing, l.control = false, 0
		l.idle.Broadcast()
		return nil
	}
	b := l.queue[0]
	n := copy(l.queue, l.queue[1:])
	l.queue[n] = nil
	l.queue = l.queue[:n]
	return b
}

// unwritable ends writing: the runtime has gone, of which the reader learns too, once it has read what the runtime left. l is locked.
func (l *Pipeline) unwritable() {
	l.writing = false
	l.err = ErrClosed
	l.idle.Broadcast()
}

// tryWrite writes l.out as far as the socket takes it.
func (l *Pipeline) tryWrite(fd uintptr) bool {
	for l.outN < len(l.out) {
		n, err := loop.Write(int(fd), l.out[l.outN:])
		switch {
		case err == nil:
			l.outN += n
		case err == syscall.EAGAIN:
			return true
		default:
			l.outErr = err
			return true
		}
	}
	return true
}

// writeRest writes b from its n-th byte on, and all that is queued after it.
func (l *Pipeline) writeRest(b *Buffer, n int) {
	for b != nil {
		k, err := l.conn.Write(b.B[n:])
		b.Release()
		l.mu.Lock()
		l.sent += int64(k)
		if err != nil {
			l.unwritable()
			l.mu.Unlock()
			return
		}
		b, n = l.dequeue(), 0
		l.mu.Unlock()
	}
}

// arm makes expire run at a time in Unix milliseconds. l is locked.
func (l *Pipeline) arm(at int64) {
	l.alarm = at
	d := time.Until(time.UnixMilli(at))
	if l.timer == nil {
		l.timer = time.AfterFunc(d, l.expire)
	} else {
		l.timer.Reset(d)
	}
}

// expire ends the invocations whose deadline is over. The timer is not moved when the invocation that set it has been answered,
// which spares each its cost.
func (l *Pipeline) expire() {
	now, next := time.Now().UnixMilli(), int64(0)
	l.mu.Lock()
	l.alarm = 0
	for stream, c := range l.calls {
		switch {
		case c.deadline == 0:
		case c.deadline <= now:
			l.end(c, Response{}, os.ErrDeadlineExceeded)
			l.tell(frame.Cancel, stream, nil)
		case next == 0 || c.deadline < next:
			next = c.deadline
		}
	}
	if next != 0 {
		l.arm(next)
	}
	l.flush(false)
}

// end gives an invocation its end. l is locked.
func (l *Pipeline) end(c *exchange, resp Response, err error) {
	delete(l.calls, c.stream)
	c.over, c.resp, c.err = true, resp, err
	c.signal()
}

// signal has the caller look. The link is locked.
func (c *exchange) signal() {
	c.news = true
	if f := c.fiber; f != nil {
		c.fiber = nil
		f.Resume()
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// wait waits for a signal; f is the caller's fiber, if it has one. The link is locked.
func (l *Pipeline) wait(c *exchange, f *loop.Fiber) {
	for !c.news {
		on := f != nil && !f.Detached()
		if on {
			c.fiber = f
		}
		l.mu.Unlock()
		if on {
			f.Suspend()
		} else {
			<-c.wake
		}
		l.mu.Lock()
	}
	c.news = false
}

// await waits for the end of an invocation and passes on what is streamed meanwhile.
func (l *Pipeline) await(c *exchange, f *loop.Fiber, sink hansom.Sink) (Response, error) {
	var out *Stream
	taken := 0 // bytes of the stream for which credit was not granted again
	for {
		l.mu.Lock()
		l.wait(c, f)
		over, chunks, begun, contentType := c.over, c.chunks, c.begun, c.contentType
		c.chunks = nil
		l.mu.Unlock()
		if out == nil && begun {
			out = NewStream(sink, contentType)
		}
		for _, b := range chunks {
			out.Write(b.B)
			taken += len(b.B)
			b.Release()
			if taken >= frame.Credit/2 && !over {
				l.grant(c, taken)
				taken = 0
			}
		}
		switch {
		case !over:
			if out != nil {
				out.Flush() // the next part is yet to come
			}
		case out == nil:
			return c.resp, c.err
		case c.err != nil:
			out.Discard()
			return Response{}, c.err
		case c.resp.Error:
			out.Discard()
			c.resp.Streamed = sink != nil
			return c.resp, nil
		default:
			return out.End(), nil
		}
	}
}

// grant lets the runtime send n bytes more of a stream.
func (l *Pipeline) grant(c *exchange, n int) {
	l.mu.Lock()
	if c.over || l.err != nil || l.control > maxControl { // one that does not read what it was granted will run out
		l.mu.Unlock()
		return
	}
	c.credit += n
	l.tell(frame.Window, c.stream, frame.AppendWindow(nil, uint32(n)))
	l.flush(false)
}
