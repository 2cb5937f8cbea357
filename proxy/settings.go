package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"proxima/router"
)

// Settings is what the configuration says about carrying requests.
type Settings struct {
	TrustedProxies   []netip.Prefix // whose AddressHeader is believed
	AddressHeader    string         // X-Forwarded-For, Forwarded, X-Real-IP, …
	ReplaceForwarded bool           // endpoints are told the client's address alone, not the chain of proxies
	Attempts         int            // endpoints tried for one request, at most
	RetryRatio       float64        // retries per request over the last 10 s, at most
	RetryFloor       int            // retries that are always allowed in those 10 s
	ReplayLimit      int64          // bytes of a request body kept for another attempt
	Requests         int            // under way at once; 0: no limit
	BodyMemory       int64          // bytes of all bodies that are kept at once; 0: no limit
	KeepAlive        time.Duration  // silence in a stream of events after which the client gets a comment; 0: none
	QueueLength      int            // requests that wait for a free place at an endpoint; 0: none does
	QueueWait        time.Duration  // how long each does
	Keys             Keys           // priorities by the client's API key

	Rules                         // of every model that has none of its own
	Models map[router.Model]Rules // of those that have
}

// Rules are what may differ from model to model.
type Rules struct {
	FirstByteTimeout time.Duration // to the first byte of an answer's content; 0: no limit
	StallTimeout     time.Duration // silence within a request's body or an answer that ends it; 0: no limit
	Resume           bool          // a stream that breaks midway goes on from another endpoint, where that is possible
	Hedge            bool          // a second endpoint is asked when the first one is slower than nearly always
}

// rules are those of a model.
func (s *Settings) rules(m router.Model) Rules {
	if own, has := s.Models[m]; has {
		return own
	}
	return s.Rules
}

// errDeadline ends a request that its client said it would not wait for any longer.
var errDeadline = errors.New("the client's own time for the request is over")

// longestPatience bounds what a client may say of its patience.
const longestPatience = 24 * time.Hour

// limit lets the request end when its client has said it will not wait any longer,
// in X-Request-Timeout or grpc-timeout.
func (x *exchange) limit() error {
	wait, given, err := allowance(x.in.Header)
	if err != nil {
		return problemTimeout(err)
	}
	if given {
		x.ctx, x.release = context.WithDeadlineCause(x.ctx, x.record.Started.Add(wait), errDeadline)
	}
	return nil
}

// timeouts are the fields in which a client may say how long it waits for its whole
// answer; the first that is there counts.
var timeouts = []struct {
	name string
	read func(string) (time.Duration, error)
}{
	{"X-Request-Timeout", readTimeout},
	{"Grpc-Timeout", readGRPCTimeout},
}

// allowance is how long the client waits; not given: for ever.
func allowance(h http.Header) (wait time.Duration, given bool, err error) {
	for _, timeout := range timeouts {
		value := field(h, timeout.name)
		if value == "" {
			continue
		}
		wait, err = timeout.read(value)
		if err != nil || wait <= 0 || wait > longestPatience {
			return 0, false, errors.New(timeout.name)
		}
		return wait, true, nil
	}
	return 0, false, nil
}

// readTimeout reads a number of seconds, or a time with its unit: 30, 2.5, 1500ms.
func readTimeout(value string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil:
		return time.ParseDuration(value)
	case !(seconds > 0 && seconds <= longestPatience.Seconds()):
		return 0, strconv.ErrRange
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

var grpcUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// readGRPCTimeout reads up to eight digits and a unit (gRPC over HTTP/2, Requests).
func readGRPCTimeout(value string) (time.Duration, error) {
	digits, letter := value[:len(value)-1], value[len(value)-1]
	unit, known := grpcUnits[letter]
	if !known || digits == "" || len(digits) > 8 || strings.Trim(digits, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(longestPatience/unit) {
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * unit, nil
}
