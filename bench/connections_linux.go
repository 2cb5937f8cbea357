package main

import (
	"context"
	"fmt"

	"proxima/bench/peers"
	"proxima/bench/raw"
)

// connections asks what memory a client takes that has been answered and keeps its
// connection.
func connections(s settings) suite {
	n := s.mostConnections()
	return hopSuite(s, calm(), suite{
		name:  "connections",
		about: fmt.Sprintf("%d clients, each answered once, that keep their connections", n),
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			before, err := t.peer.Memory()
			if err != nil {
				return nil, err
			}
			return s.held(ctx, t, before, n, raw.Chat{}, "connection")
		},
	})
}

// mostConnections is how many connections are held open: those that were asked for,
// as far as a router's open files allow that.
func (s settings) mostConnections() int {
	files, err := peers.AllowFiles()
	if err != nil {
		return s.connections
	}
	return min(s.connections, peers.Connections(files))
}
