package sandbox

import "net"

// Namer is the ability of a Sandbox to let the server answer when its programs look names up.
type Namer interface {
	// Names are the sockets at port 53 of the sandbox's loopback; nil unless Spec.Names. They are closed when the sandbox ends.
	Names() (net.PacketConn, net.Listener)
}

// Connector is the ability of a Sandbox to be connected with the internet.
type Connector interface {
	// Connect lets the sandbox send to public addresses from now on. Errors: Unavailable when the host or this user cannot have it,
	// ErrClosed when the tree is gone.
	Connect() error
}
