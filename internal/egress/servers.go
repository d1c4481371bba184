package egress

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// servers are the host's name servers.
type servers struct {
	path  string
	fixed []netip.AddrPort

	mu     sync.Mutex
	looked time.Time // when the file was last looked at
	list   []netip.AddrPort
}

// lookAgain is how long a list of name servers is believed.
const lookAgain = 5 * time.Second

func (s *servers) current() []netip.AddrPort {
	if len(s.fixed) > 0 {
		return s.fixed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < lookAgain {
		return s.list
	}
	s.looked = time.Now()
	if text, err := os.ReadFile(s.path); err == nil {
		s.list = parse(text)
	}
	return s.list
}

// parse reads the name servers of a resolv.conf. Without any it is the host itself, as resolv.conf(5) has it.
func parse(text []byte) []netip.AddrPort {
	var list []netip.AddrPort
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		fields := strings.Fields(in.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(list) == 0 {
		list = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return list
}

// ask asks one after the other until one answers with success or that there is no such name; else it is the last one's answer.
func (s *servers) ask(ctx context.Context, q dnsmessage.Question) (*dnsmessage.Message, error) {
	var last *dnsmessage.Message
	var failed []error
	for _, server := range s.current() {
		m, err := exchange(ctx, server, q)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", server, err))
			continue
		}
		if last = m; m.RCode == dnsmessage.RCodeSuccess || m.RCode == dnsmessage.RCodeNameError {
			return m, nil
		}
	}
	if last != nil {
		return last, nil
	}
	return nil, errors.Join(failed...)
}

// exchange asks one server over UDP, from a port of its own, and over TCP when the answer does not fit.
func exchange(ctx context.Context, server netip.AddrPort, q dnsmessage.Question) (*dnsmessage.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, oneAttempt)
	defer cancel()
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(maxAnswer, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true}, Questions: []dnsmessage.Question{q},
		Additionals: []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}}
	text, err := query.Pack()
	if err != nil {
		return nil, err
	}
	m, err := over(ctx, "udp", server, &query, text)
	if err == nil && m.Truncated {
		m, err = over(ctx, "tcp", server, &query, text)
	}
	return m, err
}

func over(ctx context.Context, network string, server netip.AddrPort, query *dnsmessage.Message, text []byte) (*dnsmessage.Message, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if network == "tcp" {
		text = append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
	}
	if _, err := conn.Write(text); err != nil {
		return nil, err
	}
	buf := make([]byte, maxAnswer)
	for {
		var n int
		if network == "tcp" {
			var head [2]byte
			if _, err = io.ReadFull(conn, head[:]); err == nil {
				buf = make([]byte, binary.BigEndian.Uint16(head[:]))
				n, err = io.ReadFull(conn, buf)
			}
		} else {
			n, err = conn.Read(buf)
		}
		if err != nil {
			return nil, err
		}
		var m dnsmessage.Message
		// What is not the answer to this question is somebody's guess.
		if m.Unpack(buf[:n]) == nil && m.Response && m.ID == query.ID && len(m.Questions) == 1 && same(m.Questions[0], query.Questions[0]) {
			return &m, nil
		}
		if network == "tcp" {
			return nil, errors.New("the name server answered another question")
		}
	}
}

func same(a, b dnsmessage.Question) bool {
	return a.Type == b.Type && a.Class == b.Class && strings.EqualFold(a.Name.String(), b.Name.String())
}
