package pool

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/pool/pace"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

const (
	maxLine  = 256 << 10 // bytes; longer lines are taken apart, as CloudWatch Logs limits an event
	tailSize = 4 << 10   // bytes of Result.LogTail
	maxDrain = 1 << 20   // bytes read after a result: more than a pipe holds was written later
	readSize = 32 << 10
)

// output turns what an instance writes into log events that carry the request they belong to. What it holds back is at most
// one line.
type output struct {
	logs Logs
	file *os.File // nil when the sandbox has no output
	raw  syscall.RawConn

	budget *pace.Budget // of all instances of the version; nil when nothing is read

	extensions *output             // what external extensions print; nil when there are none
	main       *output             // of these extensions' output, through which it logs; nil otherwise
	publish    func(sandbox.Event) // nil when nobody can subscribe to what is logged

	mu      sync.Mutex
	least   int             // rank of the function's lines that are kept; 0 keeps all
	stamp   hansom.LogEvent // project, group, function, version and instance of events
	partial []byte          // a line without its end
	calls   []*journal      // that run
	eof     bool

	drainFD func(fd uintptr) // made once: a closure for each call would be an allocation
}

// journal is what is logged for one call.
type journal struct {
	id      string
	source  string // Invocation.Source
	place   int    // in output.calls
	tailing bool   // keep the end of it
	tail    []byte // the end, and a bit more
}

// buffers serve every reader: an instance that is silent holds none.
var buffers = sync.Pool{New: func() any { return new([readSize]byte) }}

func newOutput(logs Logs, v *hansom.Version, id string, file *os.File) (*output, error) {
	o := &output{logs: logs, file: file, eof: file == nil,
		least: rank(v.Logging.Application),
		stamp: hansom.LogEvent{Project: v.Project, Group: v.Logging.Group, Function: v.Function, Version: v.Number, Instance: id}}
	if file == nil {
		return o, nil
	}
	// A file that the poller does not know would block drain.
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "read output", "the driver's output is no pipe: %w", err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "read output", "%w", err)
	}
	o.raw = raw
	o.drainFD = func(fd uintptr) { o.read(int(fd), maxDrain) }
	return o, nil
}

// follow reads until the end of the output. drain may read beside it.
func (o *output) follow() {
	if o.extensions != nil {
		done := make(chan struct{})
		go func() {
			o.extensions.follow()
			close(done)
		}()
		defer func() { <-done }()
	}
	if o.file == nil {
		return
	}
	_ = o.raw.Read(func(fd uintptr) bool {
		o.pause()
		o.mu.Lock()
		defer o.mu.Unlock()
		for !o.eof && o.read(int(fd), readSize) {
			o.mu.Unlock() // a call that ends wants the lock too
			o.pause()
			o.mu.Lock()
		}
		return o.eof
	})
	o.mu.Lock()
	o.flush()
	o.mu.Unlock()
}

// pause waits while the version has printed more than its share: the pipe fills, and holds up who prints.
func (o *output) pause() {
	if d := o.budget.Pause(time.Now()); d > 0 {
		time.Sleep(d)
	}
}

// read takes up to limit bytes from the pipe without waiting; true when there may be more. o is locked.
func (o *output) read(fd, limit int) (more bool) {
	buf := buffers.Get().(*[readSize]byte)
	defer buffers.Put(buf)
	for limit > 0 && !o.eof {
		n, err := loop.Read(fd, buf[:])
		switch {
		case err != nil && errors.Is(err, syscall.EINTR):
		case err != nil && errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n == 0:
			o.eof = true
			return false
		default:
			o.write(buf[:n])
			limit -= n
		}
	}
	return !o.eof
}

// drain logs what is in the pipe by now, and a line without an end as a line unless other calls run. It does not wait.
func (o *output) drain() {
	if o.extensions != nil {
		o.extensions.drain()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.empty()
	if len(o.calls) <= 1 {
		o.flush()
	}
}

// empty reads what is in the pipe by now. o is locked.
func (o *output) empty() {
	if o.file != nil && !o.eof {
		_ = o.raw.Control(o.drainFD)
	}
}

// close drains the pipe and closes it: a process that got away does not keep follow waiting.
func (o *output) close() {
	if o.file == nil {
		return
	}
	o.drain()
	_ = o.file.Close()
	if o.extensions != nil {
		_ = o.extensions.file.Close()
	}
}

// write cuts p into lines. o is locked.
func (o *output) write(p []byte) {
	now := time.Now()
	o.budget.Spend(now, len(p), bytes.Count(p, []byte{'\n'}))
	for len(p) > 0 {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(o.partial); len(line) > room {
			line, rest, found = p[:room], p[room:], true
		}
		p = rest
		switch {
		case !found:
			o.partial = append(o.partial, line...)
		case len(o.partial) > 0:
			o.partial = append(o.partial, line...)
			o.line(now, text(o.partial))
			o.partial = nil // it may have been long
		default:
			o.line(now, text(line))
		}
	}
}

// flush logs a line that has no end. o is locked.
func (o *output) flush() {
	if len(o.partial) > 0 {
		o.line(time.Now(), text(o.partial))
		o.partial = nil
	}
}

func text(line []byte) string {
	if !utf8.Valid(line) {
		return strings.ToValidUTF8(string(line), "\uFFFD")
	}
	return string(line)
}

// line logs what the function, or an extension, wrote. Levels filter what the function's log keeps, not what is published. o is locked.
func (o *output) line(at time.Time, message string) {
	if m := o.main; m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.emit(m.only(), at, message)
		m.tell(sandbox.EventExtensionLog, at, message)
		return
	}
	if !o.hides(message) {
		o.emit(o.only(), at, message)
	}
	o.tell(sandbox.EventFunctionLog, at, message)
}

// tell publishes a line to extensions.
func (o *output) tell(kind sandbox.EventType, at time.Time, message string) {
	if o.publish != nil {
		o.publish(sandbox.Event{Time: at, Type: kind, Message: message})
	}
}

// only is the call that runs, nil when there is none or when what an instance writes may be of any of several. o is locked.
func (o *output) only() *journal {
	if len(o.calls) != 1 {
		return nil
	}
	return o.calls[0]
}

// emit logs one event of j's call; of none when j is nil. o is locked.
func (o *output) emit(j *journal, at time.Time, message string) { o.emitBy(j, at, message, "") }

// emitBy is emit with what triggered the call. o is locked.
func (o *output) emitBy(j *journal, at time.Time, message, source string) {
	e := o.stamp
	e.Time, e.Message, e.Source = at, message, source
	if j != nil {
		e.RequestID = j.id
	}
	o.logs.Append(e)
	if j == nil || !j.tailing {
		return
	}
	j.tail = append(append(j.tail, message...), '\n')
	if len(j.tail) > 4*tailSize {
		j.tail = append(j.tail[:0], j.tail[len(j.tail)-tailSize:]...)
	}
}

// event logs a line of the platform for j's call, or for none when j is nil; "" is none.
func (o *output) event(j *journal, at time.Time, message string) {
	if message == "" {
		return
	}
	o.mu.Lock()
	o.emit(j, at, message)
	o.mu.Unlock()
}

// message logs what the runtime attributed to a request. It is the link's sandbox.LogFunc.
func (o *output) message(requestID string, p []byte) (wait time.Duration) {
	p = bytes.TrimSuffix(p, []byte{'\n'})
	now := time.Now()
	o.budget.Spend(now, len(p), 1)
	wait = o.budget.Pause(now)
	if o.publish != nil {
		o.tell(sandbox.EventFunctionLog, now, text(p))
	}
	if o.least > 0 && o.hides(string(p)) {
		return wait
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	j := &journal{id: requestID} // of a call that has ended, or of none
	for _, c := range o.calls {
		if c.id == requestID {
			j = c
		}
	}
	for len(p) > maxLine {
		o.emit(j, now, text(p[:maxLine]))
		p = p[maxLine:]
	}
	o.emit(j, now, text(p))
	return wait
}

// begin attributes what follows to j's call, unless others run: the START line first, unless it is "".
func (o *output) begin(j *journal, at time.Time, line string) {
	o.mu.Lock()
	switch len(o.calls) {
	case 0:
		o.flush()
	case 1:
		o.empty() // what is there now is the other one's
	}
	j.place = len(o.calls)
	o.calls = append(o.calls, j)
	if line != "" {
		o.emitBy(j, at, line, j.source)
	}
	o.mu.Unlock()
}

// finish ends what begin began and returns the tail.
func (o *output) finish(j *journal) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := len(o.calls) - 1
	o.calls[j.place] = o.calls[last]
	o.calls[j.place].place = j.place
	o.calls[last] = nil
	o.calls = o.calls[:last]
	tail := j.tail
	if len(tail) > tailSize {
		tail = tail[len(tail)-tailSize:]
	}
	return tail
}
