package healthcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// deniedAddressError is an address that no probe may connect to.
type deniedAddressError struct{ address netip.Addr }

func (e *deniedAddressError) Error() string {
	return fmt.Sprintf("address %s is not connected to: link-local, multicast and cloud metadata addresses are no endpoints", e.address)
}

// metadata are addresses outside the link-local range at which clouds hand out
// credentials to whoever asks: AWS and Google over IPv6, Azure's wire server,
// Alibaba, Oracle (each as its documentation gives it).
var metadata = [...]netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("fd20:ce::254"),
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("192.0.0.192"),
}

// nat64 is the well-known prefix (RFC 6052) under which an IPv4 address hides in
// the last four bytes of an IPv6 one.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// RefuseDial is a net.Dialer.Control. It sees the address that is really dialled,
// so that no name can talk its way past it.
func RefuseDial(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if a := embedded(at.Addr()); denied(a) {
		return &deniedAddressError{a}
	}
	return nil
}

func denied(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return true
	}
	return slices.Contains(metadata[:], a)
}

// embedded unwraps an IPv4 address from the IPv6 forms that reach it.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		bytes := a.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return a
}
