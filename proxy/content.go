package proxy

import (
	"errors"
	"io"
	"sync"

	"proxima/proxy/stream"
)

// relaySize is how much of an answer is held at a time. A token's event has some
// 200 bytes, so that a read rarely brings more than the client should see at once.
const relaySize = 16 << 10

var relayBuffers = sync.Pool{New: func() any { return new([relaySize]byte) }}

// content is an answer's body whose beginning was read ahead. Closing it ends
// the attempt.
type content struct {
	buf     *[relaySize]byte // what the answer passes through; nil once closed
	ahead   []byte           // the part of buf that was read ahead
	err     error            // what ended the read ahead, if it brought the end too
	rest    io.ReadCloser
	attempt *attempt
	dialect stream.Dialect
	events  bool // it comes in events whose borders can be seen
	failed  bool // its first word is that the endpoint failed
	rests   bool // a read does not wait
}

// peek waits for the first bytes of content. In a stream that is understood that is
// the first event which says something: the endpoint may still fail after it has told
// whose turn it is. One that ends before that, without its last event, is broken; any
// other answer without content is complete. An endpoint that has begun to answer is not
// given longer to go on than later.
func (c *content) peek() error {
	c.room()
	limit := c.attempt.exchange.rules.StallTimeout
	var silence *timeout
	watch, seen := stream.NewWatch(c.dialect, 1), 0
	for c.err == nil && !c.hasBegun(&watch, &seen) {
		if silence == nil && len(c.ahead) > 0 && limit > 0 {
			silence = newTimeout(limit, func() { c.attempt.cancel(errStalled) })
			defer silence.stop()
		}
		var n int
		n, c.err = c.rest.Read(c.buf[len(c.ahead):])
		c.ahead = c.buf[:len(c.ahead)+n]
		if silence != nil {
			silence.again()
		}
	}
	c.hasBegun(&watch, &seen)
	c.failed = watch.Failed() && !watch.Began()
	if c.err == io.EOF && !watch.Began() && !watch.Whole() && !c.failed {
		return errUnfinished
	}
	if c.err != nil && c.err != io.EOF && !watch.Began() && (len(c.ahead) == 0 || c.dialect != stream.Opaque) {
		return c.err
	}
	return nil
}

// hasBegun reports whether what was read ahead has content, or as much as fits.
func (c *content) hasBegun(w *stream.Watch, seen *int) bool {
	if c.dialect == stream.Opaque {
		return len(c.ahead) > 0
	}
	if end := c.dialect.Border(c.ahead, *seen); end > *seen {
		w.See(c.ahead[*seen:end])
		*seen = end
	}
	return w.Began() || w.Failed() || w.Done() || len(c.ahead) == len(c.buf)
}

// Read reads into p, which may be a part of buf when nothing was read ahead.
func (c *content) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.rest.Read(p)
}

// room is the buffer that the answer passes through.
func (c *content) room() []byte {
	if c.buf == nil {
		c.buf = relayBuffers.Get().(*[relaySize]byte)
	}
	return c.buf[:]
}

// let gives the buffer back until more comes, unless some of it is held.
func (c *content) let(held int) {
	if c.buf != nil && held == 0 {
		relayBuffers.Put(c.buf)
		c.buf, c.ahead = nil, nil
	}
}

func (c *content) Close() error {
	err := c.rest.Close()
	c.let(0)
	c.attempt.end()
	return err
}

// What ended an answer that the endpoint did not complete, though its framing says
// that nothing is missing.
var (
	errUnfinished = errors.New("the stream ended without its last event")
	errReported   = errors.New("the endpoint reported an error in its stream")
)
