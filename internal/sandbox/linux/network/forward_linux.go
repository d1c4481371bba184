package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The host forwards packets between a sandbox and an uplink when both interfaces have forwarding on. Where an uplink's is off, it is
// turned on, with a rule that drops what others would have forwarded, and off again by the last server that needs it. Servers that
// need it hold a shared lock on <run dir>/forwarding/<interface>.

// uplink is an interface over which the host reaches the internet.
type uplink struct {
	name string
	lock *os.File // nil: its forwarding is not a matter of ours
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// findUplinks looks for the interfaces of the default routes and of routes to exceptions, and turns their forwarding on. The caller
// holds n.mu.
func (n *Network) findUplinks() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	mtu := uint32(1500)
	for _, r := range routes {
		if !n.leadsOut(&r) {
			continue
		}
		indexes := []int{r.LinkIndex}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
		for _, index := range indexes {
			if index == 0 {
				continue
			}
			link, err := netlink.LinkByIndex(index)
			if err != nil {
				continue // gone meanwhile; a change of routes follows
			}
			mtu = min(mtu, uint32(link.Attrs().MTU))
			if n.uplinks[index] == nil {
				u := &uplink{name: link.Attrs().Name}
				if err := n.forward(u); err != nil {
					return fmt.Errorf("cannot turn forwarding on for %s: %w", u.name, err)
				}
				n.uplinks[index] = u
			}
		}
	}
	n.mtu = mtu
	return nil
}

func (n *Network) leadsOut(r *netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	bits, _ := r.Dst.Mask.Size()
	ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
	if !ok || n.cfg.Range.Contains(ip) {
		return false
	}
	if bits == 0 {
		return true
	}
	for _, p := range n.cfg.Allow {
		if p.Overlaps(netip.PrefixFrom(ip, bits)) {
			return true
		}
	}
	return false
}

func forwardingFile(link string) string { return "/proc/sys/net/ipv4/conf/" + link + "/forwarding" }

func writeForwarding(link, value string) error {
	f, err := os.OpenFile(forwardingFile(link), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func forwards(link string) bool {
	b, err := os.ReadFile(forwardingFile(link))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// turn gives one server at a time the forwarding directory. Closing the file ends it.
func turn(runDir string) (dir string, lock *os.File, err error) {
	dir = filepath.Join(runDir, "forwarding")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dir, nil, err
	}
	lock, err = locked(filepath.Join(runDir, "forwarding.lock"), unix.LOCK_EX)
	return dir, lock, err
}

func locked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

func (n *Network) forward(u *uplink) error {
	dir, mine, err := turn(n.runDir)
	if err != nil {
		return err
	}
	defer mine.Close()
	file := filepath.Join(dir, u.name)
	if _, err := os.Stat(file); os.IsNotExist(err) && forwards(u.name) {
		return nil
	}
	if u.lock, err = locked(file, unix.LOCK_SH); err != nil {
		return err
	}
	if err := n.rules.guard(n.filter, u.name); err != nil {
		return err
	}
	if forwards(u.name) {
		return nil
	}
	n.log.Info("turned forwarding on for sandboxes; what others send is not forwarded", "interface", u.name)
	return writeForwarding(u.name, "1")
}

// restoreForwarding turns forwarding off where no server needs it any more, unless somebody else has turned it on everywhere.
func restoreForwarding(runDir string) error {
	dir, mine, err := turn(runDir)
	if err != nil {
		return err
	}
	defer mine.Close()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		lock, busy := locked(file, unix.LOCK_EX|unix.LOCK_NB)
		if busy != nil {
			continue
		}
		if !forwards("all") {
			if e := writeForwarding(e.Name(), "0"); e != nil && !os.IsNotExist(e) {
				err = errors.Join(err, e)
			}
		}
		err = errors.Join(err, os.Remove(file), lock.Close())
	}
	return err
}
