package edge

import (
	"context"
	"io"
	"net"
	"sync/atomic"
)

// begun is a connection of net/http, of which something may have been read before. It notes whether a Content-Length has come, of which net/http
// tells nothing when there is a Transfer-Encoding too.
type begun struct {
	*net.TCPConn
	unread []byte

	length atomic.Bool // one has come, be it in a body
	at     int         // bytes of its name that came last
}

func (b *begun) Read(p []byte) (n int, err error) {
	if len(b.unread) > 0 {
		n = copy(p, b.unread)
		b.unread = b.unread[n:]
	} else {
		n, err = b.TCPConn.Read(p)
	}
	if !b.length.Load() {
		b.note(p[:n])
	}
	return n, err
}

// note looks for the name in what comes next.
func (b *begun) note(p []byte) {
	const name = "content-length" // has no second c
	for _, c := range p {
		switch c |= 'a' - 'A'; c {
		case name[b.at]:
			if b.at++; b.at == len(name) {
				b.length.Store(true)
				return
			}
		case name[0]:
			b.at = 1
		default:
			b.at = 0
		}
	}
}

// WriteTo would go around Read.
func (b *begun) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{b}) }

type begunKey struct{}

// withBegun is an http.Server's ConnContext.
func withBegun(ctx context.Context, c net.Conn) context.Context {
	if b, ok := c.(*begun); ok {
		return context.WithValue(ctx, begunKey{}, b)
	}
	return ctx
}

// lengthless says that no request of the connection had a Content-Length so far, for certain.
func lengthless(ctx context.Context) bool {
	b, ok := ctx.Value(begunKey{}).(*begun)
	return ok && !b.length.Load()
}

// beginning is a listener of connections of which nothing was read before.
type beginning struct{ net.Listener }

func (l beginning) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &begun{TCPConn: tcp}, nil
	}
	return c, err
}
