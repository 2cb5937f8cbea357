package admin

import (
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A question that is understood is the same after it was written and read again.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{
		"client=203.0.113.7&model=llama", "client=::ffff:192.0.2.1&down=a,%20b,,c", "client=fe80::1%25eth0",
		"client=2001:db8::1&session=%00%ff&prefer_region=lab", "client=192.0.2.1;model=x", "%zz", "client=1&client=2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, problem := parseQuestion(raw)
		if problem != nil {
			isClean(t, problem.Detail)
			return
		}
		again, problem := parseQuestion(q.values().Encode())
		if problem != nil || !reflect.DeepEqual(q, again) {
			t.Errorf("%q became %+v, then %+v, %v", raw, q, again, problem)
		}
	})
}

// Whatever a stranger writes is printable, bounded, and a beginning of what it was
// unless it had to be changed.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "llama-3-8b", "a\r\nb", "\x1b[31m", "\xff\xfe", "ääääääääää", "\u202eevil", strings.Repeat("x", 100)} {
		f.Add(seed, 16)
	}
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = 3 + (most&0xff+0xff)%0xff
		got := cleaned(text, most)
		if len(got) > most || !utf8.ValidString(got) {
			t.Errorf("%q became %q of %d bytes, at most %d", text, got, len(got), most)
		}
		if strings.ContainsFunc(got, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("%q became %q, which is not printable", text, got)
		}
		if plain(text) && !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) {
			t.Errorf("%q became %q", text, got)
		}
	})
}
