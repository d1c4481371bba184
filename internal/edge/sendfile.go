package edge

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSend is how much of a file goes out with one call: the client's deadline is looked at in between.
const maxSend = 4 << 20

// ReadFrom implements io.ReaderFrom, for io.Copy and io.CopyN: what is left of a file, or so many bytes of it, goes from the system's own
// memory to the client when the answer has a Content-Length. All else is copied.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	f, n := source(r)
	if w.status == 0 {
		w.status = 200
	}
	if f == nil || w.sendFile == nil || w.err != nil || w.head || w.bodiless() || !w.committed && w.header["Content-Length"] == nil {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	if !w.committed {
		w.commit(false, nil)
		w.send(w.held)
	}
	if w.chunked || w.length < 0 {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	w.flush()
	if w.err != nil {
		return 0, w.err
	}
	var sent int64
	sent, w.err = w.sendFile(f, min(n, w.length-w.written))
	w.written += sent
	return sent, w.err
}

// file is an *os.File, also as io.Copy passes it on, which hides that it can write itself.
type file interface {
	Stat() (os.FileInfo, error)
	SyscallConn() (syscall.RawConn, error)
}

// source is the file that r reads, and how much of it at most; nil when it reads none.
func source(r io.Reader) (f file, n int64) {
	n = 1<<63 - 1
	for l, ok := r.(*io.LimitedReader); ok; l, ok = r.(*io.LimitedReader) {
		r, n = l.R, min(n, l.N)
	}
	f, ok := r.(file)
	if !ok {
		return nil, 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, 0
	}
	return f, n
}

// sendFile sends n bytes of a file from where it stands, or what there is of it.
func (c *conn) sendFile(f file, n int64) (sent int64, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	c.fiber.Detach() // the disk may be slow
	for sent < n {
		var got int
		var failed error
		if err := raw.Control(func(fd uintptr) { got, failed = unix.Sendfile(c.fd, int(fd), nil, int(min(n-sent, maxSend))) }); err != nil {
			return sent, err
		}
		switch {
		case got > 0:
			sent += int64(got)
		case failed == nil:
			return sent, nil // the end of the file
		case failed == syscall.EINTR:
		case failed != syscall.EAGAIN:
			return sent, failed
		default:
			if err := c.writable(); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}
