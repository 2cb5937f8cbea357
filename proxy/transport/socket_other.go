//go:build !unix

package transport

import "net"

// socket is nothing where this package does not know how to look at one: connections
// are watched while they are kept.
type socket struct{}

func socketOf(net.Conn) *socket { return nil }

func (*socket) isQuiet() bool { return false }

func (*socket) readFirst() (*buffer, int, error) { return nil, 0, nil }

func (*socket) read([]byte) (int, error) { return 0, nil }

func (*socket) write([]byte) (int, error) { return 0, nil }
