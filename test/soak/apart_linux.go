package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/hansomcloud/hansom/internal/sandbox/linux"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
)

// connected says why functions with egress internet cannot run here.
func connected() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can connect sandboxes")
	}
	return network.Check(linux.DefaultConfig().Network)
}

// apart runs this program again in a network namespace of its own, with further variables.
func apart(ctx context.Context, env ...string) error {
	runtime.LockOSThread() // the death of the thread that starts it is what Pdeathsig looks at
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// outside gives the network namespace a loopback, and a default route to where nobody answers: what functions send goes through
// all that a packet to the internet does, and never leaves the machine.
func outside() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	way := netlink.NewLinkAttrs()
	way.Name = "out0"
	nobody := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(&netlink.Veth{LinkAttrs: way, PeerName: "out1"})); err != nil {
		return err
	}
	for _, name := range []string{"out0", "out1"} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("out0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("93.184.216.2/24")
	if err != nil {
		return err
	}
	index, gateway := link.Attrs().Index, net.IPv4(93, 184, 216, 1)
	return errors.Join(netlink.AddrAdd(link, addr),
		netlink.NeighAdd(&netlink.Neigh{LinkIndex: index, IP: gateway, HardwareAddr: nobody, State: netlink.NUD_PERMANENT}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway}))
}

// filters counts the tables of nftables, and the elements of their sets.
func filters() (tables, elements int) {
	c, err := nftables.New()
	if err != nil {
		return 0, 0
	}
	all, _ := c.ListTables()
	for _, t := range all {
		sets, _ := c.GetSets(t)
		for _, s := range sets {
			list, _ := c.GetSetElements(s)
			elements += len(list)
		}
	}
	return len(all), elements
}
