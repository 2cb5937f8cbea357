package configs

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// URL is where an endpoint answers. It has a scheme, a host and maybe a port and a
// path, and nothing that would send the router to itself, to its network link or
// to the machine's metadata.
type URL struct{ *url.URL }

func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	return u.URL.String()
}

// hostname is a name in the DNS or in /etc/hosts: labels of letters, digits, -, _.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func (u *URL) parse(text string) error {
	const form = "write it like http://10.0.0.7:8000"
	if strings.ContainsAny(text, " \t\r\n") {
		return &wrong{"must not have blanks", form}
	}
	parsed, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return &wrong{"must begin with http:// or https://", form}
	case err != nil || len(text) > 2048:
		return &wrong{"must be a URL of at most 2,048 bytes", form}
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return &wrong{"scheme must be http or https", form}
	case parsed.User != nil:
		return &wrong{"must not have a user name or password", "give the model server its key another way; a URL is shown in logs"}
	case strings.ContainsAny(text, "?#"):
		return &wrong{"must not have a query or fragment", form}
	case parsed.Hostname() == "":
		return &wrong{"must have a host", form}
	}
	if err := checkPort(parsed); err != nil {
		return err
	}
	if err := checkHost(parsed.Hostname()); err != nil {
		return err
	}
	u.URL = parsed
	return nil
}

func checkPort(u *url.URL) error {
	port := u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	if strings.HasSuffix(u.Host, ":") || port != "" && (err != nil || n == 0) {
		return &wrong{"port must be a number from 1 to 65535", "write it like http://10.0.0.7:8000"}
	}
	return nil
}

// checkHost refuses addresses that no model server has, in every spelling that
// some resolver would take for one of them.
func checkHost(host string) error {
	addr, err := netip.ParseAddr(host)
	if err == nil {
		return checkAddress(addr)
	}
	plain := strings.ToLower(strings.TrimSuffix(host, "."))
	last := plain[strings.LastIndexByte(plain, '.')+1:]
	switch {
	case metadataNames[plain]:
		return &wrong{"is the cloud's metadata service, not an endpoint", ""}
	case numeric.MatchString(last):
		return &wrong{"host is an odd spelling of an IPv4 address", "write four decimal numbers, like 10.0.0.7"}
	case !hostname.MatchString(host) || len(host) > 253:
		return &wrong{"host must be an IP address or a name", "write it like http://10.0.0.7:8000"}
	}
	return nil
}

// numeric is a last label that makes a host an IPv4 address in the URL standard of
// the WHATWG, where 0x7f.1, 0177.0.0.1 and 2130706433 are all 127.0.0.1.
var numeric = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)

// metadataNames answer with the credentials of a Google Cloud machine.
var metadataNames = map[string]bool{
	"metadata":                 true,
	"metadata.goog":            true,
	"metadata.google.internal": true,
}

// metadataAddrs are metadata services that are not link-local: Amazon's on IPv6,
// Alibaba's, Oracle's and Azure's.
var metadataAddrs = map[netip.Addr]bool{
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("192.0.0.192"):     true,
	netip.MustParseAddr("168.63.129.16"):   true,
}

// nat64 is the well-known prefix that carries IPv4 addresses (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func checkAddress(addr netip.Addr) error {
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr, _ = netip.AddrFromSlice(bytes[12:])
	}
	switch {
	case addr.IsUnspecified():
		return &wrong{"must not be the address of every interface", "write 127.0.0.1 for this machine"}
	case metadataAddrs[addr.WithZone("")]:
		return &wrong{"is the cloud's metadata service, not an endpoint", ""}
	case addr.IsLinkLocalUnicast():
		return &wrong{"must not be a link-local address: the cloud's metadata service is there", ""}
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return &wrong{"must not be a multicast or broadcast address", ""}
	case addr.Zone() != "":
		return &wrong{"must not have a zone", ""}
	}
	return nil
}
