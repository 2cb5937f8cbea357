package peers

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What follows are the routers as they are set up to see what a hop through them
// costs: with one thread, and all told the same.
var (
	//go:embed hop/proxima.yaml
	hopProxima string
	//go:embed hop/haproxy.cfg
	hopHAProxy string
	//go:embed hop/nginx.conf
	hopNginx string
	//go:embed hop/Caddyfile
	hopCaddy string
)

// Hops says how the routers are set up.
type Hops struct {
	Files    int           // that each may open
	Patience time.Duration // from one probe to the next, and with what does not answer; in whole milliseconds
	Binaries []string      // programs of Proxima built before; empty: it is built from the sources here

	// Resends: HAProxy keeps each request, to send it to another endpoint when the
	// first one fails before its answer. It takes a buffer as long as the answer lasts,
	// which the others need not do.
	Resends bool
}

// Peers are Proxima, HAProxy, nginx and Caddy with one thread each. Those called
// "-log" write a line for each request, as Proxima does. The first of the binaries is
// "proxima", the others are "proxima-2" and so on.
func (hops Hops) Peers() []Peer {
	h := hop{
		Files: hops.Files, Connections: Connections(hops.Files) + spareFiles/4, Socket: inherited,
		Patience: strconv.FormatInt(hops.Patience.Milliseconds(), 10) + "ms", Resends: hops.Resends,
	}
	all := []Peer{h.proxima("proxima", "")}
	for i, binary := range hops.Binaries {
		if i == 0 {
			all[0] = h.proxima("proxima", binary)
			continue
		}
		all = append(all, h.proxima("proxima-"+strconv.Itoa(i+1), binary))
	}
	all = append(all, h.haproxy("haproxy"), h.nginx("nginx"), h.caddy("caddy"))
	h.Log = true
	return append(all, h.haproxy("haproxy-log"), h.nginx("nginx-log"))
}

// spareFiles are what a router needs open beside connections.
const spareFiles = 400

// Connections is how many connections a router can carry, each with another one to
// an endpoint, when it may open so many files.
func Connections(files int) int { return (files - spareFiles) / 2 }

// hop is what the template of any of the configurations needs.
type hop struct {
	World       *World
	Name        string // of the peer
	Address     string // where it is to listen, unless it inherits a socket
	Socket      int    // file descriptor that it listens on, if it does
	Map         string // file that says which clients are near which region
	Log         bool   // write an access log
	Files       int    // that it may open
	Connections int    // that it must carry, each with one to an endpoint
	Patience    string // from one probe to the next, and with what does not answer
	Resends     bool   // see Hops
}

func (h hop) proxima(name, binary string) Peer {
	return proxima(name, binary, hopProxima, func(w *World) any {
		h.World = w
		return h
	})
}

func (h hop) haproxy(name string) Peer {
	return installed(name, "haproxy", "-v", func(ctx context.Context, w *World, program string) (*Process, error) {
		h.World, h.Name = w, name
		var err error
		if h.Map, err = w.write(name+".map", clientMap, w); err != nil {
			return nil, err
		}
		config, err := w.write(name+".cfg", hopHAProxy, h)
		if err != nil {
			return nil, err
		}
		return listenAs(ctx, w, command{name: name, path: program, args: []string{"-db", "-f", config}})
	})
}

func (h hop) nginx(name string) Peer {
	return installed(name, "nginx", "-v", func(ctx context.Context, w *World, program string) (*Process, error) {
		h.World, h.Name = w, name
		var err error
		if h.Address, err = freeAddress(); err != nil {
			return nil, err
		}
		config, err := w.write(name+".conf", hopNginx, h)
		if err != nil {
			return nil, err
		}
		return listenAt(ctx, w, h.Address, command{
			name: name, path: program, args: []string{"-e", "stderr", "-p", w.Folder, "-c", config},
		})
	})
}

func (h hop) caddy(name string) Peer {
	return installed(name, "caddy", "version", func(ctx context.Context, w *World, program string) (*Process, error) {
		h.World, h.Name = w, name
		var err error
		if h.Address, err = freeAddress(); err != nil {
			return nil, err
		}
		config, err := w.write("Caddyfile", hopCaddy, h)
		if err != nil {
			return nil, err
		}
		return listenAt(ctx, w, h.Address, command{
			name: name, path: program, args: []string{"run", "--config", config, "--adapter", "caddyfile"},
			env: []string{"XDG_CONFIG_HOME=" + w.Folder, "XDG_DATA_HOME=" + w.Folder},
		})
	})
}

// Slots are nginx's places for connections. They are more than it can use, because it
// closes idle connections when few places are left.
func (h hop) Slots() int { return 2 * h.Files }

// Port is that of the address.
func (h hop) Port() string { return h.Address[strings.LastIndexByte(h.Address, ':')+1:] }

// Pattern is a regular expression of the addresses of a network, for Caddy, which
// knows no networks here. It is right for whole octets.
func (h hop) Pattern(network netip.Prefix) (string, error) {
	if !network.Addr().Is4() || network.Bits()%8 != 0 {
		return "", fmt.Errorf("network %s: a pattern needs IPv4 and whole octets", network)
	}
	octets := strings.SplitAfter(network.Addr().String(), ".")
	return "^" + regexp.QuoteMeta(strings.Join(octets[:network.Bits()/8], "")), nil
}

// freeAddress is one that nobody listens at now. Somebody else may take it before
// the router does, which then says so.
func freeAddress() (string, error) {
	address, socket, err := listen()
	if err != nil {
		return "", err
	}
	return address, socket.Close()
}
