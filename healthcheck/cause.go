package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"proxima/router"
)

// Kind is a failed probe in one word, of a closed set: fit for a label.
type Kind string

// Every kind there is.
const (
	KindRefused     Kind = "refused"     // nothing listens there
	KindTimeout     Kind = "timeout"     // silent until the probe gave up
	KindStatus      Kind = "status"      // answered, but not as the policy expects
	KindTLS         Kind = "tls"         // no handshake, or a certificate that does not hold
	KindDNS         Kind = "dns"         // the name has no address
	KindReset       Kind = "reset"       // the connection broke off
	KindUnreachable Kind = "unreachable" // there is no way to it
	KindExhausted   Kind = "exhausted"   // this router could not even ask: no descriptor, port or memory was left
	KindOther       Kind = "other"       // the words say more
)

// Kinds returns every kind, for whoever prepares labels.
func Kinds() []Kind {
	return []Kind{
		KindRefused, KindTimeout, KindStatus, KindTLS, KindDNS, KindReset, KindUnreachable, KindExhausted, KindOther,
	}
}

// describe finds what an error of a connection means, and the words for it.
func describe(err error) (Kind, string) {
	var dns *net.DNSError
	var denied *deniedAddressError
	switch {
	case errors.As(err, &denied):
		return KindOther, denied.Error()
	case errors.As(err, &dns):
		return KindDNS, plain("name does not resolve: " + dns.Name + ": " + dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindRefused, "connection refused"
	case isTimeout(err):
		return KindTimeout, "timed out"
	}
	if words := describeTLS(err); words != "" {
		return KindTLS, plain("TLS: " + words)
	}
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return KindReset, "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return KindReset, "connection closed before the answer was complete"
	case isAny(err, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN):
		return KindUnreachable, "no route to it"
	case isAny(err, syscall.EMFILE, syscall.ENFILE):
		return KindExhausted, "this router has no file descriptor left"
	case isAny(err, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM):
		return KindExhausted, "this router has no port or memory for a connection left"
	}
	return KindOther, plain(err.Error())
}

func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// describeTLS returns "" for an error that is not one of TLS.
func describeTLS(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid):
		return describeCertificate(invalid)
	case errors.As(err, &unknown):
		return "certificate is signed by an authority that is not trusted here"
	case errors.As(err, &name):
		return "certificate is not for " + name.Host
	case errors.As(err, &record):
		return "it does not speak TLS; does its url begin with http://?"
	case errors.As(err, &alert):
		return alert.Error()
	case errors.As(err, &verify):
		return verify.Error()
	}
	return ""
}

func describeCertificate(invalid x509.CertificateInvalidError) string {
	const day = "2006-01-02"
	if invalid.Reason != x509.Expired || invalid.Cert == nil {
		return invalid.Error()
	}
	// x509 calls a certificate that is not valid yet expired, too; only its words
	// tell which of the two it compared with its clock.
	if strings.Contains(invalid.Detail, " is before ") {
		return "certificate is not valid before " + invalid.Cert.NotBefore.UTC().Format(day)
	}
	return "certificate expired on " + invalid.Cert.NotAfter.UTC().Format(day)
}

// attemptCause puts a failed request into words.
func attemptCause(a router.Attempt) string {
	switch a.Outcome {
	case router.Late:
		return "no first byte in time"
	case router.Cut:
		return "broke off in the midst of the answer"
	case router.Stalled:
		return "fell silent in the midst of the answer"
	}
	if a.Status != 0 {
		return fmt.Sprintf("answered %d", a.Status)
	}
	if a.Err != nil {
		_, words := describe(a.Err)
		return words
	}
	return a.Outcome.String()
}

// causeLimit is how many bytes of a foreign error are worth repeating.
const causeLimit = 200

// plain makes foreign text fit for a log line and a page: no control characters,
// not long.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > causeLimit {
		s = strings.ToValidUTF8(s[:causeLimit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
