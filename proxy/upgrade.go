package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"proxima/http1"
)

// upgradeAsked is the protocol that the client asks to change to, WebSocket for
// one, and "" for none. It is passed on over HTTP/1.1 only, which is where it
// exists, and not for a request whose body is still coming. A change to another
// HTTP is not offered: requests within it would pass by the router's rules.
func (x *exchange) upgradeAsked() string {
	protocol := upgradeOf(x.in.Header)
	if x.in.ProtoMajor != 1 || x.in.ProtoMinor < 1 || !x.body.whole() {
		return ""
	}
	for name := range elementsFromTheRight(protocol) {
		if name = strings.ToLower(name); strings.HasPrefix(name, "h2") || strings.HasPrefix(name, "http") {
			return ""
		}
	}
	return protocol
}

// upgradeOf is the protocol that a message's header names to change to, "" for none.
func upgradeOf(h http.Header) string {
	if !http1.AnyHasToken(h["Connection"], "upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

// switched reports whether an endpoint switched to what the client asked for.
func (x *exchange) switched(response *http.Response) bool {
	_, both := response.Body.(io.ReadWriteCloser)
	return both && x.protocol != "" && strings.EqualFold(x.protocol, upgradeOf(response.Header))
}

var problemUpgrade = &Problem{
	Status: http.StatusNotImplemented, Type: "invalid_request_error", Code: "upgrade_unsupported",
	Message: "Protocols cannot be switched on this connection.",
}

// upgrade joins the client's connection to the endpoint's after both agreed to
// speak another protocol. It returns when either side ends.
func (x *exchange) upgrade(response *http.Response) {
	endpoint := response.Body.(io.ReadWriteCloser)
	client, buffered, err := x.control.Hijack()
	if err != nil {
		x.respond(problemUpgrade)
		return
	}
	defer client.Close()
	x.committed = true
	x.record.Status = response.StatusCode
	if x.switchProtocols(response, buffered.Writer) != nil {
		return
	}
	x.record.Complete = true
	x.join(client, buffered.Reader, endpoint)
}

// switchProtocols tells the client that its connection is the endpoint's now.
func (x *exchange) switchProtocols(response *http.Response, to *bufio.Writer) error {
	h := http.Header{}
	x.passOn(response, h)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", upgradeOf(response.Header))
	_, _ = to.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(to)
	_, _ = to.WriteString("\r\n")
	return to.Flush()
}

// join copies both ways until one side ends, then closes both, so that the other
// copy ends too.
func (x *exchange) join(client net.Conn, fromClient io.Reader, endpoint io.ReadWriteCloser) {
	ended := make(chan struct{})
	stop := context.AfterFunc(x.ctx, func() { // the router will not wait any longer
		client.Close()
		endpoint.Close()
	})
	defer stop()
	go func() {
		defer close(ended)
		defer endpoint.Close()
		defer x.handler.contain()
		_, _ = io.Copy(endpoint, fromClient)
	}()
	x.record.Bytes, _ = io.Copy(client, endpoint)
	client.Close()
	<-ended
}
