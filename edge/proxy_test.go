package edge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"strings"
	"testing"
)

const getCase = "GET /case HTTP/1.1\r\nHost: edge.test\r\n\r\n"

// v2 is the 12 bytes that every PROXY header of version 2 begins with.
const v2 = "\r\n\r\n\x00\r\nQUIT\n"

func TestATrustedProxyNamesTheClient(t *testing.T) {
	for name, test := range map[string]struct{ header, from string }{
		"v1":                            {"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n", "198.51.100.7:4711"},
		"v1, IPv6":                      {"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "[2001:db8::7]:4711"},
		"v1, IPv4 in IPv6":              {"PROXY TCP6 ::ffff:198.51.100.7 ::1 4711 443\r\n", "198.51.100.7:4711"},
		"v1, unknown":                   {"PROXY UNKNOWN\r\n", "127.0.0.1:"},
		"v1, unknown with addresses":    {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1:"},
		"v2":                            {v2 + "\x21\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb", "198.51.100.7:4711"},
		"v2, IPv6":                      {v2 + "\x21\x21\x00\x24" + strings.Repeat("\x20\x01", 8) + strings.Repeat("\x00", 16) + "\x12\x67\x01\xbb", "[2001:2001:2001:2001:2001:2001:2001:2001]:4711"},
		"v2, with a TLV":                {v2 + "\x21\x11\x00\x10\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb\x04\x00\x01\x00", "198.51.100.7:4711"},
		"v2, for itself":                {v2 + "\x20\x00\x00\x00", "127.0.0.1:"},
		"v2, for itself with addresses": {v2 + "\x20\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb", "127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, &Server{ProxyProtocol: true, Trusted: trust("127.0.0.0/8")})
			conn := w.dial(t)
			send(t, conn, test.header+getCase)
			if said := answerOn(t, conn); !strings.Contains(said, " from "+test.from) {
				t.Fatalf("%q", said)
			}
			if said := ask(t, conn); !strings.Contains(said, " from "+test.from) {
				t.Fatalf("then %q", said)
			}
		})
	}
}

func TestAPROXYHeaderMustBeToTheLetter(t *testing.T) {
	for name, header := range map[string]string{
		"none":                     "",
		"a port of 70000":          "PROXY TCP4 198.51.100.7 127.0.0.1 70000 443\r\n",
		"a port with a zero":       "PROXY TCP4 198.51.100.7 127.0.0.1 04711 443\r\n",
		"zeros in the address":     "PROXY TCP4 198.051.100.007 127.0.0.1 4711 443\r\n",
		"IPv6 as TCP4":             "PROXY TCP4 ::1 ::1 4711 443\r\n",
		"a zone":                   "PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
		"two spaces":               "PROXY  TCP4 198.51.100.7 127.0.0.1 4711 443\r\n",
		"one field more":           "PROXY TCP4 198.51.100.7 127.0.0.1 4711 443 \r\n",
		"small letters":            "proxy TCP4 198.51.100.7 127.0.0.1 4711 443\r\n",
		"only LF":                  "PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\n",
		"200 bytes":                "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
		"version 3":                v2 + "\x31\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb",
		"an unknown command":       v2 + "\x22\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb",
		"too short for an address": v2 + "\x21\x11\x00\x04\xc6\x33\x64\x07",
		"UDP":                      v2 + "\x21\x12\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb",
		"a TLV that overruns":      v2 + "\x21\x11\x00\x10\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb\x04\x00\xff\x00",
		"64 KiB of TLVs":           v2 + "\x21\x11\xff\xff\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb",
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, &Server{ProxyProtocol: true, Trusted: trust("127.0.0.0/8")})
			conn := w.dial(t)
			send(t, conn, header+getCase)
			if said := closed(t, conn); said != "" {
				t.Fatalf("answered %q", said)
			}
			within5s(t, "it is counted", func() bool { return w.turnedAway(BadProxyHeader) == 1 })
		})
	}
}

func TestAStrangersPROXYHeaderIsNoHeader(t *testing.T) {
	w := serve(t, &Server{ProxyProtocol: true, Trusted: trust("192.0.2.0/24")})
	conn := w.dial(t)
	send(t, conn, "PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n"+getCase)
	if said := closed(t, conn); strings.Contains(said, "200 OK") {
		t.Fatalf("served: %q", said)
	}
	if said := ask(t, w.dial(t)); !strings.Contains(said, " from 127.0.0.1:") {
		t.Fatalf("%q", said)
	}
}

func TestAPROXYHeaderComesBeforeTLS(t *testing.T) {
	server, client := secure(t)
	w := serve(t, &Server{TLS: server, ProxyProtocol: true, Trusted: trust("127.0.0.0/8")})
	conn := w.dial(t)
	send(t, conn, "PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n")
	if said := ask(t, tls.Client(conn, client)); said != "HTTP/1.1 tls=true from 198.51.100.7:4711" {
		t.Fatalf("%q", said)
	}
}

// FuzzPROXYHeader checks that what comes behind a header is left where it is.
func FuzzPROXYHeader(f *testing.F) {
	for _, header := range []string{
		"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n", "PROXY UNKNOWN\r\n",
		v2 + "\x21\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x67\x01\xbb", v2 + "\x20\x00\x00\x00",
		v2 + "\x21\x31\x00\xd8" + strings.Repeat("/", 216), getCase,
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		reader := bufio.NewReaderSize(strings.NewReader(string(header)+getCase), 256)
		from, err := readProxyHeader(reader)
		if err != nil {
			return
		}
		if from.IsValid() && (from.Addr().Is4In6() || from.Addr().Zone() != "") {
			t.Fatalf("from %s", from)
		}
		var rest bytes.Buffer
		if _, err := reader.WriteTo(&rest); err != nil || !strings.HasSuffix(string(header)+getCase, rest.String()) {
			t.Fatalf("behind it comes %q, %v", rest.String(), err)
		}
	})
}
