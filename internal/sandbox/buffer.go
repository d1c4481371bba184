package sandbox

import "sync"

// Sizes of pooled buffers, in bytes. The first takes nearly every answer and metadata with one read; the last the largest payload.
const (
	smallBuffer  = 16 << 10
	mediumBuffer = 128 << 10
	largeBuffer  = 1 << 20
	hugeBuffer   = 6<<20 + 64<<10
)

// buffers is a cache of memory, one pool a size, and no state that anyone can observe.
var buffers [4]sync.Pool

// Buffer is memory from a pool. B may be resliced and replaced; what goes back is what NewBuffer made.
type Buffer struct {
	B       []byte
	memory  []byte
	class   int
	release func()
}

// NewBuffer returns a buffer whose B has at least n bytes of length and undefined content.
func NewBuffer(n int) *Buffer {
	for class, size := range [...]int{smallBuffer, mediumBuffer, largeBuffer, hugeBuffer} {
		if n > size {
			continue
		}
		b, _ := buffers[class].Get().(*Buffer)
		if b == nil {
			b = &Buffer{memory: make([]byte, size), class: class}
			b.release = b.put
		}
		b.B = b.memory
		return b
	}
	b := &Buffer{B: make([]byte, n), class: -1}
	b.release = b.put
	return b
}

// Release gives the buffer back. It must not be used after it. A second call has no effect while nobody else has got it.
func (b *Buffer) Release() { b.put() }

// ReleaseFunc is Release as a value; it costs no allocation.
func (b *Buffer) ReleaseFunc() func() { return b.release }

func (b *Buffer) put() {
	if b.B == nil {
		return
	}
	b.B = nil
	if b.class >= 0 {
		buffers[b.class].Put(b)
	}
}
