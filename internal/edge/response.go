package edge

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	copyLimit = 16 << 10 // bytes of a body that are copied behind the head; more go out by themselves
	holdLimit = 4 << 10  // bytes of a body of unknown length that are held back, in case it ends there
)

// response is the http.ResponseWriter of one request.
type response struct {
	write    func([]byte) error                   // to the client
	sendFile func(f file, n int64) (int64, error) // the same of n bytes of a file; nil where that is not there
	deadline time.Time                            // of writes; zero for none
	header   http.Header
	status   int
	head     bool // the request is a HEAD: no body is sent
	close    bool // the connection ends with this answer

	out       []byte // goes out next
	held      []byte // of a body whose framing is not decided
	committed bool   // the head is in out, or gone
	chunked   bool
	length    int64 // of the body as declared; -1 when it is not
	written   int64
	err       error // of a write

	date   []byte // the header's line
	second int64  // it is of, in Unix time
}

func (w *response) reset(head, closes bool) {
	if w.header == nil {
		w.header = http.Header{}
	}
	clear(w.header)
	w.deadline, w.status, w.head, w.close = time.Time{}, 0, head, closes
	w.out, w.held, w.committed, w.chunked, w.length, w.written, w.err = w.out[:0], w.held[:0], false, false, -1, 0, nil
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational answers are not sent.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *response) bodiless() bool {
	return w.status == http.StatusNoContent || w.status == http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.bodiless():
		return 0, http.ErrBodyNotAllowed
	case w.committed:
	case w.header["Content-Length"] == nil && len(w.held)+len(p) <= holdLimit:
		w.held = append(w.held, p...)
		return len(p), nil
	default:
		w.commit(false, p)
		w.send(w.held)
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.send(p)
	return len(p), w.err
}

// send puts a part of the body behind what was written before.
func (w *response) send(p []byte) {
	w.written += int64(len(p))
	if w.head || len(p) == 0 {
		return
	}
	if w.chunked {
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
	}
	if len(p) <= copyLimit {
		w.out = append(w.out, p...)
	} else {
		w.flush()
		if w.err == nil {
			w.err = w.write(p)
		}
	}
	if w.chunked {
		w.out = append(w.out, "\r\n"...)
	}
	if len(w.out) > 2*copyLimit {
		w.flush()
	}
}

func (w *response) flush() {
	if w.err == nil && len(w.out) > 0 {
		w.err = w.write(w.out)
	}
	w.out = w.out[:0]
}

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	if !w.committed {
		if w.status == 0 {
			w.status = http.StatusOK
		}
		w.commit(false, w.held)
		w.send(w.held)
	}
	w.flush()
	return w.err
}

// finish completes the answer and sends it.
func (w *response) finish() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if !w.committed {
		w.commit(true, w.held)
		w.send(w.held)
	}
	if w.chunked {
		w.out = append(w.out, "0\r\n\r\n"...)
	}
	w.flush()
	if w.err != nil || w.length >= 0 && w.written != w.length && !w.head && !w.bodiless() {
		w.close = true // or the client would wait for the rest
	}
}

// commit writes the head. whole says that body is all there is of it.
func (w *response) commit(whole bool, body []byte) {
	w.committed = true
	b := append(w.out, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(w.status), 10)
	b = append(b, ' ')
	if text := http.StatusText(w.status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(w.status), 10)
	}
	b = append(b, "\r\n"...)
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			if n, err := strconv.ParseInt(values[0], 10, 64); len(values) == 1 && err == nil && n >= 0 {
				w.length = n
			}
			continue
		case "Connection":
			w.close = w.close || len(values) > 0 && strings.EqualFold(values[0], "close")
			continue
		case "Transfer-Encoding":
			continue
		case "Content-Type":
			if w.status == http.StatusNotModified {
				continue
			}
		}
		if !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			b = append(append(b, name...), ": "...)
			b = append(appendValue(b, v), "\r\n"...)
		}
	}
	if w.header["Date"] == nil {
		b = append(b, w.now(time.Now())...)
	}
	if _, ok := w.header["Content-Type"]; !ok && len(body) > 0 {
		b = append(append(append(b, "Content-Type: "...), http.DetectContentType(body)...), "\r\n"...)
	}
	if w.close {
		b = append(b, "Connection: close\r\n"...)
	}
	switch {
	case w.bodiless():
		w.length = -1
	case w.length < 0 && whole && (!w.head || len(body) > 0):
		w.length = int64(len(body))
	case w.length < 0 && !whole && !w.head:
		w.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.length >= 0 {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), w.length, 10), "\r\n"...)
	}
	w.out = append(b, "\r\n"...)
}

// now is the line with the date.
func (w *response) now(t time.Time) []byte {
	if s := t.Unix(); s != w.second || w.date == nil {
		w.second = s
		w.date = append(t.UTC().AppendFormat(append(w.date[:0], "Date: "...), http.TimeFormat), "\r\n"...)
	}
	return w.date
}

// appendValue appends a header's value without what could end it early.
func appendValue(b []byte, v string) []byte {
	v = strings.Trim(v, " \t\r\n")
	if !strings.ContainsAny(v, "\r\n") {
		return append(b, v...)
	}
	for i := range len(v) {
		if c := v[i]; c == '\r' || c == '\n' {
			b = append(b, ' ')
		} else {
			b = append(b, c)
		}
	}
	return b
}
