package network

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func tableName(id string) string { return "hansom-" + id }

// rules are the server's table of the packet filter.
type rules struct {
	table   *nftables.Table
	forward *nftables.Chain
}

// The register that expressions work in.
const register = 1

func compare(op expr.CmpOp, data []byte) *expr.Cmp {
	return &expr.Cmp{Op: op, Register: register, Data: data}
}

// from and to match the interfaces whose names begin with prefix.
func from(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, compare(expr.CmpOpEq, []byte(prefix))}
}

func to(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, compare(expr.CmpOpEq, []byte(prefix))}
}

func notTo(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, compare(expr.CmpOpNeq, []byte(prefix))}
}

// exactly is an interface's name as the packet filter compares it.
func exactly(name string) string { return name + "\x00" }

func protocol(op expr.CmpOp, family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, compare(op, []byte{family})}
}

// Where the addresses are in a header of version 4.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func address(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func within(offset uint32, p netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(uint32(uint64(1)<<32 - uint64(1)<<(32-p.Bits())))
	return []expr.Any{address(offset),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		compare(expr.CmpOpEq, p.Masked().Addr().AsSlice())}
}

// state matches connections in one of the states.
func state(bits uint32) []expr.Any { return tracked(expr.CtKeySTATE, bits, expr.CmpOpNeq) }

// tracked compares bits of what the connection tracking knows with zero.
func tracked(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Ct{Key: key, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		compare(op, make([]byte, 4))}
}

const (
	answers = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	// statusDNAT is IPS_DST_NAT: the destination was translated, as that of a published port is.
	statusDNAT = 1 << 5
)

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

var (
	accept = verdict(expr.VerdictAccept, "")
	drop   = verdict(expr.VerdictDrop, "")
	refuse = verdict(expr.VerdictGoto, "refuse")
)

// rateLife is longer than connectionTide takes to come back, so that whoever is forgotten has as much as one who is not.
const rateLife = 30 * time.Second

// install makes the table, at once and as a whole. The interfaces of sandboxes have names that begin with prefix.
func install(c *nftables.Conn, id, prefix string, block netip.Prefix, cfg *Config) (*rules, error) {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(id)})
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority})
	}
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: all})
	}
	refused := c.AddChain(&nftables.Chain{Name: "refuse", Table: t})
	rule(refused, []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP}),
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	rule(refused, protocol(expr.CmpOpEq, unix.NFPROTO_IPV4), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
	rule(refused, drop)

	// What sandboxes send to others. A source address that has no route back to where the packet came from is not the sandbox's.
	outgoing := c.AddChain(&nftables.Chain{Name: "outgoing", Table: t})
	rule(outgoing, protocol(expr.CmpOpNeq, unix.NFPROTO_IPV4), drop)
	rule(outgoing, []expr.Any{&expr.Fib{Register: register, FlagSADDR: true, FlagIIF: true, ResultOIF: true}, compare(expr.CmpOpEq, make([]byte, 4))}, drop)
	rule(outgoing, state(answers), accept)
	rule(outgoing, within(destinationOffset, cfg.Range.Masked()), refuse)
	rule(outgoing, to(prefix), refuse)
	permitted := c.AddChain(&nftables.Chain{Name: "permitted", Table: t})
	for _, p := range cfg.Allow {
		rule(outgoing, within(destinationOffset, p), verdict(expr.VerdictGoto, "permitted"))
	}
	for _, p := range cfg.Refuse {
		rule(outgoing, within(destinationOffset, p), refuse)
	}
	rule(outgoing, verdict(expr.VerdictGoto, "permitted"))

	for i, l := range []struct {
		name      string
		limit     expr.Any
		operation uint32
		life      time.Duration // of an address in the set since its last connection began
	}{
		{"rate", &expr.Limit{Type: expr.LimitTypePkts, Rate: ConnectionRate, Unit: expr.LimitTimeSecond, Burst: connectionTide, Over: true}, unix.NFT_DYNSET_OP_UPDATE, rateLife},
		// 1 is NFT_CONNLIMIT_F_INV: over it. An address leaves the set with its last connection.
		{"open", &expr.Connlimit{Count: MaxConnections, Flags: 1}, unix.NFT_DYNSET_OP_ADD, 0},
	} {
		// Without an ID the library takes one from a counter of the process, which two servers in one race for.
		set := &nftables.Set{Table: t, ID: uint32(i + 1), Name: l.name, KeyType: nftables.TypeIPAddr, Dynamic: true, Size: 1 << (32 - block.Bits()), HasTimeout: l.life > 0, Timeout: l.life}
		if err := c.AddSet(set, nil); err != nil {
			return nil, err
		}
		rule(permitted, []expr.Any{address(sourceOffset), &expr.Dynset{SrcRegKey: register, SetName: set.Name, SetID: set.ID,
			Operation: l.operation, Exprs: []expr.Any{l.limit}}}, refuse)
	}
	rule(permitted, accept)

	r := &rules{table: t}
	r.forward = base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	rule(r.forward, from(prefix), verdict(expr.VerdictGoto, "outgoing"))
	rule(r.forward, to(prefix), state(answers), accept)
	rule(r.forward, to(prefix), drop)
	input := base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	rule(input, from(prefix), refuse)
	output := base("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	rule(output, to(prefix), state(answers), accept)
	rule(output, to(prefix), refuse)
	postrouting := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	rule(postrouting, protocol(expr.CmpOpEq, unix.NFPROTO_IPV4), within(sourceOffset, block), notTo(prefix), []expr.Any{&expr.Masq{}})
	return r, c.Flush()
}

// guard keeps a host that forwards for its sandboxes alone from forwarding what others send it over an interface.
func (r *rules) guard(c *nftables.Conn, uplink string) error {
	var all []expr.Any
	for _, p := range [][]expr.Any{from(exactly(uplink)), state(expr.CtStateBitNEW), tracked(expr.CtKeySTATUS, statusDNAT, expr.CmpOpEq), drop} {
		all = append(all, p...)
	}
	c.AddRule(&nftables.Rule{Table: r.table, Chain: r.forward, Exprs: all})
	return c.Flush()
}

// uninstall removes the table of a server; that there is none is no error.
func uninstall(id string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(id)})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// otherFirewalls are chains of others that drop forwarded packets unless told otherwise, which no rule of ours can overrule.
func otherFirewalls() []string {
	c, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, _ := c.ListChains()
	var names []string
	for _, ch := range chains {
		if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop &&
			(ch.Table.Family == nftables.TableFamilyIPv4 || ch.Table.Family == nftables.TableFamilyINet) {
			names = append(names, ch.Table.Name+" "+ch.Name)
		}
	}
	return names
}
