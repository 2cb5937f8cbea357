package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"proxima/configs"
	"proxima/edge"
)

// joinClients makes the listener for clients: limits, certificates, and who is told of
// the connections on it.
func (s *service) joinClients(c *configs.Config) error {
	var base context.Context
	base, s.cut = context.WithCancelCause(context.Background())
	s.clients = &edge.Server{
		Handler:     s.proxy,
		ErrorLog:    zap.NewStdLog(s.log),
		BaseContext: base,
		ConnContext: withVisitor,
		Limits: edge.Limits{
			HeaderSize:            int(c.Limits.HeaderSize),
			HeaderTimeout:         time.Duration(c.Limits.HeaderTimeout),
			IdleTimeout:           time.Duration(c.Limits.IdleTimeout),
			Connections:           c.Limits.Connections,
			ConnectionsPerAddress: c.Limits.ConnectionsPerAddress,
		},
		Trusted:       s.trusts,
		ProxyProtocol: c.Client.ProxyProtocol,
		Turned: func(why edge.Reason, err error) {
			s.metrics.TurnedAway(string(why))
			s.log.Debug("connection turned away", zap.String("reason", string(why)), zap.Error(err))
		},
		Opened: s.metrics.Connections,
	}
	if len(c.TLS.Certificates) == 0 {
		return nil
	}
	return s.joinCertificates(c)
}

// trusts reports whether an address is that of a proxy whose word is believed.
func (s *service) trusts(address netip.Addr) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(address) }
	return slices.ContainsFunc(s.inUse.Load().settings.TrustedProxies, holds)
}

func (s *service) joinCertificates(c *configs.Config) error {
	var pairs []edge.Pair
	for _, p := range c.TLS.Certificates {
		pairs = append(pairs, edge.Pair{Certificate: string(p.Certificate), Key: string(p.Key)})
	}
	certificates, err := edge.LoadCertificates(pairs)
	if err != nil {
		return fmt.Errorf("tls.certificates: %w", err)
	}
	certificates.Changed = func(notAfter time.Time) {
		s.metrics.CertificatesLoaded(notAfter)
		s.log.Info("certificates in use", zap.Time("until", notAfter))
	}
	certificates.Refused = func(err error) {
		s.metrics.CertificatesRefused()
		s.log.Error("certificate refused, the one in use stays", zap.Error(err))
	}
	for _, warning := range certificates.Warnings(time.Now()) {
		s.log.Warn("certificate", zap.String("warning", warning))
	}
	s.metrics.CertificatesLoaded(certificates.NotAfter())
	s.certificates = certificates
	s.clients.TLS = &tls.Config{MinVersion: oldestTLS(c), GetCertificate: certificates.Get}
	return nil
}

func oldestTLS(c *configs.Config) uint16 {
	if c.TLS.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// endpointRoots are the certificates that endpoints over https may lead to; nil: the
// system's alone.
func endpointRoots(c *configs.Config) (*x509.CertPool, error) {
	if c.TLS.EndpointCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(string(c.TLS.EndpointCA))
	if err != nil {
		return nil, fmt.Errorf("tls.endpoint_ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without any
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("tls.endpoint_ca: there is no certificate in it")
	}
	return roots, nil
}
