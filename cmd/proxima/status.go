package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"proxima/admin"
)

func (a *app) statusCommand() *cobra.Command {
	var to remote
	var out format
	cmd := &cobra.Command{
		Use:   "status [--server URL]",
		Short: "Show the regions and endpoints of a running router: health, load, latency",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := to.client(a.env)
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if out == "json" {
				return writeJSON(a.stdout, status)
			}
			a.printStatus(status, time.Now())
			return nil
		},
	}
	to.flags(cmd, defaultServer)
	out.flag(cmd)
	return cmd
}

func (a *app) printStatus(s admin.Status, now time.Time) {
	hash := s.Config.Hash
	if len(hash) > 12 {
		hash = hash[:12]
	}
	fmt.Fprintf(a.stdout, "proxima %s, configuration %s, loaded %s ago\n\n", s.Version, hash, since(s.Config.LoadedAt, now))
	if r := s.Config.Refused; r != nil {
		fmt.Fprintf(a.stdout, "The newest configuration was refused %s ago:\n%s\n\n", since(&r.At, now), r.Why)
	}
	if x := s.SelfSuspicion; x != nil {
		fmt.Fprintf(a.stdout, "This router suspects its own network, for %s: %s. Meanwhile failures change no health.\n\n", since(&x.Since, now), x.Detail)
	}
	if o := s.Steering.Otherwise; o != nil {
		fmt.Fprintf(a.stdout, "%s\n\n", otherSteering(o))
	}
	t := newTable("region", "endpoint", "health", "for", "in flight", "serve ms", "probe ms", "why")
	for _, region := range s.Regions {
		name := region.ID
		if region.Drained {
			name += " (drained)"
		}
		if len(region.Endpoints) == 0 {
			t.AppendRow([]any{name, "no endpoints"})
		}
		for _, e := range region.Endpoints {
			t.AppendRow([]any{
				name, e.ID, a.health(e), since(e.Since, now), inFlight(e), measured(e.ServeMs), measured(e.LatencyMs), e.Cause,
			})
			name = ""
		}
	}
	printTable(a.stdout, t)
}

// health names an endpoint's health, in colour where that is welcome.
func (a *app) health(e admin.EndpointStatus) string {
	words := []string{e.Health}
	if e.Drained {
		words = append(words, "drained")
	}
	name := strings.Join(words, ", ")
	if !a.colourful(a.stdout) {
		return name
	}
	switch {
	case e.Health == "up" && !e.Drained:
		return text.FgGreen.Sprint(name)
	case e.Health == "down":
		return text.FgRed.Sprint(name)
	}
	return text.FgYellow.Sprint(name)
}

// measured shows a time that is 0 when it is not known yet.
func measured(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return number(ms)
}

// inFlight shows a load beside the capacities that are known: 12/32 (learned 24).
func inFlight(e admin.EndpointStatus) string {
	text := fmt.Sprint(e.InFlight)
	if e.Capacity > 0 {
		text += fmt.Sprintf("/%d", e.Capacity)
	}
	if e.LearnedCapacity != nil {
		text += fmt.Sprintf(" (learned %d)", *e.LearnedCapacity)
	}
	return text
}

// otherSteering says what the other steering.by would do, in a sentence.
func otherSteering(o *admin.OtherSteering) string {
	costs := "as much"
	if ms := math.Round(o.DifferenceMs); ms > 0 {
		costs = fmt.Sprintf("%.0f ms more", ms)
	} else if ms < 0 {
		costs = fmt.Sprintf("%.0f ms less", -ms)
	}
	return fmt.Sprintf("steering.by %s would send %.0f %% elsewhere; by its measure the present choices cost %s (%s compared).",
		o.By, 100*o.MovedRatio, costs, plural(o.Sampled, "request"))
}

// since says how long ago something was, in whole seconds or more.
func since(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return now.Sub(*t).Truncate(time.Second).String()
}
