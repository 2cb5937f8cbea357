package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// frames counts what an HTTP/2 client sends. Most frames ask for something, or
// bring something. Others, such as PING and SETTINGS, cost an answer and are sent
// again at once; RST_STREAM takes back what was asked for, when it has cost most of
// what it costs. Nobody needs many of these: a connection that brings them for
// longer than a moment at over noisePerSecond is closed (CVE-2019-9512, -9514,
// -9515, -9518, CVE-2023-44487). So is one that makes the router send resets for
// the client's mistakes (CVE-2025-8671).
//
// It looks at the first nine bytes of a frame (RFC 9113 §4.1) and changes none. A
// connection that does not begin with HTTP/2's preface ends.
type frames struct {
	net.Conn
	tls     *tls.ConnectionState // nil: not over TLS
	ctx     context.Context      // of the connection; nil: it has none yet
	flooded func(net.Conn)

	heard   int  // bytes of the preface
	other   bool // it is not HTTP/2
	in, out scanner
	noise   *rate.Limiter // nil: not HTTP/2, or nobody knows yet
	windows atomic.Int64  // WINDOW_UPDATEs that what was sent gives rise to
}

const (
	noisePerSecond = 1000
	noiseAtOnce    = 1000
)

var errFlood = errors.New("too many HTTP/2 frames that ask for nothing")

func (s *Server) newFrames(conn net.Conn, state *tls.ConnectionState) *frames {
	return &frames{Conn: conn, tls: state, flooded: s.flooded}
}

func (s *Server) flooded(from net.Conn) {
	if c, is := within[*client](from); is {
		s.turnAway(c, Flood, errFlood)
	}
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if !f.other && !f.in.frames(f.hear(p[:n]), f.bears) {
		return 0, f.cut()
	}
	if f.other {
		return 0, io.EOF
	}
	return n, err
}

func (f *frames) Write(p []byte) (int, error) {
	if f.noise != nil && !f.out.frames(p, f.earns) {
		return 0, f.cut()
	}
	return f.Conn.Write(p)
}

// hear compares the first bytes with the preface, and returns what is behind it.
func (f *frames) hear(p []byte) (rest []byte) {
	if f.noise != nil {
		return p
	}
	n := min(len(preface)-f.heard, len(p))
	if !bytes.Equal(p[:n], []byte(preface[f.heard:f.heard+n])) {
		f.other = true
		return nil
	}
	if f.heard += n; f.heard == len(preface) {
		f.noise = rate.NewLimiter(noisePerSecond, noiseAtOnce)
	}
	return p[n:]
}

func (f *frames) cut() error {
	f.flooded(f)
	return errFlood
}

// The types of frames (RFC 9113 §6) that are told from others.
const (
	dataFrame         = 0x0
	headersFrame      = 0x1
	rstStreamFrame    = 0x3
	windowUpdateFrame = 0x8
)

// bears reports whether one more frame of the client's is borne.
func (f *frames) bears(h frame) bool {
	switch h.kind() {
	case headersFrame:
		return true
	case dataFrame:
		if h.length() > 0 || h.endStream() {
			return true
		}
	case windowUpdateFrame:
		if f.windows.Add(-1) >= 0 {
			return true
		}
	}
	return f.noise.Allow()
}

// earns reports whether one more frame of ours is borne: a reset that blames the
// client counts like one of his. Data gives him the right to as many
// WINDOW_UPDATEs: two for each frame, and more when he reads it in small pieces.
func (f *frames) earns(h frame) bool {
	switch h.kind() {
	case dataFrame:
		f.windows.Add(2 + int64(h.length()/512))
	case rstStreamFrame:
		return !h.blames() || f.noise.Allow()
	}
	return true
}

// NetConn is the connection below.
func (f *frames) NetConn() net.Conn { return f.Conn }

// frame is the head of one, with an error code behind it when it is RST_STREAM.
type frame [frameHead + 4]byte

const frameHead = 9

func (h *frame) length() int { return int(h[0])<<16 | int(h[1])<<8 | int(h[2]) }
func (h *frame) kind() byte  { return h[3] }

// endStream is said of DATA.
func (h *frame) endStream() bool { return h[4]&0x1 != 0 }

// blames is said of RST_STREAM, whose error code (RFC 9113 §7) is PROTOCOL_ERROR,
// FLOW_CONTROL_ERROR, STREAM_CLOSED or FRAME_SIZE_ERROR.
func (h *frame) blames() bool {
	switch h[frameHead+3] {
	case 0x1, 0x3, 0x5, 0x6:
		return h.length() == 4
	}
	return false
}

// scanner finds the frames in a stream, whatever pieces it comes in.
type scanner struct {
	head frame
	have int // bytes of head
	skip int // bytes of the frame behind that
}

// frames calls borne with every head that is complete, and ends when it is not.
func (s *scanner) frames(p []byte, borne func(frame) bool) bool {
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			s.skip -= n
			p = p[n:]
			continue
		}
		n := copy(s.head[s.have:s.want()], p)
		s.have += n
		p = p[n:]
		if s.have < s.want() {
			continue
		}
		s.skip = frameHead + s.head.length() - s.have
		s.have = 0
		if !borne(s.head) {
			return false
		}
	}
	return true
}

func (s *scanner) want() int {
	if s.have >= frameHead && s.head.kind() == rstStreamFrame && s.head.length() >= 4 {
		return frameHead + 4
	}
	return frameHead
}
