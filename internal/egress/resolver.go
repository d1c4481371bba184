package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/singleflight"

	"github.com/hansomcloud/hansom"
)

// Config of a Resolver.
type Config struct {
	Domain     string           // names under it, and it, are the platform's, at 127.0.0.1
	Policy     Policy           // addresses that answers may hold
	ResolvConf string           // the host's resolv.conf: its name servers are asked; read again when it changes
	Servers    []netip.AddrPort // are asked instead, when there are any
}

// DefaultConfig asks the host's name servers.
func DefaultConfig() Config { return Config{Domain: "localhost", ResolvConf: "/etc/resolv.conf"} }

// Limits of look-ups.
const (
	maxQuery   = 512              // bytes
	maxAnswer  = 4096             // bytes of an answer over UDP, if the client takes as many; more go over TCP
	perSandbox = 32               // look-ups that wait for a name server at once
	streams    = 8                // connections of a sandbox over TCP at once
	patience   = 5 * time.Second  // for all name servers together
	oneAttempt = 2 * time.Second  // for one of them
	idleStream = 10 * time.Second // a connection without a query ends
	maxTTL     = 60 * time.Second // answers are kept no longer
	noTTL      = 5 * time.Second  // an answer that there is nothing is kept this long
	maxCached  = 4096             // answers
)

// Resolver answers the look-ups of functions (RFC 1035): it asks the host's name servers and leaves out the addresses that
// functions may not reach. Addresses of version 6 it has none, as sandboxes have none.
type Resolver struct {
	cfg     Config
	domain  string // absolute
	log     *slog.Logger
	servers servers
	flights singleflight.Group

	mu    sync.Mutex
	cache map[dnsmessage.Question]cached
}

type cached struct {
	answer  *dnsmessage.Message
	expires time.Time
}

// New makes a resolver.
func New(cfg Config, log *slog.Logger) *Resolver {
	return &Resolver{cfg: cfg, domain: absolute(cfg.Domain), log: log, servers: servers{path: cfg.ResolvConf, fixed: cfg.Servers},
		cache: map[dnsmessage.Question]cached{}}
}

func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// Serve answers what a sandbox asks over packets and streams until they are closed. Other names than the platform's are for
// functions with egress to the internet; for others they do not exist.
func (r *Resolver) Serve(packets net.PacketConn, l net.Listener, egress string) {
	c := &client{resolver: r, internet: egress == hansom.EgressInternet, slots: make(chan struct{}, perSandbox)}
	var both sync.WaitGroup
	both.Go(func() { c.streams(l) })
	both.Go(func() { c.packets(packets) })
	both.Wait()
}

// client is one sandbox.
type client struct {
	resolver *Resolver
	internet bool
	slots    chan struct{}
}

func (c *client) packets(conn net.PacketConn) {
	var wait sync.WaitGroup
	defer wait.Wait()
	buf := make([]byte, maxQuery+1)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of a packet that could not be delivered
			continue
		}
		var query dnsmessage.Message
		if n > maxQuery || query.Unpack(buf[:n]) != nil || query.Response {
			continue // nothing that an answer could name
		}
		size := packetSize(&query)
		reply := func(answer *dnsmessage.Message) { _, _ = conn.WriteTo(encode(&query, answer, size), from) }
		q, answer := c.known(&query)
		if answer != nil {
			reply(answer)
			continue
		}
		select {
		case c.slots <- struct{}{}:
			wait.Go(func() {
				reply(c.resolver.ask(q))
				<-c.slots
			})
		default:
			reply(status(dnsmessage.RCodeServerFailure))
		}
	}
}

func (c *client) streams(l net.Listener) {
	var wait sync.WaitGroup
	defer wait.Wait()
	open := make(chan struct{}, streams)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case open <- struct{}{}:
			wait.Go(func() {
				c.stream(conn)
				conn.Close()
				<-open
			})
		default:
			conn.Close()
		}
	}
}

// stream answers the queries of a connection, one after the other; each has its length in front (RFC 1035, section 4.2.2).
func (c *client) stream(conn net.Conn) {
	for {
		_ = conn.SetDeadline(time.Now().Add(idleStream + patience))
		var head [2]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint16(head[:])
		buf := make([]byte, min(n, maxQuery))
		var query dnsmessage.Message
		if _, err := io.ReadFull(conn, buf); err != nil || n > maxQuery || query.Unpack(buf) != nil || query.Response {
			return
		}
		q, answer := c.known(&query)
		if answer == nil {
			c.slots <- struct{}{}
			answer = c.resolver.ask(q)
			<-c.slots
		}
		text := encode(&query, answer, 1<<16-1)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)); err != nil {
			return
		}
	}
}

// known is the answer that needs no name server, or nil and the question for one, in lower case.
func (c *client) known(query *dnsmessage.Message) (q dnsmessage.Question, answer *dnsmessage.Message) {
	if query.OpCode != 0 || len(query.Questions) != 1 || query.Questions[0].Class != dnsmessage.ClassINET {
		return q, status(dnsmessage.RCodeNotImplemented)
	}
	q = query.Questions[0]
	name, err := dnsmessage.NewName(strings.ToLower(q.Name.String()))
	if err != nil {
		return q, status(dnsmessage.RCodeFormatError)
	}
	q.Name = name
	switch {
	case under(name.String(), c.resolver.domain) || under(name.String(), "localhost."):
		answer := status(dnsmessage.RCodeSuccess)
		if q.Type == dnsmessage.TypeA {
			answer.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: query.Questions[0].Name, Type: q.Type, Class: q.Class, TTL: uint32(maxTTL / time.Second)},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		return q, answer
	case !c.internet || c.resolver.private(name.String()):
		return q, status(dnsmessage.RCodeNameError)
	}
	switch q.Type {
	case dnsmessage.TypeAAAA, typeSVCB, typeHTTPS:
		return q, status(dnsmessage.RCodeSuccess)
	case dnsmessage.TypeALL, dnsmessage.TypeAXFR, typeIXFR:
		return q, status(dnsmessage.RCodeNotImplemented)
	}
	return q, c.resolver.cached(q)
}

// Types that dnsmessage does not name (RFC 9460, RFC 1995).
const (
	typeSVCB  dnsmessage.Type = 64
	typeHTTPS dnsmessage.Type = 65
	typeIXFR  dnsmessage.Type = 251
)

func under(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// private reports whether name asks who has an address that functions may not reach.
func (r *Resolver) private(name string) bool {
	if under(name, "ip6.arpa.") {
		return true
	}
	labels, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		return false
	}
	parts := strings.Split(labels, ".")
	if len(parts) != 4 {
		return true
	}
	addr, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return err != nil || !r.cfg.Policy.Allows(addr)
}

func status(code dnsmessage.RCode) *dnsmessage.Message {
	return &dnsmessage.Message{Header: dnsmessage.Header{RCode: code}}
}

// packetSize is how large an answer over UDP may be: what the client's OPT record says (RFC 6891), or 512 bytes.
func packetSize(query *dnsmessage.Message) int {
	for _, r := range query.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			return min(max(int(r.Header.Class), maxQuery), maxAnswer)
		}
	}
	return maxQuery
}

// encode is answer as the answer to query. What is larger than size is left out, and the client asks again over TCP.
func encode(query, answer *dnsmessage.Message, size int) []byte {
	m := *answer
	m.ID, m.Response, m.RecursionDesired, m.RecursionAvailable, m.OpCode = query.ID, true, query.RecursionDesired, true, query.OpCode
	m.Questions = query.Questions
	m.Answers, m.Authorities = slices.Clone(m.Answers), slices.Clone(m.Authorities) // Pack writes to them, and the answer may be kept
	text, err := m.Pack()
	if err == nil && len(text) <= size {
		return text
	}
	m.Answers, m.Authorities, m.Truncated = nil, nil, err == nil
	if err != nil {
		m.RCode = dnsmessage.RCodeServerFailure
	}
	text, _ = m.Pack() // the question alone, which came packed
	return text
}

// ask answers from the host's name servers. Those who ask the same at once share the answer.
func (r *Resolver) ask(q dnsmessage.Question) *dnsmessage.Message {
	v, _, _ := r.flights.Do(q.Name.String()+q.Type.String(), func() (any, error) {
		if answer := r.cached(q); answer != nil {
			return answer, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m, err := r.servers.ask(ctx, q)
		if err != nil {
			r.log.Debug("a name could not be looked up", "name", q.Name.String(), "error", err)
			return status(dnsmessage.RCodeServerFailure), nil
		}
		answer, ttl := r.filter(m)
		r.keep(q, answer, ttl)
		return answer, nil
	})
	return v.(*dnsmessage.Message)
}

// filter is what functions may know of a name server's answer, and how long it may be kept.
func (r *Resolver) filter(m *dnsmessage.Message) (*dnsmessage.Message, time.Duration) {
	if m.RCode != dnsmessage.RCodeSuccess && m.RCode != dnsmessage.RCodeNameError {
		return status(dnsmessage.RCodeServerFailure), 0
	}
	answer := status(m.RCode)
	ttl, refused, addresses := maxTTL, 0, 0
	for _, res := range m.Answers {
		switch body := res.Body.(type) {
		case *dnsmessage.AAAAResource:
			continue
		case *dnsmessage.AResource:
			if !r.cfg.Policy.Allows(netip.AddrFrom4(body.A)) {
				refused++
				continue
			}
			addresses++
		}
		ttl = min(ttl, time.Duration(res.Header.TTL)*time.Second)
		answer.Answers = append(answer.Answers, res)
	}
	if refused > 0 && addresses == 0 {
		return status(dnsmessage.RCodeNameError), noTTL
	}
	if len(answer.Answers) == 0 {
		for _, res := range m.Authorities {
			if res.Header.Type == dnsmessage.TypeSOA {
				answer.Authorities = append(answer.Authorities, res)
			}
		}
		ttl = noTTL
	}
	return answer, ttl
}

// cached is the answer that is kept, or nil.
func (r *Resolver) cached(q dnsmessage.Question) *dnsmessage.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[q]
	left := time.Until(c.expires)
	if !ok || left <= 0 {
		return nil
	}
	m := *c.answer
	m.Answers = append([]dnsmessage.Resource(nil), m.Answers...)
	for i := range m.Answers {
		m.Answers[i].Header.TTL = uint32(left/time.Second) + 1
	}
	return &m
}

func (r *Resolver) keep(q dnsmessage.Question, answer *dnsmessage.Message, ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(r.cache) >= maxCached {
		for k, c := range r.cache {
			if now.After(c.expires) {
				delete(r.cache, k)
			}
		}
		if len(r.cache) >= maxCached {
			clear(r.cache)
		}
	}
	r.cache[q] = cached{answer, now.Add(ttl)}
}
