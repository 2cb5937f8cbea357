package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestClientIsTheRightmostAddressThatIsNotTrusted has the wire cases of the
// client-ip group among its rows.
func TestClientIsTheRightmostAddressThatIsNotTrusted(t *testing.T) {
	const xff, forwarded = "X-Forwarded-For", "Forwarded"
	many := strings.Repeat("127.0.0.5, ", 100)
	for name, test := range map[string]struct {
		header string
		peer   string
		lines  []string
		want   string
	}{
		"no header":                      {xff, "127.0.0.1", nil, "127.0.0.1"},
		"one address":                    {xff, "127.0.0.1", []string{"198.51.100.7"}, "198.51.100.7"},
		"untrusted peer":                 {xff, "192.0.2.1", []string{"198.51.100.7"}, "192.0.2.1"},
		"untrusted peer, Forwarded":      {forwarded, "192.0.2.1", []string{"for=203.0.113.9"}, "192.0.2.1"},
		"spoofed left part":              {xff, "127.0.0.1", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		"trusted hops are skipped":       {xff, "127.0.0.1", []string{"203.0.113.9, 198.51.100.7, 127.0.0.5, 127.0.0.6"}, "198.51.100.7"},
		"trusted hops only":              {xff, "127.0.0.1", []string{"127.0.0.7, 127.0.0.5"}, "127.0.0.7"},
		"garbage at the left":            {xff, "127.0.0.1", []string{"banana, 198.51.100.7"}, "198.51.100.7"},
		"garbage at the right":           {xff, "127.0.0.1", []string{"198.51.100.7, banana"}, "127.0.0.1"},
		"garbage behind a trusted hop":   {xff, "127.0.0.1", []string{"198.51.100.7, banana, 127.0.0.5"}, "127.0.0.5"},
		"unknown":                        {xff, "127.0.0.1", []string{"unknown"}, "127.0.0.1"},
		"mapped IPv4":                    {xff, "127.0.0.1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"mapped trusted hop":             {xff, "127.0.0.1", []string{"198.51.100.7, ::ffff:127.0.0.5"}, "198.51.100.7"},
		"private claim":                  {xff, "127.0.0.1", []string{"10.0.0.1"}, "10.0.0.1"},
		"5,000 addresses":                {xff, "127.0.0.1", []string{strings.Repeat("203.0.113.9, ", 5000) + "198.51.100.7"}, "198.51.100.7"},
		"too many trusted hops":          {xff, "127.0.0.1", []string{"198.51.100.7, " + many + "127.0.0.6"}, "127.0.0.5"},
		"with a port":                    {xff, "127.0.0.1", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		"with a port too large":          {xff, "127.0.0.1", []string{"198.51.100.7:99999"}, "127.0.0.1"},
		"IPv6":                           {xff, "127.0.0.1", []string{"2001:db8:2::7"}, "2001:db8:2::7"},
		"IPv6 in brackets":               {xff, "127.0.0.1", []string{"[2001:db8:2::7]"}, "2001:db8:2::7"},
		"IPv6 with a port":               {xff, "127.0.0.1", []string{"[2001:db8:2::7]:4711"}, "2001:db8:2::7"},
		"IPv4 in brackets":               {xff, "127.0.0.1", []string{"[198.51.100.7]"}, "127.0.0.1"},
		"a zone":                         {xff, "127.0.0.1", []string{"fe80::1%eth0"}, "fe80::1"},
		"leading zeros":                  {xff, "127.0.0.1", []string{"198.051.100.007"}, "127.0.0.1"},
		"several lines are one list":     {xff, "127.0.0.1", []string{"203.0.113.9", "198.51.100.7, 127.0.0.5", "127.0.0.6"}, "198.51.100.7"},
		"empty elements":                 {xff, "127.0.0.1", []string{", 198.51.100.7, , ", "", ","}, "198.51.100.7"},
		"tabs and spaces":                {xff, "127.0.0.1", []string{"203.0.113.9\t,\t 198.51.100.7 \t"}, "198.51.100.7"},
		"an opened quote":                {xff, "127.0.0.1", []string{`203.0.113.9, "x, 198.51.100.7`}, "198.51.100.7"},
		"a quote and a backslash":        {xff, "127.0.0.1", []string{`"\, 198.51.100.7`}, "198.51.100.7"},
		"other headers say nothing":      {"X-Real-IP", "127.0.0.1", nil, "127.0.0.1"},
		"X-Real-IP":                      {"X-Real-IP", "127.0.0.1", []string{"198.51.100.7"}, "198.51.100.7"},
		"X-Real-IP twice":                {"X-Real-IP", "127.0.0.1", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		"CF-Connecting-IP":               {"CF-Connecting-IP", "127.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		"Forwarded":                      {forwarded, "127.0.0.1", []string{"for=198.51.100.7;proto=https;by=127.0.0.1"}, "198.51.100.7"},
		"Forwarded, in any case":         {forwarded, "127.0.0.1", []string{"proto=https; FOR=198.51.100.7"}, "198.51.100.7"},
		"Forwarded with quoted IPv6":     {forwarded, "127.0.0.1", []string{`for="[2001:db8:2::7]:47011";proto=https`}, "2001:db8:2::7"},
		"Forwarded with a quoted port":   {forwarded, "127.0.0.1", []string{`for="198.51.100.7:80"`}, "198.51.100.7"},
		"Forwarded, several":             {forwarded, "127.0.0.1", []string{"for=203.0.113.9, for=198.51.100.7", "for=127.0.0.5"}, "198.51.100.7"},
		"Forwarded without for":          {forwarded, "127.0.0.1", []string{"for=198.51.100.7, by=127.0.0.1;proto=https"}, "127.0.0.1"},
		"Forwarded with two":             {forwarded, "127.0.0.1", []string{"for=198.51.100.7;for=203.0.113.9"}, "127.0.0.1"},
		"Forwarded with an empty one":    {forwarded, "127.0.0.1", []string{"for="}, "127.0.0.1"},
		"Forwarded, hidden":              {forwarded, "127.0.0.1", []string{"for=_secret"}, "127.0.0.1"},
		"Forwarded, unknown":             {forwarded, "127.0.0.1", []string{"for=unknown"}, "127.0.0.1"},
		"a comma within quotes":          {forwarded, "127.0.0.1", []string{`for=203.0.113.9, for=198.51.100.7;host="a,b;for=203.0.113.9"`}, "198.51.100.7"},
		"an escaped quote within quotes": {forwarded, "127.0.0.1", []string{`for=198.51.100.7;host="a\",for=203.0.113.9"`}, "198.51.100.7"},
		"a quote that swallows nothing":  {forwarded, "127.0.0.1", []string{`for="x, for=198.51.100.7`}, "198.51.100.7"},
		"half a quote":                   {forwarded, "127.0.0.1", []string{`for="198.51.100.7`}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AddressHeader: test.header}
			h := http.Header{
				"True-Client-Ip": {"203.0.113.66"}, "X-Client-Ip": {"203.0.113.66"}, "X-Cluster-Client-Ip": {"203.0.113.66"},
			}
			for _, line := range test.lines {
				h.Add(test.header, line)
			}
			got := s.Client(&http.Request{Header: h}, netip.MustParseAddr(test.peer))
			if got.String() != test.want {
				t.Errorf("client %s, want %s", got, test.want)
			}
		})
	}
}

func TestPeerIsTheOtherEndOfTheConnection(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[fe80::1%eth0]:80": "fe80::1", "@": "invalid IP", "": "invalid IP", "/run/socket": "invalid IP",
	} {
		if got := peerOf(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

func FuzzClientAddress(f *testing.F) {
	f.Add("127.0.0.1", true, "203.0.113.9, 198.51.100.7", "127.0.0.5")
	f.Add("127.0.0.1", false, `for="[2001:db8::7]:1";by="a,b", for=127.0.0.2`, `for=_x;host="\",", for=1.2.3.4:5`)
	f.Add("192.0.2.1", true, "198.51.100.7", `"`)
	f.Fuzz(func(t *testing.T, from string, plain bool, first, second string) {
		peer, err := netip.ParseAddr(from)
		if err != nil {
			return
		}
		peer = peer.Unmap().WithZone("")
		s := &Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AddressHeader: "Forwarded"}
		if plain {
			s.AddressHeader = "X-Forwarded-For"
		}
		got := s.Client(&http.Request{Header: http.Header{s.AddressHeader: {first, second}}}, peer)
		if !s.trusts(peer) && got != peer {
			t.Fatalf("client %s of the untrusted peer %s", got, peer)
		}
		if got != peer && !slices.Contains(addressesIn(first+" "+second), got) {
			t.Fatalf("client %s stands neither in %q nor in %q", got, first, second)
		}
	})
}

// addressesIn finds every run of characters that is an address, or one with a port.
func addressesIn(text string) []netip.Addr {
	var found []netip.Addr
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t,;=\"", r) }) {
		if addr, ok := parseHop(word); ok {
			found = append(found, addr)
		}
	}
	return found
}

func BenchmarkClient(b *testing.B) {
	s := &Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AddressHeader: "X-Forwarded-For"}
	peer := netip.MustParseAddr("127.0.0.1")
	for name, lines := range map[string][]string{
		"none": nil,
		"one":  {"198.51.100.7"},
		"5000": {strings.Repeat("203.0.113.9, ", 5000) + "198.51.100.7, 127.0.0.5"},
	} {
		r := &http.Request{Header: http.Header{"X-Forwarded-For": lines}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Client(r, peer)
			}
		})
	}
}
