package network

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network connects the sandboxes of one server. Its methods may be called from several goroutines.
type Network struct {
	cfg    Config
	log    *slog.Logger
	id     string // of the server
	dir    string // the server's directory: what it made on the host is noted there
	runDir string

	mu        sync.Mutex
	up        bool
	home      int // this process's network namespace
	host      int // a socket for batches
	addresses *addresses
	filter    *nftables.Conn
	rules     *rules
	uplinks   map[int]*uplink // by index
	mtu       uint32
	stop      chan struct{}
	tasks     sync.WaitGroup
}

// New makes the network of the server id, whose directory is runDir/id. On the host there is nothing of it before Attach.
func New(cfg Config, runDir, id string, log *slog.Logger) *Network {
	return &Network{cfg: cfg, log: log, id: id, dir: filepath.Join(runDir, id), runDir: runDir}
}

// prefix of the names of a server's interfaces: with four digits more they are as long as the kernel allows.
func prefix(id string) string { return "h" + strings.TrimPrefix(id, "s") }

// note is the file in a server's directory that holds its block once it has one.
func note(dir string) string { return filepath.Join(dir, "network") }

// Check tries everything in a network namespace of its own, which nobody else sees. The error says what this kernel lacks.
func Check(cfg Config) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread stands for the process in /proc: another one must go
			done <- Check(cfg)
			runtime.UnlockOSThread()
			return
		}
		done <- try(cfg) // the thread ends with this goroutine, and the namespace with it
	}()
	return <-done
}

func try(cfg Config) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	fd, err := openRoutes()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	p := pair{outside: prefix("sprobe"), index: insideIndex + 1, addr: plus(cfg.Range.Addr(), 2), gateway: plus(cfg.Range.Addr(), 1), mtu: 1500}
	if err := p.connect(fd, fd, ns); err != nil {
		return fmt.Errorf("this kernel makes no pair of interfaces (veth): %w", err)
	}
	if err := writeForwarding(p.outside, "1"); err != nil {
		return fmt.Errorf("the server may not change settings of the network: %w", err)
	}
	c, err := nftables.New()
	if err == nil {
		_, err = install(c, "sprobe", prefix("sprobe"), netip.PrefixFrom(cfg.Range.Addr(), cfg.blockBits()), &cfg)
	}
	if err != nil {
		return fmt.Errorf("this kernel's packet filter (nf_tables with inet, nat, fib, reject, limit and connlimit) does not take the rules: %w", err)
	}
	return nil
}

// Obstacles are what on this host may keep packets of sandboxes from the internet although everything is in place.
func Obstacles() []string {
	var all []string
	for _, name := range otherFirewalls() {
		all = append(all, fmt.Sprintf("the firewall's chain %q drops what it forwards unless a rule lets it through: accept what comes from and goes to interfaces h*", name))
	}
	return all
}

// Attachment is a sandbox's connection.
type Attachment struct {
	Addr   netip.Addr
	offset uint32
}

// attempts to find an address, an interface's name and number that nobody has. Those of sandboxes that have ended live on for a moment.
const attempts = 16

// Attach connects the network namespace ns with the internet, for as long as that lives. It takes an address that Detach gives
// back. Errors say what the host refuses.
func (n *Network) Attach(ns *os.File) (*Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.ensure(); err != nil {
		return nil, fmt.Errorf("cannot connect sandboxes with the internet: %w", err)
	}
	inner, err := openRoutesIn(int(ns.Fd()), n.home)
	if err != nil {
		return nil, err
	}
	defer unix.Close(inner)
	for range attempts {
		offset, ok := n.addresses.get()
		if !ok {
			return nil, fmt.Errorf("all %d addresses of %s are in use", n.addresses.size()-2, n.addresses.block)
		}
		a := &Attachment{n.addresses.at(offset), offset}
		ip := a.Addr.As4()
		p := pair{outside: fmt.Sprintf("%s%04x", prefix(n.id), offset), addr: a.Addr, gateway: n.addresses.block.Addr(), mtu: n.mtu,
			index: 1<<30 | int(ip[1])<<16 | int(ip[2])<<8 | int(ip[3])}
		err = p.connect(n.host, inner, int(ns.Fd()))
		if err == nil {
			err = writeForwarding(p.outside, "1")
		}
		if err == nil {
			return a, nil
		}
		n.addresses.put(offset)
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return nil, err
}

// Detach gives the address of a sandbox back whose processes have ended.
func (n *Network) Detach(a *Attachment) { n.addresses.put(a.offset) }

// ensure makes what all sandboxes share. The caller holds n.mu.
func (n *Network) ensure() (err error) {
	if n.up {
		return nil
	}
	n.home, n.host = -1, -1
	defer func() {
		if err != nil {
			n.remove()
		}
	}()
	if n.home, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if n.host, err = openRoutes(); err != nil {
		return err
	}
	block, err := n.claim()
	if err != nil {
		return err
	}
	n.addresses = newAddresses(block)
	if n.filter, err = nftables.New(); err != nil {
		return err
	}
	if n.rules, err = install(n.filter, n.id, prefix(n.id), block, &n.cfg); err != nil {
		return fmt.Errorf("cannot set the packet filter up: %w", err)
	}
	n.uplinks = map[int]*uplink{}
	if err := n.findUplinks(); err != nil {
		return err
	}
	n.stop = make(chan struct{})
	updates, err := n.follow()
	if err != nil {
		return err
	}
	n.up = true
	n.tasks.Go(func() { n.maintain(updates) })
	return nil
}

// follow subscribes to changes of the host's routes until n.stop. The channel is closed when there were too many of them.
func (n *Network) follow() (<-chan netlink.RouteUpdate, error) {
	updates := make(chan netlink.RouteUpdate, 64)
	return updates, netlink.RouteSubscribeWithOptions(updates, n.stop, netlink.RouteSubscribeOptions{ReceiveBufferSize: 1 << 20})
}

// claim takes a block of addresses that nobody has a route to: a blackhole route marks it, which also keeps stray packets in.
func (n *Network) claim() (netip.Prefix, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Prefix{}, err
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if ok && bits > 0 {
			taken = append(taken, netip.PrefixFrom(ip, bits))
		}
	}
	bits := n.cfg.blockBits()
	count := uint32(1) << (bits - n.cfg.Range.Bits())
	h := fnv.New32a()
	h.Write([]byte(n.id))
next:
	for i := range count {
		block := netip.PrefixFrom(plus(n.cfg.Range.Masked().Addr(), (h.Sum32()%count+i)%count<<(32-bits)), bits)
		for _, p := range taken {
			if p.Overlaps(block) {
				continue next
			}
		}
		if err := os.WriteFile(note(n.dir), []byte(block.String()), 0o600); err != nil {
			return block, err
		}
		var b batch
		b.route(unix.RTN_BLACKHOLE, block, 0, netip.Addr{}, netip.Addr{})
		if err := b.run(n.host); !errors.Is(err, unix.EEXIST) {
			return block, err
		}
	}
	return netip.Prefix{}, fmt.Errorf("the host has routes to all of %s: choose another range", n.cfg.Range)
}

// rest is how long an address rests at least before another sandbox gets it.
const rest = 10 * time.Second

// maintain follows the host's routes and readies addresses for their next use.
func (n *Network) maintain(routes <-chan netlink.RouteUpdate) {
	tick := time.NewTicker(rest)
	defer tick.Stop()
	var changed <-chan time.Time
	for {
		select {
		case <-n.stop:
			return
		case u, ok := <-routes:
			if !ok {
				var err error
				if routes, err = n.follow(); err != nil {
					n.log.Warn("cannot follow the host's routes any more", "error", err)
					routes = nil
				}
			}
			if (!ok || n.mayMatter(&u)) && changed == nil {
				changed = time.After(100 * time.Millisecond) // changes come in groups
			}
		case <-changed:
			changed = nil
			n.mu.Lock()
			err := n.findUplinks()
			n.mu.Unlock()
			if err != nil {
				n.log.Warn("cannot follow a change of the host's routes; functions may not reach the internet", "error", err)
			}
		case <-tick.C:
			if offsets := n.addresses.rested(); len(offsets) > 0 {
				n.forgetConnections(offsets)
				n.addresses.renew(offsets)
			}
		}
	}
}

// mayMatter leaves out the routes of sandboxes themselves, this server's and others'.
func (n *Network) mayMatter(u *netlink.RouteUpdate) bool {
	if u.Dst == nil {
		return true
	}
	ip, ok := netip.AddrFromSlice(u.Dst.IP.To4())
	return ok && !n.cfg.Range.Contains(ip)
}

// forgetConnections ends what the host still tracks of sandboxes that are gone: it must not count for, nor reach, the next one.
func (n *Network) forgetConnections(offsets []uint32) {
	gone := sources{}
	for _, o := range offsets {
		gone[n.addresses.at(o)] = true
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, gone); err != nil {
		n.log.Debug("cannot clear the connections of ended sandboxes", "error", err)
	}
}

// sources matches connections that one of the addresses began.
type sources map[netip.Addr]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s sources) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	ip, ok := netip.AddrFromSlice(flow.Forward.SrcIP.To4())
	return ok && s[ip]
}

// Close removes what the network has on the host. Sandboxes have ended by then.
func (n *Network) Close() {
	n.mu.Lock()
	up := n.up
	n.up = false
	n.mu.Unlock()
	if up {
		close(n.stop)
		n.tasks.Wait()
		n.remove()
	}
}

func (n *Network) remove() {
	for _, fd := range []int{n.home, n.host} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, u := range n.uplinks {
		if u.lock != nil {
			u.lock.Close()
		}
	}
	if err := sweep(n.runDir, n.id, false); err != nil { // the interfaces end with their sandboxes
		n.log.Warn("cannot remove the network of the sandboxes; the next start of a server will try again", "error", err)
	}
}

// Sweep removes what the dead server id has left on the host. One that had no network costs nothing.
func Sweep(runDir, id string) error { return sweep(runDir, id, true) }

func sweep(runDir, id string, interfaces bool) error {
	file := note(filepath.Join(runDir, id))
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if interfaces {
		links, err := netlink.LinkList()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, prefix(id)) && l.Type() == "veth" {
				_ = netlink.LinkDel(l) // it may be on its way already, with the sandbox's namespace
			}
		}
	}
	err = uninstall(id)
	if block, bad := netip.ParsePrefix(string(text)); bad == nil {
		e := netlink.RouteDel(&netlink.Route{Dst: ipNet(block), Type: unix.RTN_BLACKHOLE})
		if !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	if err = errors.Join(err, restoreForwarding(runDir)); err == nil {
		err = os.Remove(file)
	}
	return err
}
