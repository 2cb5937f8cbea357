package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"proxima/configs"
	"proxima/internal/modelserver"
	"proxima/router"
)

// demoModel is what the simulated model servers call themselves.
const demoModel = "demo-llm"

// demoRegion is a simulated region, and a client that it is nearest to.
type demoRegion struct {
	name   string // a known cloud region
	city   string // where the client is
	client string // an address there: of a university, for its place is no secret
	server *modelserver.Server
	url    string
}

func demoRegions() []*demoRegion {
	return []*demoRegion{
		{name: "asia-northeast1", city: "Tokyo", client: "133.11.0.1"},
		{name: "europe-west3", city: "Frankfurt", client: "141.2.1.1"},
		{name: "us-east4", city: "New York", client: "128.59.1.1"},
	}
}

func (a *app) demoCommand() *cobra.Command {
	var listen, operators string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try it: three simulated model servers and a router in one process",
		Long: "The model servers are simulated: they make up text, and their delays are invented. The router is\n" +
			"the real one. It believes X-Forwarded-For from this machine, so that curl can be anywhere.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), listen, operators)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "where clients connect; another port is taken when it is in use")
	cmd.Flags().StringVar(&operators, "admin", "127.0.0.1:9090", "where operators connect; likewise")
	return cmd
}

func (a *app) demo(ctx context.Context, listen, operators string) error {
	ctx, quit := context.WithCancel(ctx)
	regions := demoRegions()
	var servers sync.WaitGroup
	defer servers.Wait()
	defer quit()
	for _, r := range regions {
		if err := r.start(ctx, &servers); err != nil {
			return err
		}
	}
	written := demoConfig(regions, free(listen), free(operators))
	config, err := configs.Parse("demo.yaml", written, a.env)
	if err != nil {
		return err
	}
	out, restore := a.rawTerminal()
	defer restore()
	log, level := newLog(out, config.Log)
	s, err := newService(document{written, config}, a.env, log, level)
	if err != nil {
		return err
	}
	d, err := s.open(config)
	if err != nil {
		return err
	}
	s.proxy.Observe = func(r *router.Record) {
		s.observe(r)
		tellRequest(out, r, regions)
	}
	servers.Go(func() {
		if s.settled(ctx) {
			tellDemo(out, regions, d, listen)
		}
	})
	go a.listenToKeys(out, regions, quit) // ends with the input, or with the process
	return s.run(ctx, "", d, 0)
}

// settled waits until every endpoint was probed; false: the demo ended first.
func (s *service) settled(ctx context.Context) bool {
	for !s.monitor.Settled() && ctx.Err() == nil {
		wait(ctx, 5*time.Millisecond)
	}
	return ctx.Err() == nil
}

func (r *demoRegion) start(ctx context.Context, servers *sync.WaitGroup) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the simulated %s: %w", r.name, err)
	}
	r.url = "http://" + listener.Addr().String()
	r.server = modelserver.New(modelserver.Settings{
		Region: r.name, Models: []string{demoModel}, Faults: true,
		FirstToken: 120 * time.Millisecond, Jitter: 30 * time.Millisecond, PerToken: 25 * time.Millisecond,
	})
	servers.Go(func() { _ = r.server.Serve(ctx, listener) }) // a listener on loopback that fails ends with the demo
	return nil
}

// demoConfig is an ordinary configuration file, but for the fast probes.
func demoConfig(regions []*demoRegion, listen, operators string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nlisten: %s\nadmin: {listen: %q}\n", listen, operators)
	b.WriteString("log: {access: false}\n")
	b.WriteString("client: {trusted_proxies: [127.0.0.0/8, \"::1/128\"]}\n")
	b.WriteString("health: {interval: 500ms, timeout: 400ms, slow_start: 3s}\n")
	b.WriteString("failover: {drain_timeout: 3s}\n")
	b.WriteString("regions:\n")
	for _, r := range regions {
		fmt.Fprintf(&b, "  %s: {}\n", r.name)
	}
	b.WriteString("endpoints:\n")
	for _, r := range regions {
		fmt.Fprintf(&b, "  - {url: %q, region: %s, models: [%s], capacity: 32}\n", r.url, r.name, demoModel)
	}
	return []byte(b.String())
}

// free returns the address, or one with any port when that is in use.
func free(address string) string {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		if host, _, bad := net.SplitHostPort(address); bad == nil {
			return net.JoinHostPort(host, "0")
		}
		return address
	}
	listener.Close()
	return address
}

func tellDemo(out io.Writer, regions []*demoRegion, d *doors, wanted string) {
	base := "http://" + d.clients.Addr().String()
	fmt.Fprintf(out, "\nProxima is listening at %s; its dashboard is http://%s/\n", base, d.operators.Addr())
	if wanted != d.clients.Addr().String() {
		fmt.Fprintf(out, "(%s is in use or was left open, so it took another port.)\n", wanted)
	}
	fmt.Fprintln(out, "The three model servers behind it are SIMULATED: they make up text and their delays are invented.")
	fmt.Fprintln(out, "\nBe a client somewhere; X-Proxima-Region in the answer says who answered:")
	for _, r := range regions {
		fmt.Fprintf(out, "\n  # %s\n  curl -si %s/v1/chat/completions -H 'X-Forwarded-For: %s' \\\n"+
			"    -H 'Content-Type: application/json' -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'\n",
			r.city, base, r.client, demoModel)
	}
	fmt.Fprintf(out, "\nAdd \"stream\": true and curl -N to watch tokens. Kill a region and bring it back, here or by URL:\n\n")
	for i, r := range regions {
		fmt.Fprintf(out, "  %d  %-16s curl -X POST '%s/sim/fault?mode=down'  (mode=none brings it back)\n", i+1, r.name, r.url)
	}
	fmt.Fprintf(out, "\nPress 1, 2 or 3 to kill or revive a region, q to quit.\n\n")
}

// tellRequest prints a line about a request in the demo's words.
func tellRequest(out io.Writer, r *router.Record, regions []*demoRegion) {
	from := r.Client.String()
	for _, region := range regions {
		if netip.MustParseAddr(region.client) == r.Client {
			from = region.city
		}
	}
	answered := "no region"
	if last := r.Last(); last != nil {
		answered = string(last.Region)
	}
	fmt.Fprintf(out, "%s  %s %s from %s: answered by %s, status %d, %s, %.0f ms\n",
		r.Started.Format("15:04:05"), r.Method, r.Path, from, answered, r.Status, plural(len(r.Attempts), "attempt"), milliseconds(r.Elapsed))
}

// listenToKeys kills and revives regions until the input ends.
func (a *app) listenToKeys(out io.Writer, regions []*demoRegion, quit func()) {
	keys := bufio.NewReader(a.stdin)
	for {
		key, err := keys.ReadByte()
		switch {
		case err != nil:
			return
		case key == 'q' || key == 3: // Ctrl-C is a key to a raw terminal
			quit()
			return
		case key >= '1' && int(key-'1') < len(regions):
			regions[key-'1'].toggle(out)
		}
	}
}

func (r *demoRegion) toggle(out io.Writer) {
	if r.server.Fault().Mode == modelserver.Down {
		r.server.Mend()
		fmt.Fprintf(out, "--- %s is alive again\n", r.name)
		return
	}
	r.server.Break(modelserver.Fault{Mode: modelserver.Down})
	fmt.Fprintf(out, "--- %s is dead\n", r.name)
}

// rawTerminal lets single keys through when a person is at the keyboard, and
// returns where to write meanwhile.
func (a *app) rawTerminal() (out io.Writer, restore func()) {
	file, is := a.stdin.(*os.File)
	if !is || !isTerminal(file) {
		return a.stdout, func() {}
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return a.stdout, func() {}
	}
	return &carriage{to: a.stdout}, func() {
		if err := term.Restore(int(file.Fd()), before); err != nil && !errors.Is(err, os.ErrClosed) {
			fmt.Fprintln(a.stderr, "proxima: the terminal could not be restored; type: reset")
		}
	}
}

// carriage returns the carriage at each line's end, as a raw terminal wants it.
type carriage struct{ to io.Writer }

func (c *carriage) Write(p []byte) (int, error) {
	_, err := io.WriteString(c.to, strings.ReplaceAll(string(p), "\n", "\r\n"))
	return len(p), err
}
