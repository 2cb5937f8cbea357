package edge

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"proxima/http1"
)

// body is what a client sends behind the head of a request. It may be read in another
// goroutine than the handler's, also after the answer has begun.
type body struct {
	exchange *exchange
	chunked  bool
	asks     bool // the client waits for 100 Continue
	closed   atomic.Bool
	left     atomic.Int64 // bytes that are to come, when it is not chunked
	ended    atomic.Bool  // it was read to its end

	mu     sync.Mutex // one reads at a time
	chunks http1.Chunks
	wrong  error // what is wrong behind the data that came out of the chunks
	err    error // how every read ends from now on
}

// direct is how much is read at once of a body in chunks without a buffer of our own:
// what is not data then has to be kept elsewhere.
const direct = 32 << 10

// Read reads what has come, and waits only when nothing has. What is wrong with the body
// is an http1.Malformed; a client that is gone in the midst of it is io.ErrUnexpectedEOF
// or a net.Error. After a deadline has passed it can be read on under another one.
func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() { // nor is anybody waited for who reads
		return 0, http.ErrBodyReadAfterClose
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	case b.asks:
		b.asks = false
		b.exchange.answer.sayContinue()
	}
	return b.read(p)
}

func (b *body) read(p []byte) (n int, err error) {
	if b.chunked {
		n, err = b.readChunks(p)
	} else {
		n, err = b.readCounted(p)
	}
	return n, b.note(err)
}

// note remembers what holds for every read that follows.
func (b *body) note(err error) error {
	switch {
	case err == nil, isTimeout(err):
		return err
	case err == io.EOF:
		b.ended.Store(true)
	case err != b.wrong:
		b.exchange.life.end(context.Canceled) // the client is gone
	}
	b.err = err
	return err
}

func isTimeout(err error) bool {
	slow, is := err.(net.Error)
	return is && slow.Timeout()
}

// readCounted takes no byte that is not the body's.
func (b *body) readCounted(p []byte) (n int, err error) {
	in := &b.exchange.front.in
	left := b.left.Load()
	p = p[:min(int64(len(p)), left)]
	if len(in.bytes) > 0 {
		n = copy(p, in.bytes)
		in.use(n)
	} else {
		n, err = b.exchange.front.conn.Read(p)
	}
	if left = b.left.Add(-int64(n)); left == 0 {
		return n, io.EOF
	}
	return n, unexpected(err)
}

func (b *body) readChunks(p []byte) (n int, err error) {
	in := &b.exchange.front.in
	for n == 0 && err == nil {
		switch {
		case len(in.data) > 0:
			n = in.moveData(p)
		case b.wrong != nil:
			return 0, b.wrong
		case b.chunks.Done():
			return 0, b.finish()
		case len(in.bytes) > 0:
			b.decode()
		case len(p) >= leastRoom:
			n, err = b.readInto(p[:min(len(p), direct)])
		default:
			err = b.more()
		}
	}
	if b.chunks.Done() && len(in.data) == 0 {
		return n, b.finish()
	}
	return n, err
}

// decode takes what is ahead out of its chunks.
func (b *body) decode() {
	in := &b.exchange.front.in
	in.data, in.bytes, b.wrong = b.chunks.Decode(in.bytes)
	in.tidy()
}

// readInto reads from the client and leaves the data where it came.
func (b *body) readInto(p []byte) (int, error) {
	n, err := b.exchange.front.conn.Read(p)
	data, rest, wrong := b.chunks.Decode(p[:n])
	b.exchange.front.in.keep(rest)
	b.wrong = wrong
	return len(data), unexpected(err)
}

// more reads from the client what is to be decoded.
func (b *body) more() error { return unexpected(b.exchange.front.more()) }

// unexpected is what an end means in the midst of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// finish gives the request the fields behind the body.
func (b *body) finish() error {
	trailer, r := b.chunks.Trailer(), b.exchange.request
	if len(trailer) > 0 && r.Trailer == nil {
		r.Trailer = make(http.Header, len(trailer))
	}
	maps.Copy(r.Trailer, trailer)
	return io.EOF
}

// Close lets no other read begin. What is not read is left to the server.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// Buffered reports whether all that is still to be read is here already, so that no Read
// will wait.
func (b *body) Buffered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	in := &b.exchange.front.in
	switch {
	case b.ended.Load():
		return true
	case b.asks, b.err != nil, b.closed.Load():
		return false
	case !b.chunked:
		return b.left.Load() <= int64(len(in.bytes))
	case len(in.data) == 0 && len(in.bytes) > 0 && !b.chunks.Done():
		b.decode()
	}
	return b.chunks.Done()
}

// mostUnread is how much of a body is read that nobody wanted, so that the connection can
// go on. net/http reads as much.
const mostUnread = 256 << 10

// isLong reports whether more is to come of the body, by what the client said, than is
// read for the sake of the connection.
func (b *body) isLong() bool { return b.left.Load() > mostUnread }

// end lets nobody read any more. It breaks off a read that is under way.
func (b *body) end() {
	b.closed.Store(true)
	if !b.mu.TryLock() {
		b.exchange.front.client.interrupt()
		b.mu.Lock()
	}
	b.mu.Unlock()
}

// drain reads the rest of the body, and reports whether it came to its end. It waits no
// longer than the handler allowed or, when that said nothing, than limit.
func (b *body) drain(limit time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asks || b.isLong() || b.err != nil && b.err != io.EOF {
		return b.ended.Load()
	}
	client := b.exchange.front.client
	if !client.socket.in.isSet() {
		_ = client.SetReadDeadline(time.Now().Add(limit))
	}
	waste := client.server.buffers.take()
	defer client.server.buffers.give(waste)
	for unread := 0; unread <= mostUnread && b.err == nil; {
		n, err := b.read(waste[:])
		unread += n
		if err != nil {
			break
		}
	}
	return b.ended.Load()
}

// sayContinue tells a client to send the body, unless it has an answer already.
func (a *answer) sayContinue() {
	a.interim.Lock()
	defer a.interim.Unlock()
	if a.exchange.asksContinue {
		a.exchange.asksContinue = false
		_, _ = io.WriteString(a.exchange.front.conn, "HTTP/1.1 100 Continue\r\n\r\n") // it shows when the body is read
	}
}

// forgetContinue is before an answer to somebody who waits for leave to send the body.
func (a *answer) forgetContinue() {
	a.interim.Lock()
	defer a.interim.Unlock()
	a.exchange.asksContinue = false
}
