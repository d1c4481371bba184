// Package throttle says how often routes may be called: token buckets of stages, routes, clients and API keys, and the quotas of usage plans.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
package throttle

import (
	"hash/maphash"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// What a bucket is of: the Scope of a Key. Buckets of clients are bounded in number, since anybody can be many.
const (
	Stage  = "stage"  // all requests of a stage
	Route  = "route"  // those of a route of it
	Client = "client" // those of a client of a route; Who is its address
	Plan   = "plan"   // those of an API key of a usage plan; Who is both, as the caller names them
)

// Key names a bucket.
type Key struct{ Scope, API, Stage, Route, Who string }

// Config of Limits.
type Config struct {
	Clients int // buckets of clients that are kept; when there are more, the fullest of a few go
	Now     func() time.Time
}

// DefaultConfig keeps the buckets of 100,000 clients.
func DefaultConfig() Config { return Config{Clients: 100_000, Now: time.Now} }

const (
	shards = 32
	looked = 4 // buckets that are looked at for each new one, whether they can be forgotten
)

// Limits are token buckets. One that is full is no other than one that is not there: it is forgotten. Methods may be called from several
// goroutines.
type Limits struct {
	cfg    Config
	epoch  time.Time
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	fixed   map[Key]*bucket
	clients map[Key]*bucket
	_       [64]byte // the next shard has a cache line of its own
}

// bucket is when it will be full, in nanoseconds since the epoch: a bucket of GCRA (the virtual scheduling algorithm of ITU-T I.371), which
// lets the same through as one that counts tokens.
type bucket struct{ full float64 }

// New returns limits of which no bucket has been used. Error: Invalid.
func New(cfg Config) (*Limits, error) {
	if cfg.Clients < shards || cfg.Now == nil {
		return nil, hansom.Errorf(hansom.Invalid, "make throttles", "clients must be at least %d and now must be set", shards)
	}
	l := &Limits{cfg: cfg, epoch: cfg.Now(), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].fixed, l.shards[i].clients = map[Key]*bucket{}, map[Key]*bucket{}
	}
	return l, nil
}

// Take takes a token out of a bucket that holds burst of them and is filled with rate a second. ok is false when there is none: after says
// when the next one will be there. Without a rate or a burst there never is one, and after is a second.
// rate and burst may be others than the last time.
func (l *Limits) Take(key Key, rate float64, burst int) (after time.Duration, ok bool) {
	if !(rate > 0) || burst <= 0 {
		return time.Second, false
	}
	now := float64(l.cfg.Now().Sub(l.epoch))
	every := float64(time.Second) / rate
	s := &l.shards[maphash.Comparable(l.seed, key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.fixed[key]
	if key.Scope == Client {
		b = s.clients[key]
	}
	if b == nil {
		b = s.add(key, now, l.cfg.Clients/shards)
	}
	full := max(b.full, now)
	// Less than a nanosecond is nothing: whoever waits as long as was said is let through.
	if wait := full - now - float64(burst-1)*every; wait >= 1 {
		return time.Duration(min(wait, float64(24*time.Hour))), false
	}
	b.full = full + every
	return 0, true
}

// add makes a bucket, forgets full ones, and lets no more than most clients stay.
func (s *shard) add(key Key, now float64, most int) *bucket {
	m := s.fixed
	if key.Scope == Client {
		m = s.clients
	}
	n := 0
	var fullest Key
	at := math.Inf(1)
	for k, b := range m { // from a random one on
		if b.full < at {
			fullest, at = k, b.full
		}
		if b.full <= now {
			delete(m, k)
		}
		if n++; n == looked {
			break
		}
	}
	if key.Scope == Client && len(m) >= most {
		delete(m, fullest)
	}
	// Parts of a request share its memory.
	key = Key{strings.Clone(key.Scope), strings.Clone(key.API), strings.Clone(key.Stage), strings.Clone(key.Route), strings.Clone(key.Who)}
	b := &bucket{}
	m[key] = b
	return b
}

// Buckets is how many buckets there are.
func (l *Limits) Buckets() (n int) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.fixed) + len(s.clients)
		s.mu.Unlock()
	}
	return n
}

// Address is who a client is by its address: the address itself, of version 6 the network of 64 bits, which is one customer's.
func Address(address string) string {
	for i := range len(address) {
		if address[i] != ':' {
			continue
		}
		a, err := netip.ParseAddr(address)
		if err != nil || a.Is4In6() {
			return address
		}
		p, err := a.WithZone("").Prefix(64)
		if err != nil {
			return address
		}
		return p.String()
	}
	return address
}
