//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ports(addresses []string) []uint16 {
	var list []uint16
	for _, a := range addresses {
		if p, err := netip.ParseAddrPort(a); err == nil {
			list = append(list, p.Port())
		}
	}
	return list
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, 2*time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

func socket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// dialAll is the first success, else the last error.
func dialAll(addresses []string) (err error) {
	for _, a := range addresses {
		if err = dial("tcp", a); err == nil {
			return nil
		}
	}
	return err
}

func loopback(addresses []string) (list []string) {
	for _, p := range ports(addresses) {
		list = append(list, fmt.Sprintf("127.0.0.1:%d", p), fmt.Sprintf("[::1]:%d", p))
	}
	return list
}

func init() {
	try(map[string]func(e *event) error{
		"connect to a listener of the host":               func(e *event) error { return dialAll(loopback(e.TCP)) },
		"connect to another sandbox's listener":           func(e *event) error { return dial("tcp", fmt.Sprintf("127.0.0.1:%d", e.OtherPort)) },
		"connect to an abstract Unix socket of the host":  func(e *event) error { return dial("unix", "@"+e.Abstract) },
		"connect to an abstract Unix socket of a sandbox": func(e *event) error { return dial("unix", "@"+e.Abstract+"-other") },
		"connect to a Unix socket of the host":            func(e *event) error { return dial("unix", e.Socket) },
		"open a raw socket":                               func(*event) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
		"open a raw IPv6 socket":                          func(*event) error { return socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6) },
		"open a packet socket":                            func(*event) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0x0300) },
		"open a socket of the hypervisor":                 func(*event) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
		"open a socket of the kernel's ciphers":           func(*event) error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
		"open an XDP socket":                              func(*event) error { return socket(unix.AF_XDP, unix.SOCK_RAW, 0) },
		"open a socket of keys":                           func(*event) error { return socket(unix.AF_KEY, unix.SOCK_RAW, 2) },
		"open a Bluetooth socket":                         func(*event) error { return socket(unix.AF_BLUETOOTH, unix.SOCK_RAW, 1) },
		"open a CAN socket":                               func(*event) error { return socket(unix.AF_CAN, unix.SOCK_RAW, 1) },
		"open a TIPC socket":                              func(*event) error { return socket(unix.AF_TIPC, unix.SOCK_STREAM, 0) },
		"talk to netfilter":                               func(*event) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER) },
		"talk to the audit system":                        func(*event) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT) },
		"listen to the kernel's events":                   func(*event) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT) },
		"diagnose sockets":                                func(*event) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG) },
		"add a network interface":                         func(*event) error { return addLink() },
		"mark packets":                                    func(*event) error { return option(unix.SO_MARK, 1) },
		"send with more buffer than allowed":              func(*event) error { return option(unix.SO_SNDBUFFORCE, 64<<20) },
		"debug a socket":                                  func(*event) error { return option(unix.SO_DEBUG, 1) },
		"bring the interface down":                        func(*event) error { return linkDown() },
		"send to another machine":                         func(*event) error { return send("192.0.2.1:9") },
		"ask the cloud's metadata service":                func(*event) error { return dial("tcp", "169.254.169.254:80") },
		"filter packets of a socket with iptables":        func(*event) error { return option(64 /* IPT_SO_SET_REPLACE */, 0) },
	})
	attempts["find an interface but lo"] = interfaces
	attempts["hold the Runtime API open"] = holdOpen
	attempts["flood the Runtime API"] = floodRuntimeAPI
	attempts["write garbage to the Runtime API"] = garbageRuntimeAPI
}

func send(address string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("x"))
	return err
}

func option(name, value int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if name == 64 {
		return unix.SetsockoptString(fd, unix.SOL_IP, name, strings.Repeat("\x00", 96))
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, value)
}

// linkDown takes the loopback interface away from this network namespace, and brings it back.
func linkDown() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}{name: [16]byte{'l', 'o'}}
	return call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
}

// addLink asks for a pair of interfaces over netlink's route protocol.
func addLink() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	kind := []byte{9, 0, 1, 0, 'v', 'e', 't', 'h', 0, 0, 0, 0} // IFLA_INFO_KIND
	info := append([]byte{byte(4 + len(kind)), 0, unix.IFLA_LINKINFO, 0}, kind...)
	body := append(make([]byte, unix.SizeofIfInfomsg), info...)
	message := make([]byte, unix.SizeofNlMsghdr)
	*(*unix.NlMsghdr)(unsafe.Pointer(&message[0])) = unix.NlMsghdr{Len: uint32(len(message) + len(body)), Type: unix.RTM_NEWLINK,
		Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE, Seq: 1}
	if err := unix.Sendto(fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return io.ErrUnexpectedEOF
	}
	if code := *(*int32)(unsafe.Pointer(&reply[unix.SizeofNlMsghdr])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

func interfaces(*event) answer {
	list, err := net.Interfaces()
	if err != nil {
		return result(err)
	}
	var found []string
	for _, i := range list {
		if i.Flags&net.FlagLoopback == 0 {
			found = append(found, i.Name)
		}
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, " ")}
	}
	return answer{Result: "none"}
}

func runtimeAPI() string { return os.Getenv("AWS_LAMBDA_RUNTIME_API") }

// holdOpen keeps hundreds of connections to the Runtime API, each with half a request, while this function goes on working.
func holdOpen(*event) answer {
	for i := range 800 {
		c, err := net.Dial("tcp", runtimeAPI())
		if err != nil {
			return answer{"refused", fmt.Sprint(i, " connections: ", err)}
		}
		held = append(held, c)
		if _, err := io.WriteString(c, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			return answer{"refused", err.Error()}
		}
	}
	return answer{"held", fmt.Sprint(len(held), " connections")}
}

var held []net.Conn

// floodRuntimeAPI sends what is no answer to a call: ids of others, errors, a body without end.
func floodRuntimeAPI(*event) answer {
	for _, request := range []string{
		"POST /2018-06-01/runtime/invocation/00000000-0000-0000-0000-000000000000/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"POST /2018-06-01/runtime/invocation/../../../x/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"GET /_hansom/v1/info HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /2015-03-31/functions/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 4<<20) + "\r\n\r\n",
	} {
		status, err := exchange(request)
		if err == nil && strings.HasPrefix(status, "2") {
			return answer{"ok", request[:60] + " " + status}
		}
	}
	return answer{Result: "refused"}
}

func exchange(request string) (status string, err error) {
	c, err := net.Dial("tcp", runtimeAPI())
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(c, head); err != nil {
		return "", err
	}
	return string(head[9:]), nil
}

func garbageRuntimeAPI(*event) answer {
	for range 50 {
		c, err := net.Dial("tcp", runtimeAPI())
		if err != nil {
			return result(err)
		}
		c.SetDeadline(time.Now().Add(2 * time.Second))
		io.Copy(c, bytes.NewReader(bytes.Repeat([]byte{0xff, 0, '\r', '\n', 'G'}, 20_000)))
		c.Close()
	}
	return answer{Result: "refused"}
}
