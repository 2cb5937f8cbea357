package transport

import (
	"io"
	"net/http"
)

// Read implements io.Reader. It brings the last bytes of the body together with io.EOF
// where that is known. Bytes are read into p straight from the connection once what came
// with the head is through.
func (a *answer) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ahead) > 0 {
		return a.readAhead(p)
	}
	for a.err == nil && len(p) > 0 {
		n, nothing := a.readOn(p)
		switch {
		case n > 0:
			return n, a.ends()
		case nothing:
			return 0, ErrNothing
		}
	}
	return 0, a.ends()
}

// readAhead reads from what came with the head.
func (a *answer) readAhead(p []byte) (int, error) {
	n := copy(p, a.ahead)
	a.ahead = a.ahead[n:]
	if len(a.ahead) > 0 {
		return n, nil
	}
	a.free()
	return n, a.ends()
}

// readOn reads from the connection. nothing: it is at rest, and nothing has come.
func (a *answer) readOn(p []byte) (n int, nothing bool) {
	n, err := a.conn.read(p)
	data := a.digest(p[:n])
	if err != nil && err != ErrNothing && a.err == nil {
		a.breakOff(err)
	}
	return len(data), err == ErrNothing
}

// digest takes what came of the body, and returns the data in it, at the front. When the
// body ends with it, the exchange is over.
func (a *answer) digest(b []byte) []byte {
	if a.chunked {
		return a.digestChunks(b)
	}
	if a.left < 0 {
		return b
	}
	n := min(int64(len(b)), a.left)
	if a.left -= n; a.left == 0 {
		a.complete(int(n) == len(b))
	}
	return b[:n]
}

func (a *answer) digestChunks(b []byte) []byte {
	data, rest, err := a.chunks.Decode(b)
	switch {
	case err != nil:
		a.err = malformed(err)
		a.finish(false)
	case a.chunks.Done():
		a.complete(len(rest) == 0)
	}
	return data
}

// complete is where the whole answer has come. clean: and nothing behind it.
func (a *answer) complete(clean bool) {
	a.err = io.EOF
	a.finish(clean)
}

// breakOff is where the connection brings nothing more. Only of an answer whose length
// nobody told is that the end.
func (a *answer) breakOff(err error) {
	switch {
	case err != io.EOF:
		a.err = a.explain(err)
	case a.left < 0 && !a.chunked:
		a.err = io.EOF
	default:
		a.err = io.ErrUnexpectedEOF
	}
	if a.response.StatusCode != http.StatusSwitchingProtocols { // there, the way out may still be open
		a.finish(false)
	}
}

// ends returns a.err. Before it tells of the end for the first time, the trailer is put
// where callers look for it.
func (a *answer) ends() error {
	if a.err != io.EOF || !a.chunked {
		return a.err
	}
	for name, values := range a.chunks.Trailer() {
		if a.response.Trailer == nil {
			a.response.Trailer = http.Header{}
		}
		a.response.Trailer[name] = values
	}
	return a.err
}

// Close implements io.Closer. An answer of which something is still to come ends with its
// connection, and so does a read that is under way.
func (a *answer) Close() error {
	if !a.mu.TryLock() {
		a.finish(false)
		a.mu.Lock()
	}
	defer a.mu.Unlock()
	a.finish(false)
	a.free()
	a.err = http.ErrBodyReadAfterClose
	return nil
}

// switched is the connection once both sides speak another protocol on it.
type switched struct{ *answer }

// Write implements io.Writer.
func (s switched) Write(p []byte) (int, error) { return s.conn.Write(p) }
