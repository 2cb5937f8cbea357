// Package http1 is HTTP/1.1 as bytes (RFC 9112): it finds the end of a message's
// head, reads heads of requests and of answers, takes bodies out of their chunks, and
// writes header fields and chunks. It opens no socket, starts no goroutine and asks no
// clock; whoever has a connection brings the bytes.
//
// A message passes from here on to somebody else who reads it, too. Where two readers
// could understand it differently, another message can hide in it. So a request is
// taken when it is well formed, and refused otherwise: no folded lines, no line that
// ends in a bare LF, no length said twice, no host that is none. An answer comes from an
// endpoint that was chosen, and much software is sloppy: it is read as net/http's client
// reads it, as long as where it ends is beyond doubt.
//
// Reading starts at Head, then ParseRequest or ParseResponse, then Chunks when the
// body is chunked. What they make of a message is what net/http makes of it, so that
// handlers and round trippers see no difference; the fuzz tests hold them to that.
//
// Nothing here bounds a head: it is the caller's buffer that is full.
package http1

// Malformed says what is wrong with a message.
type Malformed string

// Error is a clause of a sentence, in lower case.
func (m Malformed) Error() string { return string(m) }

// Malformed lets a handler whose read of the body ended with this tell a client that
// sends nonsense from one that is gone, without importing this package.
func (m Malformed) Malformed() {}
