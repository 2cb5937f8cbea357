package edge

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// showing is a server that shows certificates from files.
func showing(t *testing.T, pairs ...Pair) (*world, *Certificates) {
	t.Helper()
	c, err := LoadCertificates(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, &Server{TLS: &tls.Config{GetCertificate: c.Get}}), c
}

// serial connects and returns the serial number of the certificate that is shown.
func (w *world) serial(t *testing.T, config *tls.Config) int64 {
	t.Helper()
	conn := tls.Client(w.dial(t), config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestAReplacedCertificateIsShownToNewConnections(t *testing.T) {
	first, firstKey := issue(t, 1, inAYear, "edge.test")
	second, secondKey := issue(t, 2, inAYear.Add(time.Hour), "edge.test")
	files := write(t, first, firstKey)
	w, c := showing(t, files)
	changed, refused := make(chan time.Time, 1), make(chan error, 9)
	c.Changed = func(ends time.Time) { changed <- ends }
	c.Refused = func(err error) { refused <- err }
	run(t, c)
	old := tls.Client(w.dial(t), trusting(first))
	ask(t, old)

	files.write(t, second, secondKey)

	if ends := <-changed; !ends.Equal(inAYear.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("ends on %s", ends)
	}
	ask(t, old)
	if got := w.serial(t, trusting(second)); got != 2 {
		t.Errorf("certificate %d is shown", got)
	}
}

// run runs c until the test ends.
func run(t *testing.T, c *Certificates) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

func TestALinkThatIsTurnedIsNoticed(t *testing.T) {
	first, firstKey := issue(t, 1, inAYear, "edge.test")
	second, secondKey := issue(t, 2, inAYear, "edge.test")
	dir := t.TempDir()
	for version, pair := range map[string][2][]byte{"v1": {first, firstKey}, "v2": {second, secondKey}} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, version, "tls.crt"), pair[0])
		replace(t, filepath.Join(dir, version, "tls.key"), pair[1])
	}
	link(t, "v1", filepath.Join(dir, "data"))
	link(t, "data/tls.crt", filepath.Join(dir, "tls.crt"))
	link(t, "data/tls.key", filepath.Join(dir, "tls.key"))
	c, err := LoadCertificates([]Pair{{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}})
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan time.Time, 1)
	c.Changed = func(ends time.Time) { changed <- ends }
	run(t, c)

	link(t, "v2", filepath.Join(dir, "data.new"))
	if err := os.Rename(filepath.Join(dir, "data.new"), filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}

	<-changed
	if got := (*c.current.Load())[0].Leaf.SerialNumber.Int64(); got != 2 {
		t.Errorf("certificate %d is in use", got)
	}
}

func link(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

func TestATornPairLeavesTheOldOne(t *testing.T) {
	first, firstKey := issue(t, 1, inAYear, "edge.test")
	second, secondKey := issue(t, 2, inAYear, "edge.test")
	files := write(t, first, firstKey)
	w, c := showing(t, files)
	var refused []string
	c.Refused = func(err error) { refused = append(refused, err.Error()) }
	for name, torn := range map[string][]byte{"half a file": second[:100], "empty": nil, "of another key": second} {
		replace(t, files.Certificate, torn)
		refused = nil
		c.look()
		c.look()
		if len(refused) != 1 || !strings.Contains(refused[0], files.Certificate) {
			t.Errorf("%s: refused %q", name, refused)
		}
		if got := w.serial(t, trusting(first)); got != 1 {
			t.Errorf("%s: certificate %d is shown", name, got)
		}
	}
	files.write(t, second, secondKey)
	c.look()
	if got := w.serial(t, trusting(second)); got != 2 {
		t.Errorf("then certificate %d is shown", got)
	}
}

func TestTheCertificateFitsTheName(t *testing.T) {
	one, oneKey := issue(t, 1, inAYear, "one.test")
	two, twoKey := issue(t, 2, inAYear.Add(-time.Hour), "two.test", "*.two.test")
	w, c := showing(t, write(t, one, oneKey), write(t, two, twoKey))
	for name, want := range map[string]int64{
		"one.test": 1, "two.test": 2, "a.two.test": 2, "A.TWO.TEST": 2, "a.b.two.test": 1, "other.test": 1, "": 1,
	} {
		if got := w.serial(t, &tls.Config{ServerName: name, InsecureSkipVerify: true}); got != want {
			t.Errorf("%q: certificate %d is shown, not %d", name, got, want)
		}
	}
	if got := c.NotAfter(); !got.Equal(inAYear.Add(-time.Hour).Truncate(time.Second)) {
		t.Errorf("the first ends on %s", got)
	}
}

func TestWhatIsWrongWithAFileIsSaid(t *testing.T) {
	certificate, key := issue(t, 1, inAYear, "edge.test")
	_, other := issue(t, 2, inAYear, "edge.test")
	locked := []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for name, test := range map[string]struct {
		certificate, key []byte
		file, says       string
	}{
		"no certificate":   {[]byte("hello"), key, "tls.crt", "no certificate in it"},
		"the key instead":  {key, key, "tls.crt", "no certificate in it"},
		"no key":           {certificate, []byte("hello"), "tls.key", "no private key in it"},
		"another key":      {certificate, other, "tls.key", "private key does not match"},
		"an encrypted key": {certificate, locked, "tls.key", "encrypted"},
		"a broken one":     {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "tls.crt", "malformed certificate"},
		"much too large":   {make([]byte, largestPEM+1), key, "tls.crt", "larger than"},
	} {
		_, err := LoadCertificates([]Pair{write(t, test.certificate, test.key)})
		if err == nil || !strings.Contains(err.Error(), test.file) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), string(key[40:80])) {
			t.Errorf("%s: the key is in the error", name)
		}
	}
	missing := Pair{Certificate: filepath.Join(t.TempDir(), "tls.crt"), Key: filepath.Join(t.TempDir(), "tls.key")}
	_, err := LoadCertificates([]Pair{missing, write(t, certificate, other)})
	if err == nil || strings.Count(err.Error(), "\n") != 2 || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("all of it: %v", err)
	}
	if _, err := LoadCertificates(nil); err == nil {
		t.Error("no certificate at all is fine")
	}
}

func TestACertificateThatEndsIsWarnedOf(t *testing.T) {
	ends := time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)
	certificate, key := issue(t, 1, ends, "edge.test")
	c, err := LoadCertificates([]Pair{write(t, certificate, key)})
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[time.Time]string{
		ends.Add(time.Second): "certificate for edge.test, 127.0.0.1 ended on 2040-05-06 07:08:09",
		ends.Add(-soon + 1):   "certificate for edge.test, 127.0.0.1 ends on 2040-05-06 07:08:09",
		ends.Add(-soon - 1):   "",
		time.Unix(0, 0):       "certificate for edge.test, 127.0.0.1 is not valid before ",
	} {
		got := strings.Join(c.Warnings(now), "\n")
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q", now, got)
		}
	}
}

func TestAnExpiredCertificateIsStillShown(t *testing.T) {
	certificate, key := issue(t, 1, time.Now().Add(-time.Minute), "edge.test")
	w, c := showing(t, write(t, certificate, key))
	if got := w.serial(t, &tls.Config{InsecureSkipVerify: true}); got != 1 || len(c.Warnings(time.Now())) != 1 {
		t.Errorf("certificate %d, warnings %q", got, c.Warnings(time.Now()))
	}
}
