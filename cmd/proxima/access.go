package main

import (
	"math"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"proxima/router"
)

// accessLog writes the one line that a request gets, into the log of the events and
// in its format. It writes by hand: with zap, which finds the kind and the name of
// each field anew, a line was a fifth of what a request costs outside the sockets
// (BenchmarkHotPath). A line allocates nothing, and waits for others: see log.go.
type accessLog struct {
	log   events
	spare sync.Pool // of *accessLine
}

// newAccessLog writes lines into a log of newLog's, at its level for information.
// Into any other it writes nothing.
func newAccessLog(log *zap.Logger) *accessLog {
	into, _ := log.Core().(events)
	return &accessLog{log: into}
}

// tell writes the line of a request that is over. It keeps nothing of the record.
func (a *accessLog) tell(r *router.Record) {
	if a.log.out == nil || !a.log.Enabled(zapcore.InfoLevel) {
		return
	}
	line, spare := a.spare.Get().(*accessLine)
	if !spare {
		line = &accessLine{spaced: a.log.console}
	}
	line.begin(time.Now())
	line.tell(r)
	line.text = append(line.text, "}\n"...)
	a.log.out.hold(line.text)
	a.spare.Put(line)
}

// accessLine is a line under way, an object in JSON. It holds nothing of the query,
// the headers or the bodies.
type accessLine struct {
	text   []byte
	spaced bool // as on a console, and behind what the console has for the first three fields
}

// begin writes what every entry of the log begins with.
func (l *accessLine) begin(now time.Time) {
	if l.spaced {
		l.text = now.AppendFormat(l.text[:0], consoleTime)
		l.text = append(l.text, "\tINFO\trequest\t{"...)
		return
	}
	l.text = append(l.text[:0], `{"level":"info","time":"`...)
	l.text = now.AppendFormat(l.text, time.RFC3339Nano)
	l.text = append(l.text, `","msg":"request"`...)
}

func (l *accessLine) tell(r *router.Record) {
	l.word("id", r.ID)
	l.name("client")
	l.text = append(l.text, '"')
	l.text = r.Client.AppendTo(l.text)
	l.text = append(l.text, '"')
	l.word("country", r.From.Country)
	l.word("method", clipped(r.Method))
	l.word("path", clipped(r.Path))
	l.word("model", string(r.Model))
	l.count("status", int64(r.Status))
	l.count("bytes", r.Bytes)
	l.yes("complete", r.Complete)
	l.number("elapsed_ms", milliseconds(r.Elapsed))
	l.count("attempts", int64(len(r.Attempts)))
	if r.Problem != "" {
		l.word("problem", r.Problem)
	}
	if r.Resumed > 0 {
		l.count("resumed", int64(r.Resumed))
	}
	if r.Hedged {
		l.yes("hedged", true)
	}
	if r.Queued > 0 {
		l.number("queued_ms", milliseconds(r.Queued))
	}
	if last := r.Last(); last != nil {
		l.tellDecision(last, &r.Decision.Chosen)
	}
}

// tellDecision tells how the last attempt went, and the terms of the decision for it.
func (l *accessLine) tellDecision(last *router.Attempt, chosen *router.Candidate) {
	l.word("region", string(last.Region))
	l.word("endpoint", string(last.Endpoint))
	l.word("outcome", last.Outcome.String())
	l.number("ttfb_ms", milliseconds(last.FirstByte))
	l.number("cost_ms", chosen.CostMs)
	l.number("net_ms", chosen.NetMs)
	l.number("serve_ms", chosen.ServeMs)
	l.number("load", chosen.Load)
	l.number("wait_ms", chosen.WaitMs)
	l.number("warm_ms", chosen.WarmMs)
	l.count("tier", int64(chosen.Tier))
}

// clipped bounds what a stranger chose.
func clipped(text string) string { return text[:min(len(text), 256)] }

func (l *accessLine) name(name string) {
	switch {
	case !l.spaced:
		l.text = append(l.text, `,"`...)
	case l.text[len(l.text)-1] != '{':
		l.text = append(l.text, `, "`...)
	default:
		l.text = append(l.text, '"')
	}
	l.text = append(l.text, name...)
	l.text = append(l.text, `":`...)
	if l.spaced {
		l.text = append(l.text, ' ')
	}
}

func (l *accessLine) word(name, text string) {
	l.name(name)
	l.text = appendQuoted(l.text, text)
}

func (l *accessLine) count(name string, n int64) {
	l.name(name)
	l.text = strconv.AppendInt(l.text, n, 10)
}

func (l *accessLine) yes(name string, yes bool) {
	l.name(name)
	l.text = strconv.AppendBool(l.text, yes)
}

func (l *accessLine) number(name string, x float64) {
	l.name(name)
	l.text = appendThousandths(l.text, x)
}

// appendQuoted appends a text as a string of JSON (RFC 8259 §7). What is not printable
// is escaped, so that no stranger can move a terminal's cursor or turn its direction.
// What is no UTF-8 becomes U+FFFD.
func appendQuoted(to []byte, text string) []byte {
	to = append(to, '"')
	if isPlain(text) {
		to = append(to, text...)
		return append(to, '"')
	}
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			to = append(to, '\\', byte(r))
		case unicode.IsPrint(r):
			to = utf8.AppendRune(to, r)
		default:
			to = appendEscaped(to, r)
		}
	}
	return append(to, '"')
}

// isPlain reports whether a text stands for itself, as nearly every one does.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendEscaped appends \uXXXX, twice for what takes two units of UTF-16.
func appendEscaped(to []byte, r rune) []byte {
	for _, unit := range utf16.AppendRune(nil, r) {
		to = append(to, `\u`...)
		for shift := 12; shift >= 0; shift -= 4 {
			to = append(to, "0123456789abcdef"[unit>>shift&0xf])
		}
	}
	return to
}

// appendThousandths appends a number with up to three decimals: microseconds, of a
// time in milliseconds. What is no number, or beyond all sense, is null.
func appendThousandths(to []byte, x float64) []byte {
	n := math.Round(x * 1000)
	if !(math.Abs(n) < 1<<53) { // beyond which not every whole number is a float64
		return append(to, "null"...)
	}
	if n < 0 {
		to, n = append(to, '-'), -n
	}
	whole, rest := uint64(n)/1000, uint64(n)%1000
	to = strconv.AppendUint(to, whole, 10)
	if rest == 0 {
		return to
	}
	to = append(to, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	for to[len(to)-1] == '0' {
		to = to[:len(to)-1]
	}
	return to
}
