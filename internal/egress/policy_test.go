package egress

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAllows(t *testing.T) {
	p, err := NewPolicy([]string{"10.77.0.0/24", "192.168.1.9/32"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "93.184.216.34": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true,
		"100.128.0.1": true, "192.0.1.1": true, "198.17.1.1": true, "198.20.1.1": true, "223.255.255.254": true, "11.0.0.0": true,
		"10.77.0.1": true, "192.168.1.9": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.77.1.0": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.0.1": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false,
		"192.0.2.1": false, "192.168.0.1": false, "192.168.1.8": false, "198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false,
		"203.0.113.1": false, "224.0.0.1": false, "239.1.1.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::1": false, "2001:4860:4860::8888": false, "fe80::1": false, "fd00::1": false, "::ffff:8.8.8.8": false, "64:ff9b::808:808": false,
	} {
		if got := p.Allows(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}

func TestExceptions(t *testing.T) {
	for text, ok := range map[string]bool{
		"10.0.0.0/8": true, "100.100.0.0/16": true, "192.168.7.7/32": true, "8.0.0.0/8": true,
		"0.0.0.0/0": false, "127.0.0.1/32": false, "169.254.169.254/32": false, "168.0.0.0/6": false, "224.0.0.1/32": false, "10.0.0.1/8": false,
		"10.0.0.1": false, "fd00::/8": false, "lan": false,
	} {
		if _, err := NewPolicy([]string{text}); ok != (err == nil) || !ok && hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", text, err)
		}
	}
}
