// Package raw is a load and the model servers behind it that take as little of a
// processor as can be, so that one core of a small machine is enough for both
// while a router has another one for itself.
//
// Each side is one goroutine that waits for all its sockets with epoll, and sends
// bytes that were prepared in advance. It understands of HTTP what it needs: whole
// messages with Content-Length or chunks, from peers that mean well. It exists on
// Linux only.
//
// Serve is the model server. A Fleet is the clients: Saturate and Pace let them ask
// for whole answers, Listen hears streams. message.go is what both know of HTTP.
package raw
