package edge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Certificates are what the listener shows. Files that are replaced are picked up
// by Run: connections that are open go on, new ones see the new certificate. A pair
// that cannot be used, such as one of which only half is written yet, changes
// nothing; what was loaded before stays in use.
//
// Fill in the fields before Run, which calls them.
type Certificates struct {
	Changed func(notAfter time.Time) // another certificate is in use; the first day of all is given on which one ends
	Refused func(err error)          // files have changed to something that cannot be used; told once of each change

	pairs   []*pair // of Run's goroutine, once it runs
	current atomic.Pointer[[]*tls.Certificate]
}

// Pair is a certificate and its key, both PEM files.
type Pair struct {
	Certificate string // the server's own first, then the intermediate ones
	Key         string
}

// pair is one as it was last read.
type pair struct {
	Pair
	seen   [sha256.Size]byte // fingerprint of both files
	loaded *tls.Certificate
}

// LoadCertificates reads every pair. When one cannot be used there is no result,
// and the error names the file and what is wrong with it, for all of them.
// A certificate that has ended is used all the same; see Warnings.
func LoadCertificates(pairs []Pair) (*Certificates, error) {
	if len(pairs) == 0 {
		return nil, errors.New("no certificate: name a file with one, and a file with its key")
	}
	c := &Certificates{}
	var problems []error
	for _, files := range pairs {
		p := &pair{Pair: files}
		if _, err := p.look(); err != nil {
			problems = append(problems, err)
		}
		c.pairs = append(c.pairs, p)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	c.publish()
	return c, nil
}

// Get is for tls.Config's GetCertificate: the first certificate that has the name
// which the client asks for and that it can verify, or else the first.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *c.current.Load()
	if len(all) == 1 {
		return all[0], nil
	}
	for _, one := range all {
		if hello.SupportsCertificate(one) == nil {
			return one, nil
		}
	}
	return all[0], nil
}

// NotAfter is when the first of the certificates in use ends.
func (c *Certificates) NotAfter() time.Time {
	all := *c.current.Load()
	first := all[0].Leaf.NotAfter
	for _, one := range all[1:] {
		if one.Leaf.NotAfter.Before(first) {
			first = one.Leaf.NotAfter
		}
	}
	return first
}

// soon is how long before its end a certificate is worth a warning. Those who renew
// by themselves have done so by then.
const soon = 7 * 24 * time.Hour

// Warnings are what an operator should know of the certificates in use, one line
// for each that clients do not accept at that time, or soon will not.
func (c *Certificates) Warnings(now time.Time) []string {
	var warnings []string
	for _, one := range *c.current.Load() {
		leaf, says := one.Leaf, ""
		switch {
		case now.After(leaf.NotAfter):
			says = "ended on " + leaf.NotAfter.UTC().Format(time.DateTime)
		case now.Before(leaf.NotBefore):
			says = "is not valid before " + leaf.NotBefore.UTC().Format(time.DateTime)
		case now.Add(soon).After(leaf.NotAfter):
			says = "ends on " + leaf.NotAfter.UTC().Format(time.DateTime)
		default:
			continue
		}
		warnings = append(warnings, fmt.Sprintf("certificate for %s %s", strings.Join(namesOf(one), ", "), says))
	}
	return warnings
}

func namesOf(c *tls.Certificate) []string {
	names := slices.Clone(c.Leaf.DNSNames)
	for _, ip := range c.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{c.Leaf.Subject.String()}
	}
	return names
}

const (
	// settled is how long after a change the files are read: a pair is two of them.
	settled = 200 * time.Millisecond
	// lookEvery is how soon a change is noticed where nobody tells of it, such as on
	// a network's file system.
	lookEvery = time.Minute
)

// Run looks for replaced files until ctx is done. Folders are watched, not files,
// so that a file that is replaced, or a link that is turned, as Kubernetes does it,
// is noticed at once.
func (c *Certificates) Run(ctx context.Context) {
	var events chan fsnotify.Event
	var lost chan error
	if watcher, err := c.watcher(); err == nil {
		defer watcher.Close()
		events, lost = watcher.Events, watcher.Errors
	}
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	due := time.NewTimer(settled) // they may have changed since they were loaded
	defer due.Stop()
	armed := true
	await := func() {
		if !armed {
			armed = true
			due.Reset(settled)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			await()
		case <-lost:
			await()
		case <-due.C:
			armed = false
			c.look()
		case <-every.C:
			c.look()
		}
	}
}

// watcher watches the folders with the files. One that cannot be watched is looked
// at every minute, like all of them.
func (c *Certificates) watcher() (*fsnotify.Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, p := range c.pairs {
		_ = watcher.Add(filepath.Dir(p.Certificate))
		_ = watcher.Add(filepath.Dir(p.Key))
	}
	return watcher, nil
}

// look reads every pair again, and puts in use what has changed.
func (c *Certificates) look() {
	var changed bool
	for _, p := range c.pairs {
		another, err := p.look()
		if err != nil && c.Refused != nil {
			c.Refused(err)
		}
		changed = changed || another
	}
	if !changed {
		return
	}
	c.publish()
	if c.Changed != nil {
		c.Changed(c.NotAfter())
	}
}

func (c *Certificates) publish() {
	all := make([]*tls.Certificate, len(c.pairs))
	for i, p := range c.pairs {
		all[i] = p.loaded
	}
	c.current.Store(&all)
}

// look reads a pair. It reports whether there is another one than before, and an
// error only when the files are not as it saw them last.
func (p *pair) look() (another bool, err error) {
	chain, chainErr := readPEM(p.Certificate)
	key, keyErr := readPEM(p.Key)
	seen := fingerprint(chain, key, chainErr, keyErr)
	if seen == p.seen {
		return false, nil
	}
	p.seen = seen
	if err := errors.Join(chainErr, keyErr); err != nil {
		return false, err
	}
	loaded, err := p.parse(chain, key)
	if err != nil {
		return false, err
	}
	p.loaded = loaded
	return true, nil
}

// fingerprint differs when one of the files does.
func fingerprint(chain, key []byte, chainErr, keyErr error) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %v %v", chain, key, chainErr, keyErr))
}

// parse says what is wrong in words that crypto/tls does not have, as it does not
// know the files.
func (p *pair) parse(chain, key []byte) (*tls.Certificate, error) {
	first := blockOf(chain, func(b *pem.Block) bool { return b.Type == "CERTIFICATE" })
	secret := blockOf(key, func(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") })
	switch {
	case first == nil:
		return nil, fmt.Errorf("%s: no certificate in it: it must be PEM, and have a block -----BEGIN CERTIFICATE-----", p.Certificate)
	case secret == nil:
		return nil, fmt.Errorf("%s: no private key in it: it must be PEM, and have a block -----BEGIN PRIVATE KEY-----", p.Key)
	case encrypted(secret):
		return nil, fmt.Errorf("%s: the key is encrypted, and nobody is there to type its passphrase: store it without one", p.Key)
	}
	if _, err := x509.ParseCertificate(first.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Certificate, err)
	}
	loaded, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it must be the key that the first certificate in %s was made for", p.Key, err, p.Certificate)
	}
	return &loaded, nil
}

// blockOf is the first block of a file that is wanted; nil: there is none.
func blockOf(text []byte, wanted func(*pem.Block) bool) *pem.Block {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil || wanted(block) {
			return block
		}
	}
}

func encrypted(b *pem.Block) bool {
	return b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != ""
}

// largestPEM is more than any chain has.
const largestPEM = 1 << 20

func readPEM(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largestPEM+1))
	if err != nil {
		return nil, err
	}
	if len(text) > largestPEM {
		return nil, fmt.Errorf("%s: larger than %d bytes, which no certificate is", file, largestPEM)
	}
	return text, nil
}
