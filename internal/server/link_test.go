package server

import (
	"net"
	"testing"

	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// framed is a sandbox of a runtime that speaks frames.
type framed struct {
	warmBox
	conn net.UnixConn
	l    net.Listener
}

func (b *framed) Conn() *net.UnixConn       { return &b.conn }
func (b *framed) Listener(int) net.Listener { return b.l }

// What the server puts around a link of frames leaves calls of one at a time on their event loop.
func TestLinksCarryFibers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	made, err := new(Server).link(&framed{l: l}, &runtimes.Runtime{Family: runtimes.Node, Frames: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if c, ok := made.(sandbox.Carrier); !ok || !c.CarriesFibers() {
		t.Error("calls of managed runtimes leave their event loop")
	}
}
