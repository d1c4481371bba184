package lambda

import (
	"io"
	"net/http"
	"sync"

	"github.com/hansomcloud/hansom"
)

// classes are the sizes of payload buffers in bytes. The last one shows a payload that is over the limit.
var classes = [...]int{4 << 10, 64 << 10, 1 << 20, hansom.MaxSyncPayload + 1}

// buffers lends buffers for payloads.
type buffers struct{ pools [len(classes)]sync.Pool }

// get returns an empty buffer with room for n bytes; n is at most the largest class.
func (b *buffers) get(n int) *[]byte {
	class := 0
	for classes[class] < n {
		class++
	}
	if buf, ok := b.pools[class].Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, classes[class])
	return &buf
}

func (b *buffers) put(buf *[]byte) {
	for class, size := range classes {
		if cap(*buf) == size {
			*buf = (*buf)[:0]
			b.pools[class].Put(buf)
			return
		}
	}
}

// read returns the body of an invocation in a buffer that goes back with put. A payload over hansom.MaxSyncPayload is TooLarge.
func (b *buffers) read(r *http.Request) (*[]byte, error) {
	if r.ContentLength > hansom.MaxSyncPayload {
		drain(r)
		return nil, payloadTooLarge(r.ContentLength)
	}
	// One byte more than announced, so that the reader reports the end, or what is wrong with the signature, in the last read.
	buf := b.get(int(max(r.ContentLength, 0)) + 1)
	for {
		p := *buf
		if len(p) > hansom.MaxSyncPayload {
			rest, _ := io.CopyN(io.Discard, r.Body, maxDrain)
			b.put(buf)
			return nil, payloadTooLarge(int64(len(p)) + rest)
		}
		if len(p) == cap(p) {
			larger := b.get(len(p) + 1)
			*larger = append(*larger, p...)
			b.put(buf)
			buf, p = larger, *larger
		}
		n, err := r.Body.Read(p[len(p):cap(p)])
		*buf = p[:len(p)+n]
		if err == io.EOF {
			_ = r.Body.Close() // which gives back the buffer that the signature was checked in
			return buf, nil
		}
		if err != nil {
			b.put(buf)
			return nil, readError(err)
		}
	}
}

func payloadTooLarge(n int64) error {
	return hansom.Errorf(hansom.TooLarge, opInvoke, "%d byte payload is too large for the RequestResponse invocation type (limit %d bytes)", n, hansom.MaxSyncPayload)
}
