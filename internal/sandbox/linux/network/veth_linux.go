package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// insideIndex is the number of the interface inside a sandbox. The first ones may be tunnels that the kernel makes by itself.
const insideIndex = 1000

// hardware is the address of both ends of every pair: packets find their way without ARP, which is off.
var hardware = []byte{0x02, 'h', 'a', 'n', 's', 'm'}

// batch is several requests to the kernel's route netlink that are sent in one go.
type batch struct {
	buf []byte
	n   int
}

func (b *batch) add(kind, flags int, parts ...nl.NetlinkRequestData) {
	request := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Type: uint16(kind), Flags: uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags), Seq: uint32(b.n),
	}, Data: parts}
	b.buf = append(b.buf, request.Serialize()...)
	for len(b.buf)%unix.NLMSG_ALIGNTO != 0 {
		b.buf = append(b.buf, 0)
	}
	b.n++
}

// run sends the requests over a socket of openRoutes. The kernel carries out all of them, whatever becomes of the one before.
func (b *batch) run(fd int) error {
	if err := unix.Sendto(fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var failed error
	answer := make([]byte, 16<<10)
	for left := b.n; left > 0; {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			left--
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 && failed == nil {
				failed = syscall.Errno(-code)
			}
		}
	}
	return failed
}

// openRoutes is a socket for batches in this thread's network namespace.
func openRoutes() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	// Else an error brings the whole request back.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return fd, nil
}

// openRoutesIn is a socket for batches in the network namespace ns; home is this process's own.
func openRoutesIn(ns, home int) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{-1, err}
			return
		}
		fd, err := openRoutes()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

// pair describes a pair of interfaces: outside on the host, inside in the sandbox.
type pair struct {
	outside string
	index   int // of outside
	addr    netip.Addr
	gateway netip.Addr
	mtu     uint32
}

func link(index int32, flags, change uint32) *nl.IfInfomsg {
	return &nl.IfInfomsg{IfInfomsg: unix.IfInfomsg{Family: unix.AF_UNSPEC, Index: index, Flags: flags, Change: change}}
}

// genNone is IN6_ADDR_GEN_MODE_NONE.
const genNone = 1

// addressless keeps the kernel from giving an interface an address of version 6.
func addressless() nl.NetlinkRequestData {
	return nested(unix.IFLA_AF_SPEC, nested(unix.AF_INET6, nl.NewRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{genNone})))
}

func text(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }

func number(kind int, n uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(n)) }

// nested is an attribute that holds others.
func nested(kind int, parts ...nl.NetlinkRequestData) nl.NetlinkRequestData {
	var data []byte
	for _, p := range parts {
		data = append(data, p.Serialize()...)
	}
	return nl.NewRtAttr(kind, data)
}

// connect makes the pair with its inner end in the network namespace ns, which host and inner are sockets for; outer first, so that
// what is sent from inside finds it ready.
func (p *pair) connect(host, inner, ns int) error {
	end := func(name string) []nl.NetlinkRequestData {
		return []nl.NetlinkRequestData{text(unix.IFLA_IFNAME, name), nl.NewRtAttr(unix.IFLA_ADDRESS, hardware), number(unix.IFLA_MTU, p.mtu),
			number(unix.IFLA_NUM_TX_QUEUES, 1), number(unix.IFLA_NUM_RX_QUEUES, 1)}
	}
	const noARP = unix.IFF_NOARP
	peer := append([]nl.NetlinkRequestData{link(insideIndex, noARP, noARP), number(unix.IFLA_NET_NS_FD, uint32(ns))}, end("eth0")...)
	create := append([]nl.NetlinkRequestData{link(int32(p.index), noARP, noARP)}, end(p.outside)...)
	create = append(create, nested(unix.IFLA_LINKINFO, text(nl.IFLA_INFO_KIND, "veth"), nested(nl.IFLA_INFO_DATA, nested(nl.VETH_INFO_PEER, peer...))))

	var out batch
	out.add(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, create...)
	if err := out.run(host); err != nil {
		return err
	}
	out = batch{}
	out.raise(p.index)
	out.route(unix.RTN_UNICAST, netip.PrefixFrom(p.addr, 32), p.index, netip.Addr{}, netip.Addr{})
	if err := out.run(host); err != nil {
		return fmt.Errorf("cannot set %s up: %w", p.outside, err)
	}
	var in batch
	in.raise(insideIndex)
	address := nl.NewIfAddrmsg(unix.AF_INET)
	address.Prefixlen, address.Index = 32, insideIndex
	in.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, address, nl.NewRtAttr(unix.IFA_LOCAL, p.addr.AsSlice()))
	in.route(unix.RTN_UNICAST, netip.PrefixFrom(netip.IPv4Unspecified(), 0), insideIndex, p.gateway, p.addr)
	if err := in.run(inner); err != nil {
		return fmt.Errorf("cannot set the network of a sandbox up: %w", err)
	}
	return nil
}

// raise sets an interface up.
func (b *batch) raise(index int) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil { // else this kernel has no version 6, and refuses to hear of it
		b.add(unix.RTM_NEWLINK, 0, link(int32(index), 0, 0), addressless())
	}
	b.add(unix.RTM_NEWLINK, 0, link(int32(index), unix.IFF_UP, unix.IFF_UP))
}

// route adds a route; index, via and source may be left out.
func (b *batch) route(kind uint8, to netip.Prefix, index int, via, source netip.Addr) {
	message := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Dst_len: uint8(to.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: unix.RTPROT_BOOT, Scope: unix.RT_SCOPE_LINK, Type: kind}}
	parts := []nl.NetlinkRequestData{message, nl.NewRtAttr(unix.RTA_DST, to.Addr().AsSlice())}
	if index == 0 {
		message.Scope = unix.RT_SCOPE_UNIVERSE
	} else {
		parts = append(parts, number(unix.RTA_OIF, uint32(index)))
	}
	if via.IsValid() {
		message.Scope, message.Flags = unix.RT_SCOPE_UNIVERSE, unix.RTNH_F_ONLINK
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, via.AsSlice()))
	}
	if source.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PREFSRC, source.AsSlice()))
	}
	b.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
}
