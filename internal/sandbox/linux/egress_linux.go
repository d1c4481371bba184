package linux

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
)

var (
	_ sandbox.Namer     = (*box)(nil)
	_ sandbox.Connector = (*box)(nil)
)

// namesPort is where resolvers ask.
const namesPort = 53

// openNetwork finds out whether sandboxes can be connected with the internet.
func (d *Driver) openNetwork() {
	if d.uids == nil {
		d.offline = errors.New("the server is not root")
		return
	}
	if d.offline = network.Check(d.cfg.Network); d.offline == nil {
		d.net = network.New(d.cfg.Network, d.cfg.RunDir, d.lease.id, d.log)
	}
}

func (d *Driver) egressFacts() []sandbox.Fact {
	if d.net == nil {
		return []sandbox.Fact{{Name: "egress", Detail: fmt.Sprintf("none to the internet (%s)", d.offline), Missing: true}}
	}
	facts := []sandbox.Fact{{Name: "egress", Detail: fmt.Sprintf("to public addresses alone, from %s (nftables)", d.cfg.Network.Range)}}
	for _, o := range network.Obstacles() {
		facts = append(facts, sandbox.Fact{Name: "egress", Detail: o, Missing: true})
	}
	return facts
}

// Internet says why sandboxes cannot be connected with the internet, an error of kind Unavailable; nil when they can.
func (d *Driver) Internet() error {
	if d.net == nil {
		return d.noInternet()
	}
	return nil
}

func (d *Driver) noInternet() error {
	return hansom.Errorf(hansom.Unavailable, "connect sandbox", "functions cannot have egress to the internet here: %w; set their egress to platform or none", d.offline)
}

// Names implements sandbox.Namer.
func (b *box) Names() (net.PacketConn, net.Listener) {
	if b.names == nil {
		return nil, nil
	}
	return b.names, b.listeners[namesPort]
}

// Connect implements sandbox.Connector.
func (b *box) Connect() error {
	d := b.driver
	if d.net == nil {
		return d.noInternet()
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", b.pid))
	if err != nil {
		return sandbox.ErrClosed
	}
	defer ns.Close()
	raw, err := b.pidfd.SyscallConn()
	if err != nil {
		return sandbox.ErrClosed
	}
	// As long as the init has not been waited for, the number was no other's when the file was opened.
	raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), 0, nil, 0) })
	if err != nil {
		return sandbox.ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return sandbox.ErrClosed
	case b.address != nil:
		return nil
	}
	b.address, err = d.net.Attach(ns)
	if err != nil {
		return hansom.Errorf(hansom.Unavailable, "connect sandbox", "%w", err)
	}
	return nil
}

// disconnect gives the sandbox's address back. Its interfaces have ended with its namespace.
func (b *box) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.address != nil {
		b.driver.net.Detach(b.address)
		b.address = nil
	}
}
