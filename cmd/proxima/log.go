package main

import (
	"io"
	"math"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"proxima/configs"
	"proxima/router"
)

// newLog writes events to w as the configuration asks. The level can be changed
// while the log is in use.
func newLog(w io.Writer, c configs.Log) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevelAt(levelOf(c))
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if c.Format == "console" {
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), level
}

// levelOf reads a level that configs has checked.
func levelOf(c configs.Log) zapcore.Level {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return zapcore.InfoLevel
	}
	return level
}

// logAccess writes the one line that a request gets. It holds nothing of the
// query, the headers or the bodies.
func logAccess(log *zap.Logger, r *router.Record) {
	line := log.Check(zapcore.InfoLevel, "request")
	if line == nil {
		return
	}
	fields := []zap.Field{
		zap.String("id", r.ID),
		zap.Stringer("client", r.Client),
		zap.String("country", r.From.Country),
		zap.String("method", clipped(r.Method)),
		zap.String("path", clipped(r.Path)),
		zap.String("model", string(r.Model)),
		zap.Int("status", r.Status),
		zap.Int64("bytes", r.Bytes),
		zap.Bool("complete", r.Complete),
		zap.Float64("elapsed_ms", rounded(milliseconds(r.Elapsed))),
		zap.Int("attempts", len(r.Attempts)),
	}
	if r.Problem != "" {
		fields = append(fields, zap.String("problem", r.Problem))
	}
	if r.Resumed > 0 {
		fields = append(fields, zap.Int("resumed", r.Resumed))
	}
	if r.Hedged {
		fields = append(fields, zap.Bool("hedged", true))
	}
	if r.Queued > 0 {
		fields = append(fields, zap.Float64("queued_ms", rounded(milliseconds(r.Queued))))
	}
	if last := r.Last(); last != nil {
		c := &r.Decision.Chosen
		fields = append(
			fields,
			zap.String("region", string(last.Region)),
			zap.String("endpoint", string(last.Endpoint)),
			zap.Stringer("outcome", last.Outcome),
			zap.Float64("ttfb_ms", rounded(milliseconds(last.FirstByte))),
			zap.Float64("cost_ms", rounded(c.CostMs)),
			zap.Float64("net_ms", rounded(c.NetMs)),
			zap.Float64("serve_ms", rounded(c.ServeMs)),
			zap.Float64("load", rounded(c.Load)),
			zap.Float64("wait_ms", rounded(c.WaitMs)),
			zap.Float64("warm_ms", rounded(c.WarmMs)),
			zap.Uint8("tier", uint8(c.Tier)),
		)
	}
	line.Write(fields...)
}

// clipped bounds what a stranger chose.
func clipped(text string) string { return text[:min(len(text), 256)] }

// rounded keeps three decimals: microseconds, of a time in milliseconds.
func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }
