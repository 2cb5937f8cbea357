package peers

import (
	"context"
	_ "embed"
)

//go:embed haproxy.cfg
var haproxyConfig string

// HAProxyChoice is how HAProxy chooses among regions. However it does, it gives no
// region more requests at once than its model server has slots; others wait.
type HAProxyChoice string

// All the choices.
const (
	// First is the nearest region with a slot free (balance first). It is the best
	// that HAProxy has for regions of unequal distance, and needs the slots to be
	// known exactly.
	First HAProxyChoice = "first"

	// Backup is the nearest region that is up, full or not (backup servers).
	Backup HAProxyChoice = "backup"

	// LeastConn is the region with the fewest requests, near or far.
	LeastConn HAProxyChoice = "leastconn"
)

// haproxySettings are what the template of HAProxy's configuration needs.
type haproxySettings struct {
	World  *World
	Choice HAProxyChoice
	Map    string // file that says which clients are near which region
	Socket int    // file descriptor that it listens on
}

// HAProxy is HAProxy as this machine has it installed.
func HAProxy(name string, choice HAProxyChoice) Peer {
	return installed(name, "haproxy", "-v", func(ctx context.Context, w *World, program string) (*Process, error) {
		config, err := w.writeHAProxy(name, choice)
		if err != nil {
			return nil, err
		}
		return listenAs(ctx, w, command{name: name, path: program, args: []string{"-db", "-f", config}})
	})
}

// listenAs starts a router that takes over a listening socket.
func listenAs(ctx context.Context, w *World, c command) (*Process, error) {
	address, socket, err := listen()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	c.socket = socket
	return listenAt(ctx, w, address, c)
}

// listenAt starts a router that listens at an address by itself.
func listenAt(ctx context.Context, w *World, address string, c command) (*Process, error) {
	c.core = w.routerCore()
	process, err := c.start(ctx, w.Folder)
	if err != nil {
		return nil, err
	}
	process.URL = "http://" + address
	return process, process.answers(ctx)
}

func (w *World) writeHAProxy(name string, choice HAProxyChoice) (config string, err error) {
	clients, err := w.write(name+".map", clientMap, w)
	if err != nil {
		return "", err
	}
	return w.write(name+".cfg", haproxyConfig, haproxySettings{w, choice, clients, inherited})
}

// clientMap is a file for HAProxy's map_ip.
const clientMap = "{{range .Regions}}{{.Clients}} {{.Name}}\n{{end}}"
