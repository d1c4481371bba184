package hansom

// Egress says what a function reaches over the network.
const (
	EgressNone     = "none"     // nothing but its runtime's API on loopback
	EgressPlatform = "platform" // also the platform's APIs, on loopback
	EgressInternet = "internet" // also public addresses, and names
)

// CheckEgress refuses what is not one of the three, nor "", which leaves it to the default. Errors: Invalid.
func CheckEgress(egress string) error {
	switch egress {
	case "", EgressNone, EgressPlatform, EgressInternet:
		return nil
	}
	return Errorf(Invalid, "check egress", "egress %.40q is not %s, %s or %s", egress, EgressNone, EgressPlatform, EgressInternet)
}
