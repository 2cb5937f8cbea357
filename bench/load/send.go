package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"proxima/internal/modelserver"
)

// What a router says of the answer in its headers.
const (
	regionHeader   = "X-Proxima-Region"
	endpointHeader = "X-Proxima-Endpoint"
	attemptsHeader = "X-Proxima-Attempts"
)

// Class says in a word why a request failed; "" says that it did not.
type Class string

const (
	Unsent     Class = "unsent"      // too many requests were under way already
	Refused    Class = "refused"     // no connection
	Reset      Class = "reset"       // the connection was reset
	Closed     Class = "closed"      // the connection ended before an answer
	Cut        Class = "cut"         // the connection ended in the midst of the answer
	Unfinished Class = "unfinished"  // a stream ended cleanly, but without [DONE]
	ErrorEvent Class = "error-event" // a stream said that it broke
	TimedOut   Class = "timeout"     // not over within the plan's timeout
	BadStatus  Class = "status"      // a whole answer, with a status of 400 or more
	Other      Class = "other"
)

// Result is what became of one request.
type Result struct {
	Index     int
	Method    string
	Stream    bool
	Due       time.Duration // when it was meant to start, from the beginning of the load; latencies count from here
	Lag       time.Duration // how much later it started: the load generator's own fault
	TTFB      time.Duration // until the first byte of the answer's body, or its end when it has none; 0: no answer
	Total     time.Duration // until it was over, well or not
	Status    int           // 0: no answer
	Bytes     int64         // of the answer's body
	Region    string        // X-Proxima-Region, else the simulated model server's own header
	Endpoint  string
	Attempts  int  // as the router says; 0: it says nothing
	Resent    bool // this side's HTTP client sent it again on a new connection, and hid a failure by it
	Complete  bool // the whole answer came and its status is below 400
	Error     Class
	ErrorText string
}

// send carries the i-th request to its end.
func (p Plan) send(ctx context.Context, i int, began time.Time) Result {
	asked := p.Request(i)
	result := Result{Index: i, Method: asked.Method, Stream: asked.Stream, Due: p.due(i)}
	due := began.Add(result.Due)
	result.Lag = time.Since(due)
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	var connections atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connections.Add(1) },
	})

	response, err := p.roundTrip(ctx, asked)
	if err == nil {
		result.head(response)
		err = result.read(response.Body, due)
		response.Body.Close()
	}
	result.Total = time.Since(due)
	result.Resent = connections.Load() > 1
	result.conclude(err)
	return result
}

func (p Plan) roundTrip(ctx context.Context, asked Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, asked.Method, p.URL+asked.Path, bytes.NewReader(asked.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range asked.Header {
		request.Header[name] = values
	}
	return p.Transport.RoundTrip(request)
}

func (r *Result) head(response *http.Response) {
	r.Status = response.StatusCode
	r.Region = response.Header.Get(regionHeader)
	if r.Region == "" {
		r.Region = response.Header.Get(modelserver.RegionHeader)
	}
	r.Endpoint = response.Header.Get(endpointHeader)
	r.Attempts, _ = strconv.Atoi(response.Header.Get(attemptsHeader))
}

// errUnfinished and errEvent are how a stream can end that the connection itself
// calls well.
var (
	errUnfinished = errors.New("the stream ended without [DONE]")
	errEvent      = errors.New("the stream ended with an error event")
)

// read reads the answer to its end.
func (r *Result) read(body io.Reader, due time.Time) error {
	counted := &counter{from: body}
	reader := bufio.NewReader(counted)
	_, err := reader.Peek(1)
	r.TTFB = time.Since(due)
	defer func() { r.Bytes = counted.bytes }()
	switch {
	case err == io.EOF: // an empty body
		return nil
	case err != nil:
		return err
	case r.Stream && r.Status < 400:
		return readEvents(reader)
	}
	_, err = io.Copy(io.Discard, reader)
	return err
}

// readEvents reads server-sent events until the connection ends.
func readEvents(reader *bufio.Reader) error {
	done := false
	for {
		line, err := reader.ReadString('\n')
		data, isData := strings.CutPrefix(strings.TrimSpace(line), "data:")
		data = strings.TrimSpace(data)
		switch {
		case isData && data == "[DONE]":
			done = true
		case isData && strings.HasPrefix(data, `{"error"`):
			return errEvent
		case err == io.EOF && !done:
			return errUnfinished
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (r *Result) conclude(err error) {
	switch {
	case err != nil:
		r.Error, r.ErrorText = classify(err, r.Status > 0), err.Error()
	case r.Status >= 400:
		r.Error = BadStatus
	default:
		r.Complete = true
	}
}

func classify(err error, answered bool) Class {
	var late net.Error
	switch {
	case errors.Is(err, errUnfinished):
		return Unfinished
	case errors.Is(err, errEvent):
		return ErrorEvent
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case answered && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)):
		return Cut
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	}
	return Other
}

// counter counts the bytes that are read through it.
type counter struct {
	from  io.Reader
	bytes int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.bytes += int64(n)
	return n, err
}
