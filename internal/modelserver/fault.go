package modelserver

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Mode is a way of being broken. Text is what the paths under /v1/ answer to a
// POST; only a stream can break in the ways of a stream, and a whole answer is
// spared by those.
type Mode string

const (
	None          Mode = "none"
	Down          Mode = "down"            // every connection is broken off without an answer, those under way too
	Reset         Mode = "reset"           // every request gets its connection reset (RST) without an answer
	Freeze        Mode = "freeze"          // connections are accepted and nothing is ever answered
	Wedged        Mode = "wedged"          // no text comes any more, not in answers under way either; the rest is well
	Status        Mode = "status"          // every path answers with one status
	Busy          Mode = "busy"            // text is refused with one status; the rest is well
	Poison        Mode = "poison"          // requests for text that hold the word POISON break it; the rest is well
	ErrorRate     Mode = "error-rate"      // a share of the requests is answered with 500; probes are not
	Slow          Mode = "slow"            // every answer starts later
	SlowFirst     Mode = "slow-first"      // every text starts later; the rest is well
	HeadFirst     Mode = "head-first"      // the events of a stream start later than its status and headers
	SlowTokens    Mode = "slow-tokens"     // time from each token to the next
	Drip          Mode = "drip"            // a stream comes byte by byte, with time between two
	CutAfter      Mode = "cut-after"       // an answer breaks off after some tokens
	ResetAfter    Mode = "reset-after"     // an answer's connection is reset (RST) after some tokens
	StallAfter    Mode = "stall-after"     // an answer falls silent after some tokens
	BadChunkAfter Mode = "bad-chunk-after" // a stream goes on with a chunk size that is none after some tokens
	EOFAfter      Mode = "eof-after"       // a stream ends after some tokens as if that were all, but without finish reason and [DONE]
	ErrorFirst    Mode = "error-first"     // a stream is an error event and [DONE], after status 200
	ErrorAfter    Mode = "error-after"     // a stream ends after some tokens with an error event and [DONE]
)

// known is what a user is told who names a fault that there is not.
const known = "no such fault; there are none, down, reset, freeze (no answer, probes neither), wedged (no text, and health is well), " +
	"status=503, busy=429 and busy=429,retry=2s (text only, with Retry-After), " +
	"poison=503 and poison=crash (only what holds the word POISON; after a crash it is down for 300ms), error-rate=0.3, " +
	"slow=300ms, slow-first=300ms (text only), head-first=300ms (of a stream: its status, then its events later), " +
	"slow-tokens=300ms (between tokens), drip=5ms (between bytes), " +
	"after so many tokens cut-after=3, reset-after=3 (RST), stall-after=3, bad-chunk-after=3, " +
	"eof-after=3 (a clean end without [DONE]) and error-after=3 (an error event), " +
	"error-first (200, then an error event), health=503 and health=freeze (probes only)"

// Fault is what is wrong with a simulated model server; the zero value is
// nothing. Only the fields that belong to its mode count.
type Fault struct {
	Mode       Mode
	HealthOnly bool          // only /health suffers: with Status and Freeze
	Status     int           // with Status, Busy and Poison; with Poison 0 is a crash: it is down for 300 ms
	RetryAfter time.Duration // with Busy: whole seconds, told in Retry-After; 0: not told
	Delay      time.Duration // with Slow, SlowFirst, HeadFirst, SlowTokens and Drip
	Tokens     int           // with the modes that end in -after
	Rate       float64       // with ErrorRate, between 0 and 1
}

// ParseFault reads a fault as POST /sim/fault takes it: a mode, and for most
// modes "=" and a value. For what there is see the error for a mode that is none.
func ParseFault(text string) (Fault, error) {
	name, value, valued := strings.Cut(text, "=")
	fault, err := Fault{Mode: Mode(name)}, error(nil)
	switch fault.Mode {
	case None, Down, Reset, Freeze, Wedged, ErrorFirst:
		if valued {
			err = fmt.Errorf("%s takes no value", name)
		}
	case Status:
		fault.Status, err = parseStatus(value)
	case Busy:
		fault.Status, fault.RetryAfter, err = parseBusy(value)
	case Poison:
		if value != crash {
			fault.Status, err = parseStatus(value)
		}
	case ErrorRate:
		fault.Rate, err = parseRate(value)
	case Slow, SlowFirst, HeadFirst, SlowTokens, Drip:
		fault.Delay, err = parseDelay(value)
	case CutAfter, ResetAfter, StallAfter, BadChunkAfter, EOFAfter, ErrorAfter:
		fault.Tokens, err = parseTokens(value)
	case health:
		fault, err = parseHealthFault(value)
	default:
		err = errors.New(known)
	}
	if err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", text, err)
	}
	return fault, nil
}

const (
	health = "health" // in the place of a mode: a fault of the probes only
	crash  = "crash"  // in the place of poison's status
)

func parseHealthFault(value string) (Fault, error) {
	if value == string(Freeze) {
		return Fault{Mode: Freeze, HealthOnly: true}, nil
	}
	status, err := parseStatus(value)
	return Fault{Mode: Status, HealthOnly: true, Status: status}, err
}

func parseStatus(value string) (int, error) {
	status, err := strconv.Atoi(value)
	if err != nil || status < 200 || status > 599 {
		return 0, errors.New("a status is a number from 200 to 599, such as 503")
	}
	return status, nil
}

func parseBusy(value string) (status int, retryAfter time.Duration, err error) {
	number, wait, waits := strings.Cut(value, ",")
	status, err = parseStatus(number)
	if err != nil || !waits {
		return status, 0, err
	}
	seconds, found := strings.CutPrefix(wait, "retry=")
	retryAfter, err = time.ParseDuration(seconds)
	if !found || err != nil || retryAfter < time.Second || retryAfter%time.Second != 0 {
		return 0, 0, errors.New("after the status comes nothing or a time in whole seconds, such as 429,retry=2s")
	}
	return status, retryAfter, nil
}

func parseDelay(value string) (time.Duration, error) {
	delay, err := time.ParseDuration(value)
	if err != nil || delay < 0 {
		return 0, errors.New("a delay is a time with its unit, such as 300ms")
	}
	return delay, nil
}

func parseTokens(value string) (int, error) {
	tokens, err := strconv.Atoi(value)
	if err != nil || tokens < 0 {
		return 0, errors.New("a number of tokens is 0 or more, such as 3")
	}
	return tokens, nil
}

func parseRate(value string) (float64, error) {
	rate, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(rate) || rate < 0 || rate > 1 {
		return 0, errors.New("a rate is a number from 0 to 1, such as 0.3")
	}
	return rate, nil
}

// String is the fault in the form that ParseFault reads.
func (f Fault) String() string {
	name, value := f.Mode, f.value()
	switch {
	case f.HealthOnly && f.Mode == Freeze:
		name, value = health, string(Freeze)
	case f.HealthOnly:
		name = health
	case f.Mode == "":
		name = None
	}
	if value == "" {
		return string(name)
	}
	return string(name) + "=" + value
}

func (f Fault) value() string {
	switch f.Mode {
	case Status:
		return strconv.Itoa(f.Status)
	case Busy:
		if f.RetryAfter > 0 {
			return fmt.Sprintf("%d,retry=%v", f.Status, f.RetryAfter)
		}
		return strconv.Itoa(f.Status)
	case Poison:
		if f.Status == 0 {
			return crash
		}
		return strconv.Itoa(f.Status)
	case ErrorRate:
		return strconv.FormatFloat(f.Rate, 'g', -1, 64)
	case Slow, SlowFirst, HeadFirst, SlowTokens, Drip:
		return f.Delay.String()
	case CutAfter, ResetAfter, StallAfter, BadChunkAfter, EOFAfter, ErrorAfter:
		return strconv.Itoa(f.Tokens)
	}
	return ""
}

// stops reports whether the fault lets an answer go no further than it is with
// some tokens written.
func (f Fault) stops(written int, stream bool) bool {
	switch f.Mode {
	case CutAfter, ResetAfter, StallAfter:
		return written >= f.Tokens
	case BadChunkAfter, EOFAfter, ErrorAfter:
		return stream && written >= f.Tokens
	}
	return false
}
