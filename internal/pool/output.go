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

	mu      sync.Mutex
	least   int             // rank of the function's lines that are kept; 0 keeps all
	stamp   hansom.LogEvent // project, group, function, version, instance and request of the next event
	partial []byte          // a line without its end
	tailing bool
	tail    []byte
	eof     bool

	drainFD func(fd uintptr) // made once: a closure for each call would be an allocation
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
	if o.file == nil {
		return
	}
	_ = o.raw.Read(func(fd uintptr) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		for !o.eof && o.read(int(fd), readSize) {
			o.mu.Unlock() // a call that ends wants the lock too
			o.mu.Lock()
		}
		return o.eof
	})
	o.mu.Lock()
	o.flush()
	o.mu.Unlock()
}

// read takes up to limit bytes from the pipe without waiting; true when there may be more. o is locked.
func (o *output) read(fd, limit int) (more bool) {
	buf := buffers.Get().(*[readSize]byte)
	defer buffers.Put(buf)
	for limit > 0 && !o.eof {
		n, err := syscall.Read(fd, buf[:])
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

// drain logs what is in the pipe by now, and a line without an end as a line. It does not wait.
func (o *output) drain() {
	if o.file == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.eof {
		_ = o.raw.Control(o.drainFD)
	}
	o.flush()
}

// close drains the pipe and closes it: a process that got away does not keep follow waiting.
func (o *output) close() {
	if o.file == nil {
		return
	}
	o.drain()
	_ = o.file.Close()
}

// write cuts p into lines. o is locked.
func (o *output) write(p []byte) {
	now := time.Now()
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

// line logs what the function wrote. o is locked.
func (o *output) line(at time.Time, message string) {
	if !o.hides(message) {
		o.emit(at, message)
	}
}

// emit logs one event of the current request. o is locked.
func (o *output) emit(at time.Time, message string) {
	e := o.stamp
	e.Time, e.Message = at, message
	o.logs.Append(e)
	if !o.tailing {
		return
	}
	o.tail = append(append(o.tail, message...), '\n')
	if len(o.tail) > 4*tailSize {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-tailSize:]...)
	}
}

// event logs a line of the platform; "" is none.
func (o *output) event(at time.Time, message string) {
	if message == "" {
		return
	}
	o.mu.Lock()
	o.emit(at, message)
	o.mu.Unlock()
}

// message logs what the runtime attributed to a request. It is the link's sandbox.LogFunc.
func (o *output) message(requestID string, p []byte) {
	p = bytes.TrimSuffix(p, []byte{'\n'})
	if o.least > 0 && o.hides(string(p)) {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	current := o.stamp.RequestID
	o.stamp.RequestID = requestID
	for len(p) > maxLine {
		o.emit(now, text(p[:maxLine]))
		p = p[maxLine:]
	}
	o.emit(now, text(p))
	o.stamp.RequestID = current
}

// begin attributes what follows to a request, the START line first unless it is "", and keeps the end of it when tail is set.
func (o *output) begin(at time.Time, requestID, line string, tail bool) {
	o.mu.Lock()
	o.flush()
	o.stamp.RequestID, o.tailing = requestID, tail
	if line != "" {
		o.emit(at, line)
	}
	o.mu.Unlock()
}

// finish ends what begin began and returns the tail.
func (o *output) finish() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := o.tail
	o.stamp.RequestID, o.tailing, o.tail = "", false, nil
	if len(tail) > tailSize {
		tail = tail[len(tail)-tailSize:]
	}
	return tail
}
