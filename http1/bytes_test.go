package http1

import (
	"bytes"
	"strings"
	"testing"
)

func TestValuesEndAtTheSameByteEightAtATime(t *testing.T) {
	for c := range 256 {
		for at := range 17 {
			for _, other := range []byte{' ', '\t', 'a', '~', 0x80, 0xff} {
				b := bytes.Repeat([]byte{other}, 17)
				b[at] = byte(c)
				if got, want := valueSpan(b), span(b, inValue); got != want {
					t.Fatalf("%q: %d, not %d", b, got, want)
				}
			}
		}
	}
}

func TestHostsAndWhatOnlyLooksLikeOne(t *testing.T) {
	for host, is := range map[string]bool{
		"a": true, "a.b:80": true, "a_b.": true, "127.0.0.1:8080": true, "a:": true, "[::1]": true, "[::1]:80": true, "[::1]:": true, strings.Repeat("a", maxHost): true,
		"": false, ":80": false, "a,b": false, "a b": false, "a@b": false, "a/b": false, "a:65536": false, "a:b": false, "a:+1": false, "a:1:2": false, "::1": false, "a[": false, "a]": false,
		"[::1": false, "[": false, "[]": false, "[::1]a": false, "[::1]:a": false, "[1.2.3.4]": false, "[fe80::1%25eth0]": false, "[fe80::1%eth0]": false, "é": false, strings.Repeat("a", maxHost+1): false,
	} {
		if ValidHost(host) != is {
			t.Errorf("%q: %v", host, !is)
		}
	}
}

func TestTokensTargetsAndLists(t *testing.T) {
	for text, is := range map[string]bool{"GET": true, "x-a_b!": true, "": false, "a b": false, "a:": false, "é": false} {
		if IsToken(text) != is {
			t.Errorf("token %q: %v", text, !is)
		}
	}
	for text, is := range map[string]bool{"/": true, "/a?b|c%zz": true, "": false, "*": false, "a": false, "/a b": false, "/#": false, `/\`: false, "/é": false} {
		if ValidTarget(text) != is {
			t.Errorf("target %q: %v", text, !is)
		}
	}
	for text, has := range map[string]bool{"close": true, "a,\tClose ,b": true, ",,close": true, "": false, "closed": false, "clo\u017fe": false, "a close": false, "clos": false} {
		if HasToken(text, "close") != has || HasToken([]byte(text), "close") != has {
			t.Errorf("list %q: %v", text, !has)
		}
	}
}
