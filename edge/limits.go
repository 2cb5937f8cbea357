package edge

import (
	"net/http"
	"time"
)

// Limits are what a client may cost before anybody knows what he wants. 0 is the
// default of each.
type Limits struct {
	HeaderSize            int           // bytes of a request's head; 64 KiB
	HeaderTimeout         time.Duration // for the PROXY header and the TLS handshake together, and again for each request's head; 10 s
	IdleTimeout           time.Duration // how long a connection stays open between requests; 2 min
	Connections           int           // open at once; half of the files that may be open, see forOpenFiles
	ConnectionsPerAddress int           // of these, from one IPv4 address or IPv6 /64; a quarter
	Streams               int           // requests at once on one HTTP/2 connection; 250
}

func (l Limits) orDefault() Limits {
	def := func(value *int, otherwise int) {
		if *value <= 0 {
			*value = otherwise
		}
	}
	def(&l.HeaderSize, 64<<10)
	def(&l.Streams, 250)
	def(&l.Connections, forOpenFiles(openFiles()))
	def(&l.ConnectionsPerAddress, max(l.Connections/4, 1))
	if l.HeaderTimeout <= 0 {
		l.HeaderTimeout = 10 * time.Second
	}
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = 2 * time.Minute
	}
	return l
}

// forOpenFiles is how many clients fit when so many files may be open: each may
// need another connection to an endpoint, and 64 are for everything else: the
// operators' listener, probes, logs, databases.
func forOpenFiles(files uint64) int {
	const most = 1 << 20
	if files >= 2*most+64 {
		return most
	}
	return max((int(files)-64)/2, 16)
}

// http2 bounds a connection that has many requests in it. net/http adds bounds of
// its own: a client that resets requests faster than their handlers end is cut off
// when 4 times Streams wait, a head in many CONTINUATION frames is no longer than
// HeaderSize, and so is what it decompresses to. What is still free of charge is
// counted by frames.
func (l Limits) http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxReadFrameSize:              16 << 10,
		MaxReceiveBufferPerConnection: 1 << 20, // of bodies that no handler has read yet, all streams together
		MaxReceiveBufferPerStream:     1 << 20,
		SendPingTimeout:               30 * time.Second, // a client that is gone without a word is noticed 15 s later
		WriteByteTimeout:              time.Minute,      // and one that takes nothing at all, now
	}
}
