package main

import (
	"math"
	"net/netip"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"proxima/router"
)

// accessLog writes the one line that a request gets. A line costs no allocation and
// some microseconds less than a system call: it waits for others (see log.go).
type accessLog struct {
	log   *zap.Logger
	spare sync.Pool // of *accessLine
}

// newAccessLog writes lines to a log, at its level for information.
func newAccessLog(log *zap.Logger) *accessLog {
	return &accessLog{log: log.WithOptions(zap.WrapCore(mayWait))}
}

// tell writes the line of a request that is over. It keeps nothing of the record.
func (a *accessLog) tell(r *router.Record) {
	entry := a.log.Check(zapcore.InfoLevel, "request")
	if entry == nil {
		return
	}
	line, spare := a.spare.Get().(*accessLine)
	if !spare {
		line = &accessLine{}
		line.fields[0] = zap.Inline(line)
	}
	line.record = r
	entry.Write(line.fields[:]...)
	line.record = nil
	a.spare.Put(line)
}

// accessLine is a record as a line of the log. It holds nothing of the query, the
// headers or the bodies. It is one field that adds its parts itself, for a slice of
// fields is 2 KiB a line.
type accessLine struct {
	record *router.Record
	fields [1]zap.Field
	client [len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]byte
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *accessLine) MarshalLogObject(line zapcore.ObjectEncoder) error {
	r := l.record
	line.AddString("id", r.ID)
	line.AddByteString("client", l.address(r.Client))
	line.AddString("country", r.From.Country)
	line.AddString("method", clipped(r.Method))
	line.AddString("path", clipped(r.Path))
	line.AddString("model", string(r.Model))
	line.AddInt("status", r.Status)
	line.AddInt64("bytes", r.Bytes)
	line.AddBool("complete", r.Complete)
	line.AddFloat64("elapsed_ms", rounded(milliseconds(r.Elapsed)))
	line.AddInt("attempts", len(r.Attempts))
	if r.Problem != "" {
		line.AddString("problem", r.Problem)
	}
	if r.Resumed > 0 {
		line.AddInt("resumed", r.Resumed)
	}
	if r.Hedged {
		line.AddBool("hedged", true)
	}
	if r.Queued > 0 {
		line.AddFloat64("queued_ms", rounded(milliseconds(r.Queued)))
	}
	if last := r.Last(); last != nil {
		addDecision(line, last, &r.Decision.Chosen)
	}
	return nil
}

// address is a client's as text, "" when it has none.
func (l *accessLine) address(client netip.Addr) []byte { return client.AppendTo(l.client[:0]) }

// addDecision adds how the last attempt went, and the terms of the decision for it.
func addDecision(line zapcore.ObjectEncoder, last *router.Attempt, chosen *router.Candidate) {
	line.AddString("region", string(last.Region))
	line.AddString("endpoint", string(last.Endpoint))
	line.AddString("outcome", last.Outcome.String())
	line.AddFloat64("ttfb_ms", rounded(milliseconds(last.FirstByte)))
	line.AddFloat64("cost_ms", rounded(chosen.CostMs))
	line.AddFloat64("net_ms", rounded(chosen.NetMs))
	line.AddFloat64("serve_ms", rounded(chosen.ServeMs))
	line.AddFloat64("load", rounded(chosen.Load))
	line.AddFloat64("wait_ms", rounded(chosen.WaitMs))
	line.AddFloat64("warm_ms", rounded(chosen.WarmMs))
	line.AddUint8("tier", uint8(chosen.Tier))
}

// clipped bounds what a stranger chose.
func clipped(text string) string { return text[:min(len(text), 256)] }

// rounded keeps three decimals: microseconds, of a time in milliseconds.
func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }
