package configs

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signed returns a certificate that a key signs for itself, in PEM.
func signed(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "router.example.net"},
		DNSNames:     []string{"router.example.net"},
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pkcs8 writes a private key in PEM.
func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func elliptical(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sec1 writes an elliptic key as openssl ecparam -genkey does, parameters first.
func sec1(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("EC PARAMETERS", []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")) + block("EC PRIVATE KEY", der)
}

// writtenFiles puts files into a folder, and returns the name of a configuration there.
func writtenFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "proxima.yaml")
}

func TestCertificatesOfEveryKindAreTaken(t *testing.T) {
	ec := elliptical(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	name := writtenFiles(t, map[string]string{
		"ec.crt": "what openssl -text writes\n" + signed(t, ec) + signed(t, ed), "ec.key": pkcs8(t, ec),
		"sec1.crt": signed(t, ec), "sec1.key": sec1(t, ec),
		"ed.crt": strings.ReplaceAll(signed(t, ed), "\n", "\r\n"), "ed.key": pkcs8(t, ed),
		"rsa.crt": signed(t, big), "rsa.key": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big)),
		"roots.pem": signed(t, ec) + signed(t, ed),
	})
	c, err := Parse(name, []byte(head+tail+`tls:
  certificates:
    - {certificate: ec.crt, key: ec.key}
    - {certificate: sec1.crt, key: sec1.key}
    - {certificate: ed.crt, key: ed.key}
    - {certificate: rsa.crt, key: rsa.key}
  min_version: "1.3"
  endpoint_ca: roots.pem
`), env)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range c.TLS.Certificates {
		if _, err := tls.LoadX509KeyPair(string(pair.Certificate), string(pair.Key)); err != nil {
			t.Errorf("%s: %v", pair.Certificate, err)
		}
	}
	if c.TLS.Minimum() != tls.VersionTLS13 {
		t.Errorf("the oldest version is %s", tls.VersionName(c.TLS.Minimum()))
	}
}

func TestACertificateThatDoesNotWorkIsRefusedAndItsKeyIsNotShown(t *testing.T) {
	ec, other := elliptical(t), elliptical(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const atKey, atCertificate = "tls.certificates[0].key", "tls.certificates[0].certificate"
	key, der := pkcs8(t, ec), []byte("hunter2-hunter2")
	for _, test := range []struct{ name, certificate, key, where, what string }{
		{"the key of another one", signed(t, ec), pkcs8(t, other), atKey, "does not belong to the certificate"},
		{"a key of another kind", signed(t, ec), pkcs8(t, ed), atKey, "does not belong to the certificate"},
		{"its root first", signed(t, other) + signed(t, ec), key, atKey, "does not belong to the certificate"},
		{"a key that signs nothing", signed(t, ec), pkcs8(t, exchange), atKey, "has a private key that is not RSA, ECDSA or Ed25519"},
		{"a key with a passphrase", signed(t, ec), block("ENCRYPTED PRIVATE KEY", der), atKey, "has a private key with a passphrase"},
		{
			"an old key with a passphrase", signed(t, ec),
			"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----\n",
			atKey, "has a private key with a passphrase",
		},
		{"a key for something else", signed(t, ec), block("OPENSSH PRIVATE KEY", der), atKey, "has a private key that cannot be read"},
		{"a torn key", signed(t, ec), key[:len(key)/2], atKey, "is not PEM"},
		{"a certificate twice", signed(t, ec), signed(t, ec), atKey, "has no private key in it"},
		{"a key twice", key, key, atCertificate, "has no certificate in it"},
		{"a certificate that is none", block("CERTIFICATE", der), key, atCertificate, "has a certificate that cannot be read, number 1 in it"},
		{"a chain that is none", signed(t, ec) + block("CERTIFICATE", der), key, atCertificate, "has a certificate that cannot be read, number 2 in it"},
		{"a torn certificate", signed(t, ec)[:100], key, atCertificate, "is not PEM"},
		{"an empty file", "", key, atCertificate, "is not PEM"},
		{"a large file", strings.Repeat("x", maxPEM+1), key, atCertificate, "is too large: the limit is 1024 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := writtenFiles(t, map[string]string{"router.crt": test.certificate, "router.key": test.key})
			_, err := Parse(name, []byte(head+tail+"tls: {certificates: [{certificate: router.crt, key: router.key}]}\n"), env)
			problems := mustBeProblems(t, name, err)
			if len(problems) != 1 || problems[0].Where != test.where || problems[0].What != test.what || problems[0].Hint == "" {
				t.Errorf("got %v\nwant %s: %s", err, test.where, test.what)
			}
			for line := range strings.Lines(test.key) {
				if line = strings.TrimSpace(line); line != "" && strings.Contains(err.Error(), line) {
					t.Errorf("the message shows the key: %v", err)
				}
			}
		})
	}
}

func TestACertificateThatIsListedTwiceIsRefused(t *testing.T) {
	ec := elliptical(t)
	name := writtenFiles(t, map[string]string{"router.crt": signed(t, ec), "router.key": pkcs8(t, ec)})
	_, err := Parse(name, []byte(head+tail+"tls:\n  certificates:\n    - {certificate: router.crt, key: router.key}\n"+
		"    - {certificate: ./router.crt, key: "+filepath.Dir(name)+"/router.key}\n"), env)
	problems := mustBeProblems(t, name, err)
	if len(problems) != 1 || problems[0].What != "is the same file as in tls.certificates[0]" {
		t.Errorf("got %v", err)
	}
}

func TestEndpointsAreTrustedByTheFilesCertificatesAndTheSystems(t *testing.T) {
	root := signed(t, elliptical(t))
	name := writtenFiles(t, map[string]string{"roots.pem": root})
	c, err := Parse(name, []byte(head+tail+"tls: {endpoint_ca: roots.pem}\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.TLS.EndpointRoots()
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if got.Equal(want) {
		t.Error("only the system's certificates are trusted")
	}
	if want.AppendCertsFromPEM([]byte(root)); !got.Equal(want) {
		t.Error("they are not the system's and the one of the file")
	}
}

func TestWithoutAFileEndpointsAreTrustedByTheSystemsCertificates(t *testing.T) {
	c := mustParse(t, head+tail)
	if roots, err := c.TLS.EndpointRoots(); roots != nil || err != nil {
		t.Errorf("got %v, %v", roots, err)
	}
	if c.TLS.Minimum() != tls.VersionTLS12 {
		t.Errorf("the oldest version is %s", tls.VersionName(c.TLS.Minimum()))
	}
}

func TestAFileThatWasTakenAwaySinceIsAnError(t *testing.T) {
	settings := TLS{EndpointCA: File(filepath.Join(t.TempDir(), "gone.pem"))}
	if _, err := settings.EndpointRoots(); err == nil || err.Error() != "tls.endpoint_ca: "+string(settings.EndpointCA)+" does not exist" {
		t.Errorf("got %v", err)
	}
}
