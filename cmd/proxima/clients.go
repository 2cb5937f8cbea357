package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/netip"
	"runtime/debug"
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
	if s.poller != nil {
		s.clients.Leaving = s.poller.Leaving
	}
	for _, why := range edge.Reasons() {
		s.metrics.TurnedAwayFor(string(why))
	}
	if len(c.TLS.Certificates) == 0 {
		s.metrics.CertificatesLoaded(time.Time{})
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
		s.log.Info("certificates in use", zap.String("until", notAfter.UTC().Format(time.DateTime)))
		s.warnOfCertificates(certificates)
	}
	certificates.Refused = func(err error) {
		s.metrics.CertificatesRefused()
		s.log.Error("certificate refused, the one in use stays", zap.Error(err))
	}
	s.metrics.CertificatesLoaded(certificates.NotAfter())
	s.warnOfCertificates(certificates)
	s.certificates = certificates
	s.clients.TLS = &tls.Config{MinVersion: c.TLS.Minimum(), GetCertificate: certificates.Get}
	return nil
}

func (s *service) warnOfCertificates(c *edge.Certificates) {
	for _, warning := range c.Warnings(time.Now()) {
		s.log.Warn("certificate", zap.String("warning", warning))
	}
}

// What a request under way takes of memory at the most, as a rule, and how many there
// may be when nobody has said how much memory there is.
const (
	requestMemory   = 128 << 10
	requestsUnbound = 100_000
)

// requestsAtMost is how many requests may be under way at once.
func requestsAtMost(c *configs.Config) int {
	memory := debug.SetMemoryLimit(-1) // -1 asks and changes nothing
	switch {
	case c.Limits.Requests > 0:
		return c.Limits.Requests
	case memory == math.MaxInt64:
		return requestsUnbound
	}
	return int(max(memory/requestMemory, 1))
}
