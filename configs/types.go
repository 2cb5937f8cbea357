package configs

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"proxima/healthcheck"
)

// scalar is an option's value that is written as one piece of text and has a form
// of its own. The error of parse is a *wrong; String writes what parse reads, but
// for a Secret.
type scalar interface {
	parse(text string) error
	String() string
}

// wrong is what is wrong with a value. What does not quote it; hint may.
type wrong struct{ what, hint string }

func (w *wrong) Error() string { return w.what }

// HostPort is an address to listen on: host:port, where an empty host is every
// interface and port 0 is any free one.
type HostPort string

func (h HostPort) String() string { return string(h) }

func (h *HostPort) parse(text string) error {
	const form = "write 127.0.0.1:8080, or :8080 for every interface"
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return &wrong{"must be host:port", form}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return &wrong{"port must be a number from 0 to 65535", form}
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostname.MatchString(host) {
		return &wrong{"host must be an IP address or a name", form}
	}
	*h = HostPort(text)
	return nil
}

// loopback reports whether only this machine can connect.
func (h HostPort) loopback() bool {
	host, _, _ := net.SplitHostPort(string(h))
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// anyPort reports whether the system picks the port.
func (h HostPort) anyPort() bool { return strings.HasSuffix(string(h), ":0") }

// Duration is a span of time, written as Go writes it: 250ms, 2s, 1h30m.
type Duration time.Duration

func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (d *Duration) parse(text string) error {
	if bareNumber.MatchString(text) {
		return &wrong{"must have a unit", "write " + clip(text, 20) + "s"}
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return &wrong{"must be a duration", "write it like 250ms, 2s or 1h30m"}
	}
	*d = Duration(parsed)
	return nil
}

var bareNumber = regexp.MustCompile(`^[-+]?[0-9.]+$`)

// Size is a number of bytes, written as 512B, 64KiB, 1MiB or 2GiB.
type Size int64

var sizeForm = regexp.MustCompile(`^([0-9]{1,9})(B|KiB|MiB|GiB)$`)

func (s Size) String() string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := unitSize(unit); s != 0 && s%one == 0 {
			return fmt.Sprintf("%d%s", s/one, unit)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

func (s *Size) parse(text string) error {
	if bareNumber.MatchString(text) {
		return &wrong{"must have a unit", "write " + clip(text, 20) + "B, or KiB, MiB, GiB"}
	}
	part := sizeForm.FindStringSubmatch(text)
	if part == nil {
		return &wrong{"must be a size", "write it like 512B, 64KiB or 1MiB"}
	}
	n, _ := strconv.ParseInt(part[1], 10, 64) // nine digits always fit
	*s = Size(n) * unitSize(part[2])
	return nil
}

func unitSize(unit string) Size {
	switch unit {
	case "KiB":
		return 1 << 10
	case "MiB":
		return 1 << 20
	case "GiB":
		return 1 << 30
	}
	return 1
}

// StatusRanges are HTTP statuses, written as 200-299 or 200,204.
type StatusRanges []healthcheck.StatusRange

func (s StatusRanges) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = strconv.Itoa(r.Low)
		if r.High != r.Low {
			parts[i] += "-" + strconv.Itoa(r.High)
		}
	}
	return strings.Join(parts, ",")
}

func (s *StatusRanges) parse(text string) error {
	const form = "write 200-299, or 200,204"
	var ranges StatusRanges
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, to := status(low), status(high)
		switch {
		case from == 0 || to == 0:
			return &wrong{"must be statuses from 100 to 599", form}
		case from > to:
			return &wrong{"has a range that ends before it begins", form}
		case len(ranges) == 100:
			return &wrong{"has more than 100 ranges", form}
		}
		ranges = append(ranges, healthcheck.StatusRange{Low: from, High: to})
	}
	*s = ranges
	return nil
}

// status reads an HTTP status; 0 is none.
func status(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || len(text) != 3 || n < 100 || n > 599 {
		return 0
	}
	return n
}

// Prefix is a network in CIDR notation.
type Prefix struct{ netip.Prefix }

func (p *Prefix) parse(text string) error {
	if addr, err := netip.ParseAddr(text); err == nil {
		return &wrong{"must be a network in CIDR notation", fmt.Sprintf("write %s/%d for this address alone", text, addr.BitLen())}
	}
	parsed, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return &wrong{"must be a network in CIDR notation", "write it like 10.1.0.0/16 or 2001:db8::/32"}
	case parsed.Addr().Is4In6():
		return &wrong{"must not be an IPv4 network written as IPv6", "write it like 10.1.0.0/16"}
	case parsed.Masked() != parsed:
		return &wrong{"has an address inside the network, not the network's", fmt.Sprintf("write %s", parsed.Masked())}
	}
	p.Prefix = parsed
	return nil
}

// Header is the name of an HTTP header.
type Header string

// A field name is a token (RFC 9110, section 5.6.2).
var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

func (h Header) String() string { return string(h) }

func (h *Header) parse(text string) error {
	if !token.MatchString(text) {
		return &wrong{"must be the name of an HTTP header", "write it like X-Forwarded-For, without a colon"}
	}
	*h = Header(text)
	return nil
}

// Country is an ISO 3166-1 alpha-2 code; empty when none is given.
type Country string

var (
	countryForm = regexp.MustCompile(`^[A-Z]{2}$`)
	countryLike = regexp.MustCompile(`^[A-Za-z]{2}$`)
)

func (c Country) String() string { return string(c) }

func (c *Country) parse(text string) error {
	if countryForm.MatchString(text) {
		*c = Country(text)
		return nil
	}
	hint := "write it like FR"
	if countryLike.MatchString(text) {
		hint = "write " + strings.ToUpper(text)
	}
	return &wrong{"must be a country's code, two capital letters", hint}
}

// ID names an endpoint or a rule: at most 128 bytes that are safe in a URL's path,
// a header and a metric's label.
type ID string

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+\[\]-]{0,127}$`)

func (i ID) String() string { return string(i) }

func (i *ID) parse(text string) error {
	if !idForm.MatchString(text) {
		return &wrong{"must be 1 to 128 letters, digits or any of . _ - : / @ + [ ], a letter or digit first", ""}
	}
	*i = ID(text)
	return nil
}

// Model is a model's name as clients write it, at most 256 characters.
type Model string

func (m Model) String() string { return string(m) }

func (m *Model) parse(text string) error {
	switch {
	case text == "":
		return &wrong{"must not be empty", "leave models out when the endpoint serves every model"}
	case len([]rune(text)) > 256:
		return &wrong{"must be at most 256 characters", ""}
	case strings.ContainsFunc(text, unicode.IsControl) || strings.TrimSpace(text) != text:
		return &wrong{"must not have control characters, nor blanks around it", ""}
	}
	*m = Model(text)
	return nil
}

// Secret is a text that nobody is shown: in a message nothing stands in its place,
// in Redacted and when it is printed ***. Convert it to a string to use it.
type Secret string

const hidden = "***"

func (s Secret) String() string { return hidden }

// GoString keeps it out of %#v too.
func (s Secret) GoString() string { return hidden }

func (s *Secret) parse(text string) error {
	switch {
	case text == hidden:
		return &wrong{"is not the key, only what is shown of it", ""}
	case len(text) < 8:
		return &wrong{"must be at least 8 bytes", ""}
	case len(text) > 4096:
		return &wrong{"must be at most 4,096 bytes", ""}
	case strings.ContainsFunc(text, notVisible):
		return &wrong{"must be ASCII characters without blanks, or no request could carry it", ""}
	}
	*s = Secret(text)
	return nil
}

// notVisible reports what a token in a header cannot have (RFC 9110, section 5.5).
func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// ProbePath is the path, and query if need be, that a probe asks for.
type ProbePath string

func (p ProbePath) String() string { return string(p) }

func (p *ProbePath) parse(text string) error {
	_, err := url.ParseRequestURI(text)
	switch {
	case !strings.HasPrefix(text, "/"):
		return &wrong{"must begin with /", "write it like /health; the host is the endpoint's"}
	case err != nil || strings.ContainsAny(text, " #") || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 2048:
		return &wrong{"must be the path of a URL, at most 2,048 bytes", "write it like /health; escape a blank as %20"}
	}
	*p = ProbePath(text)
	return nil
}

// File is the path of a file; a relative one begins at the configuration's folder.
type File string

// Embedded is the geo database that comes with the program.
const Embedded File = "embedded"
