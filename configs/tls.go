package configs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// maxPEM is the most that is read of a file with certificates or a key.
const maxPEM = 1 << 20

// Minimum is the oldest TLS version that clients may speak, as crypto/tls counts
// them.
func (t *TLS) Minimum() uint16 {
	if t.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// EndpointRoots reads the certificates that are trusted at endpoints over https:
// the system's and those of endpoint_ca. Without an endpoint_ca it is nil, which
// crypto/tls takes for the system's.
func (t *TLS) EndpointRoots() (*x509.CertPool, error) {
	if t.EndpointCA == "" {
		return nil, nil
	}
	own, err := readCertificates(t.EndpointCA)
	if err != nil {
		return nil, fmt.Errorf("tls.endpoint_ca: %s %w", t.EndpointCA, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	for _, one := range own {
		roots.AddCert(one)
	}
	return roots, nil
}

func readCertificates(file File) ([]*x509.Certificate, error) {
	data, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	return certificates(data)
}

func (c *checker) checkTLS() {
	s := c.root.in("tls")
	first := map[string]int{}
	for i, pair := range c.TLS.Certificates {
		at := s.in("certificates").at(i)
		if !c.clean(at, "certificate", "key") || c.blamed[at.path] {
			continue
		}
		file := filepath.Clean(string(pair.Certificate))
		if earlier, twice := first[file]; twice && pair.Certificate != "" {
			c.add(at.in("certificate"), fmt.Sprintf("is the same file as in tls.certificates[%d]", earlier), "keep one of them")
			continue
		}
		first[file] = i
		c.checkPair(at, pair)
	}
	if c.TLS.EndpointCA == "" {
		return
	}
	if _, err := readCertificates(c.TLS.EndpointCA); err != nil {
		c.add(s.in("endpoint_ca"), err.Error(), "name a PEM file with the certificates of those who sign your endpoints' ones")
	}
}

// checkPair wants a certificate and its key, as tls.X509KeyPair takes them.
func (c *checker) checkPair(s spot, pair Certificate) {
	certificate, key := s.in("certificate"), s.in("key")
	if filepath.Clean(string(pair.Certificate)) == filepath.Clean(string(pair.Key)) && pair.Key != "" {
		c.add(key, "is the same file as certificate", "give the private key a file of its own, which only the router may read")
		return
	}
	chain, err := readPEM(pair.Certificate)
	if err == nil {
		_, err = certificates(chain)
	}
	if err != nil {
		c.add(certificate, err.Error(), "name a PEM file: the certificate, then those that lead to its root")
	}
	private, keyErr := readPEM(pair.Key)
	if keyErr == nil {
		keyErr = holdsKey(private)
	}
	if keyErr != nil {
		c.add(key, keyErr.Error(), "name a PEM file with the private key, without a passphrase")
	}
	if err != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(chain, private); err != nil {
		c.add(key, "does not belong to the certificate", "the certificate of this key must be the first one in its file")
	}
}

// readPEM reads a file of PEM blocks. Its error, and those of certificates and
// holdsKey, follow the file's name, and have nothing of what is in the file, which
// may be a key.
func readPEM(file File) ([]byte, error) {
	if file == "" {
		return nil, errors.New("must name a file")
	}
	data, err := readSmall(string(file), maxPEM)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	if block, _ := pem.Decode(data); block == nil {
		return nil, errors.New("is not PEM")
	}
	return data, nil
}

// certificates are those of a PEM file; there is at least one.
func certificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("has a certificate that cannot be read, number %d in it", len(all)+1)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("has no certificate in it")
	}
	return all, nil
}

// holdsKey says why the first private key of a PEM file is none for TLS.
func holdsKey(data []byte) error {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return errors.New("has a private key with a passphrase")
		case block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY"):
			return forTLS(block.Bytes)
		}
	}
	return errors.New("has no private key in it")
}

// forTLS wants a key in one of the three forms, and of one of the three kinds, that
// crypto/tls takes.
func forTLS(der []byte) error {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(der)
	}
	if err != nil {
		key, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		return errors.New("has a private key that cannot be read")
	}
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return nil
	}
	return errors.New("has a private key that is not RSA, ECDSA or Ed25519")
}
