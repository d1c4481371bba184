package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hansomcloud/hansom"
)

// nameServer is a name server of the host.
type nameServer struct {
	addr    netip.AddrPort
	queries atomic.Int32
}

// newNameServer answers over UDP with what answer makes of a question; nil is no answer at all.
func newNameServer(t *testing.T, answer func(dnsmessage.Question) *dnsmessage.Message) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &nameServer{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			u.queries.Add(1)
			var query dnsmessage.Message
			if err := query.Unpack(buf[:n]); err != nil {
				t.Error(err)
				continue
			}
			if m := answer(query.Questions[0]); m != nil {
				m.ID, m.Response, m.Questions = query.ID, true, query.Questions
				b, err := m.Pack()
				if err != nil {
					t.Error(err)
				}
				_, _ = conn.WriteTo(append(b[:2:2], b[2:]...), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return u
}

func address(name, ip string, ttl uint32) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl},
		Body: &dnsmessage.AResource{A: netip.MustParseAddr(ip).As4()}}
}

// sandbox is a sandbox's side of the sockets that r serves.
type sandbox struct {
	udp net.Conn
	tcp string
}

func newSandbox(t *testing.T, r *Resolver, egress string) *sandbox {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { r.Serve(packets, l, egress) })
	s := &sandbox{tcp: l.Addr().String()}
	if s.udp, err = net.Dial("udp4", packets.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.udp.Close()
		packets.Close()
		l.Close()
		serving.Wait()
	})
	return s
}

func query(name string, kind dnsmessage.Type, more ...dnsmessage.Resource) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Additionals: more,
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, _ := m.Pack()
	return b
}

func (s *sandbox) send(t *testing.T, text []byte) dnsmessage.Message {
	t.Helper()
	if _, err := s.udp.Write(text); err != nil {
		t.Fatal(err)
	}
	return s.receive(t)
}

func (s *sandbox) receive(t *testing.T) dnsmessage.Message {
	t.Helper()
	s.udp.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 1<<16)
	n, err := s.udp.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil {
		t.Fatal(err)
	}
	return m
}

// show is an answer in one line: its code and what it holds.
func show(m dnsmessage.Message) string {
	parts := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	if m.Truncated {
		parts = append(parts, "truncated")
	}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			parts = append(parts, netip.AddrFrom4(body.A).String())
		case *dnsmessage.CNAMEResource:
			parts = append(parts, body.CNAME.String())
		case *dnsmessage.TXTResource:
			parts = append(parts, body.TXT...)
		}
	}
	return strings.Join(parts, " ")
}

func newResolver(t *testing.T, servers ...*nameServer) *Resolver {
	cfg := DefaultConfig()
	cfg.Domain = "Example.com"
	for _, u := range servers {
		cfg.Servers = append(cfg.Servers, u.addr)
	}
	return New(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func TestAnswers(t *testing.T) {
	var many []dnsmessage.Resource
	for i := range 100 {
		many = append(many, address("many.test.", fmt.Sprintf("9.0.0.%d", i), 300))
	}
	u := newNameServer(t, func(q dnsmessage.Question) *dnsmessage.Message {
		m := &dnsmessage.Message{}
		switch name := q.Name.String(); {
		case name == "public.test." && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, address(name, "9.9.9.9", 300))
		case name == "alias.test.":
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 300},
				Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("inner.test.")}}, address("inner.test.", "10.1.1.1", 300))
		case name == "mixed.test.":
			m.Answers = append(m.Answers, address(name, "127.0.0.1", 300), address(name, "9.9.9.8", 300), address(name, "169.254.169.254", 300))
		case name == "loop.test.":
			m.Answers = append(m.Answers, address(name, "127.0.0.1", 300))
		case name == "many.test.":
			m.Answers = many
		case name == "text.test." && q.Type == dnsmessage.TypeTXT:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 300},
				Body: &dnsmessage.TXTResource{TXT: []string{"hello"}}})
		case name == "broken.test.":
			m.RCode = dnsmessage.RCodeServerFailure
		case name == "public.test.":
		default:
			m.RCode = dnsmessage.RCodeNameError
		}
		return m
	})
	r := newResolver(t, u)
	internet, platform := newSandbox(t, r, hansom.EgressInternet), newSandbox(t, r, hansom.EgressPlatform)
	for _, c := range []struct {
		name           string
		kind           dnsmessage.Type
		internet, rest string
	}{
		{"public.test.", dnsmessage.TypeA, "Success 9.9.9.9", "NameError"},
		{"PUBlic.test.", dnsmessage.TypeA, "Success 9.9.9.9", "NameError"},
		{"public.test.", dnsmessage.TypeAAAA, "Success", "NameError"},
		{"public.test.", 65, "Success", "NameError"},
		{"public.test.", dnsmessage.TypeALL, "NotImplemented", "NameError"},
		{"public.test.", dnsmessage.TypeMX, "Success", "NameError"},
		{"text.test.", dnsmessage.TypeTXT, "Success hello", "NameError"},
		{"alias.test.", dnsmessage.TypeA, "NameError", "NameError"},
		{"mixed.test.", dnsmessage.TypeA, "Success 9.9.9.8", "NameError"},
		{"loop.test.", dnsmessage.TypeA, "NameError", "NameError"},
		{"absent.test.", dnsmessage.TypeA, "NameError", "NameError"},
		{"broken.test.", dnsmessage.TypeA, "ServerFailure", "NameError"},
		{"many.test.", dnsmessage.TypeA, "Success truncated", "NameError"},
		{"example.com.", dnsmessage.TypeA, "Success 127.0.0.1", "Success 127.0.0.1"},
		{"a.b.EXAMPLE.com.", dnsmessage.TypeA, "Success 127.0.0.1", "Success 127.0.0.1"},
		{"a.example.com.", dnsmessage.TypeAAAA, "Success", "Success"},
		{"notexample.com.", dnsmessage.TypeA, "NameError", "NameError"},
		{"a.localhost.", dnsmessage.TypeA, "Success 127.0.0.1", "Success 127.0.0.1"},
		{"1.1.1.10.in-addr.arpa.", dnsmessage.TypePTR, "NameError", "NameError"},
		{"9.in-addr.arpa.", dnsmessage.TypePTR, "NameError", "NameError"},
		{"1.ip6.arpa.", dnsmessage.TypePTR, "NameError", "NameError"},
	} {
		for s, want := range map[*sandbox]string{internet: c.internet, platform: c.rest} {
			m := s.send(t, query(c.name, c.kind))
			if got := show(m); got != want || m.ID != 7 || !m.Response || m.Questions[0].Name.String() != c.name {
				t.Errorf("%s %s: %q (%+v), want %q", c.name, c.kind, got, m.Header, want)
			}
		}
	}
	var opt dnsmessage.ResourceHeader
	_ = opt.SetEDNS0(4096, 0, false)
	if m := internet.send(t, query("many.test.", dnsmessage.TypeA, dnsmessage.Resource{Header: opt, Body: &dnsmessage.OPTResource{}})); len(m.Answers) != 100 {
		t.Errorf("a client that takes 4096 bytes gets %d answers", len(m.Answers))
	}
	if n := internet.overTCP(t, query("many.test.", dnsmessage.TypeA)); len(n.Answers) != 100 {
		t.Errorf("over TCP there are %d answers", len(n.Answers))
	}
}

func (s *sandbox) overTCP(t *testing.T, text []byte) (m dnsmessage.Message) {
	t.Helper()
	conn, err := net.Dial("tcp4", s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	var head [2]byte
	_, err = io.ReadFull(conn, head[:])
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, more := io.ReadFull(conn, body)
	if err := errors.Join(err, more, m.Unpack(body)); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCache: a name is asked for once while its answer lives.
func TestCache(t *testing.T) {
	u := newNameServer(t, func(q dnsmessage.Question) *dnsmessage.Message {
		ttl := uint32(300)
		if q.Name.String() == "once.test." {
			ttl = 0
		}
		return &dnsmessage.Message{Answers: []dnsmessage.Resource{address(q.Name.String(), "9.9.9.9", ttl)}}
	})
	s := newSandbox(t, newResolver(t, u), hansom.EgressInternet)
	for range 3 {
		m := s.send(t, query("kept.test.", dnsmessage.TypeA))
		if ttl := m.Answers[0].Header.TTL; u.queries.Load() != 1 || m.ID != 7 || ttl < 1 {
			t.Errorf("%d queries, a life of %d s", u.queries.Load(), ttl)
		}
	}
	for i := range int32(3) {
		s.send(t, query("once.test.", dnsmessage.TypeA))
		if n := u.queries.Load(); n != 2+i {
			t.Errorf("%d queries", n)
		}
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(DefaultConfig(), slog.New(slog.DiscardHandler))
		q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
		m := &dnsmessage.Message{Answers: []dnsmessage.Resource{address("a.test.", "9.9.9.9", 3600)}}
		answer, ttl := r.filter(m)
		r.keep(q, answer, ttl)
		time.Sleep(20 * time.Second)
		if got := r.cached(q); got == nil || got.Answers[0].Header.TTL > 41 {
			t.Errorf("after 20 s: %+v", got)
		}
		time.Sleep(41 * time.Second)
		if got := r.cached(q); got != nil {
			t.Errorf("after a minute: %+v", got)
		}
		for i := range 3 * maxCached {
			r.keep(dnsmessage.Question{Name: dnsmessage.MustNewName(fmt.Sprintf("n%d.test.", i)), Type: dnsmessage.TypeA}, answer, ttl)
		}
		if len(r.cache) > maxCached {
			t.Errorf("%d answers are kept", len(r.cache))
		}
	})
}

// TestServers: the next name server is asked when one fails.
func TestServers(t *testing.T) {
	broken := newNameServer(t, func(dnsmessage.Question) *dnsmessage.Message {
		return &dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeRefused}}
	})
	liar := newNameServer(t, func(q dnsmessage.Question) *dnsmessage.Message { return nil })
	good := newNameServer(t, func(q dnsmessage.Question) *dnsmessage.Message {
		return &dnsmessage.Message{Answers: []dnsmessage.Resource{address(q.Name.String(), "9.9.9.9", 9)}}
	})
	s := newSandbox(t, newResolver(t, broken, liar, good), hansom.EgressInternet)
	if got := show(s.send(t, query("a.test.", dnsmessage.TypeA))); got != "Success 9.9.9.9" {
		t.Error(got)
	}
}

// TestBusy: a sandbox that asks for too much at once is told so, and holds up nobody.
func TestBusy(t *testing.T) {
	hold := make(chan struct{})
	u := newNameServer(t, func(q dnsmessage.Question) *dnsmessage.Message {
		<-hold
		return &dnsmessage.Message{Answers: []dnsmessage.Resource{address(q.Name.String(), "9.9.9.9", 9)}}
	})
	s := newSandbox(t, newResolver(t, u), hansom.EgressInternet)
	for i := range perSandbox {
		if _, err := s.udp.Write(query(fmt.Sprintf("n%d.test.", i), dnsmessage.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	if got := show(s.send(t, query("more.test.", dnsmessage.TypeA))); got != "ServerFailure" {
		t.Error(got)
	}
	close(hold)
	for range perSandbox {
		if got := show(s.receive(t)); got != "Success 9.9.9.9" {
			t.Error(got)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        {"127.0.0.1:53"},
		"# nothing\nsearch a b\n": {"127.0.0.1:53"},
		"nameserver 10.0.0.1\nnameserver  fd00::1 # b\n; nameserver 1.1.1.1\nnameserver x\n": {"10.0.0.1:53", "[fd00::1]:53"},
	} {
		var got []string
		for _, a := range parse([]byte(text)) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		s := servers{path: path}
		for _, ip := range []string{"9.9.9.9", "9.9.9.8"} {
			if err := os.WriteFile(path, []byte("nameserver "+ip+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := s.current(); len(got) != 1 || got[0].Addr().String() != ip {
				t.Errorf("%v, want %s", got, ip)
			}
			time.Sleep(lookAgain)
		}
	})
}

// FuzzQuery: whatever a sandbox sends, it is answered or left alone.
func FuzzQuery(f *testing.F) {
	f.Add(query("a.localhost.", dnsmessage.TypeA))
	f.Add(query("a.test.", dnsmessage.TypeA))
	f.Add([]byte{0, 1, 0x81, 0x80, 0, 2, 0, 0, 0, 0, 0, 0})
	r := New(DefaultConfig(), slog.New(slog.DiscardHandler))
	c := &client{resolver: r}
	f.Fuzz(func(t *testing.T, text []byte) {
		var m dnsmessage.Message
		if m.Unpack(text) != nil {
			return
		}
		if _, answer := c.known(&m); answer != nil {
			encode(&m, answer, packetSize(&m))
		}
	})
}
