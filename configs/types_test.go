package configs

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func address(t *testing.T, text string) netip.Addr {
	t.Helper()
	addr, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestGoodValuesAreReadAndWrittenBack(t *testing.T) {
	for _, test := range []struct {
		into          scalar
		text, written string
	}{
		{new(HostPort), ":8080", ":8080"},
		{new(HostPort), "[::1]:0", "[::1]:0"},
		{new(HostPort), "router-1.example.net:80", "router-1.example.net:80"},
		{new(Duration), "1m30s", "1m30s"},
		{new(Duration), "300s", "5m"},
		{new(Duration), "2h", "2h"},
		{new(Duration), "0s", "0s"},
		{new(Duration), "-250ms", "-250ms"},
		{new(Duration), "1h10m", "1h10m"},
		{new(Size), "64KiB", "64KiB"},
		{new(Size), "2048KiB", "2MiB"},
		{new(Size), "1GiB", "1GiB"},
		{new(Size), "1000B", "1000B"},
		{new(Size), "0B", "0B"},
		{new(StatusRanges), "200", "200"},
		{new(StatusRanges), "200-299, 404", "200-299,404"},
		{new(Prefix), "10.0.0.0/8", "10.0.0.0/8"},
		{new(Prefix), "::/0", "::/0"},
		{new(Header), "CF-Connecting-IP", "CF-Connecting-IP"},
		{new(Country), "FR", "FR"},
		{new(ID), "europe-west1/[2001:db8::7]:8000", "europe-west1/[2001:db8::7]:8000"},
		{new(Model), "meta-llama/Llama 3 (chat) é", "meta-llama/Llama 3 (chat) é"},
		{new(ProbePath), "/health?full=1", "/health?full=1"},
		{new(URL), "http://localhost:8000", "http://localhost:8000"},
		{new(URL), "https://gpu_1.example.net./openai/v1", "https://gpu_1.example.net./openai/v1"},
		{new(URL), "http://[2001:db8::7]:8000", "http://[2001:db8::7]:8000"},
		{new(URL), "http://1e100.example", "http://1e100.example"},
	} {
		if err := test.into.parse(test.text); err != nil || test.into.String() != test.written {
			t.Errorf("%T %q is written back as %q (%v), want %q", test.into, test.text, test.into, err, test.written)
		}
	}
}

func TestASecretIsReadButNotWritten(t *testing.T) {
	var s Secret
	if err := s.parse("sk-live_0123456789~+/="); err != nil || string(s) != "sk-live_0123456789~+/=" {
		t.Errorf("it is read as %q (%v)", string(s), err)
	}
	if s.String() != "***" || s.GoString() != "***" {
		t.Errorf("it is written as %v, %#v", s, s)
	}
}

func TestDurationsAndSizesReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration, size := Duration(rapid.Int64().Draw(t, "nanoseconds")), Size(rapid.Int64Range(0, 999_999_999).Draw(t, "bytes"))
		var d Duration
		var s Size
		if err := d.parse(duration.String()); err != nil || d != duration {
			t.Fatalf("%s (%v) is read as %v (%v)", duration, time.Duration(duration), d, err)
		}
		if err := s.parse(size.String()); err != nil || s != size {
			t.Fatalf("%s is read as %d (%v)", size, s, err)
		}
	})
}

func TestOnlyThisMachineConnectsToLoopback(t *testing.T) {
	for listen, want := range map[HostPort]bool{
		"127.0.0.1:1": true, "127.8.8.8:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example.net:1": false,
	} {
		if listen.loopback() != want {
			t.Errorf("%s: loopback is %t", listen, !want)
		}
	}
}

func TestSuggestionsAreWhatATypistMeant(t *testing.T) {
	known := []string{"us-east1", "us-east4", "us-west1", "europe-west1", "interval", "by"}
	for name, want := range map[string]string{
		"us-eats1": "us-east1", "US-EAST1": "us-east1", "europe-wst1": "europe-west1", "intervall": "interval",
		"europe-west": "europe-west1", "interv": "interval", "bye": "by",
		"moon": "", "": "", "asia-northeast1": "", "x": "",
	} {
		if got, _ := nearest(name, known); got != want {
			t.Errorf("%q: did you mean %q? want %q", name, got, want)
		}
	}
}

// plainly is the definition of the distance, without any of the haste.
func plainly(a, b []rune) int {
	if len(a) == 0 || len(b) == 0 {
		return len(a) + len(b)
	}
	x, y := a[:len(a)-1], b[:len(b)-1]
	replace := plainly(x, y)
	if a[len(x)] != b[len(y)] {
		replace++
	}
	fewest := min(replace, plainly(x, b)+1, plainly(a, y)+1)
	if len(x) > 0 && len(y) > 0 && a[len(x)] == b[len(y)-1] && a[len(x)-1] == b[len(y)] {
		fewest = min(fewest, plainly(a[:len(x)-1], b[:len(y)-1])+1)
	}
	return fewest
}

func TestUpToThreeTyposAreCountedAndMoreAreMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching("[ab]{0,7}").Draw(t, "a"), rapid.StringMatching("[abc]{0,7}").Draw(t, "b")
		got, want := distance(a, b), plainly([]rune(a), []rune(b))
		if got != want && (got <= maxTypos || want <= maxTypos) {
			t.Fatalf("from %q to %q are %d typos, want %d", a, b, got, want)
		}
	})
}
