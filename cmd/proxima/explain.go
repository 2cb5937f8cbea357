package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"proxima/admin"
	"proxima/configs"
	"proxima/router"
)

func (a *app) explainCommand() *cobra.Command {
	var file, client, model, prefer, session string
	var down []string
	var to remote
	var out format
	cmd := &cobra.Command{
		Use:   "explain (-c FILE | --server URL) --client IP [--model M]",
		Short: "Say where a request would go, and why: every candidate's cost and every refusal's reason",
		Long: "Without --server the decision is made from the file alone, as if every endpoint were up and idle;\n" +
			"with --server a running router makes it from what it believes and measures now.\n" +
			"Exits with 1 when no endpoint may serve the request.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			question, err := readQuestion(client, model, prefer, session, down)
			if err != nil {
				return err
			}
			var x admin.Explanation
			switch {
			case (file == "") == (to.server == ""):
				return usage("say either -c FILE or --server URL")
			case file != "":
				x, err = a.explainFile(file, question)
			default:
				x, err = a.explainServer(cmd.Context(), to, question)
			}
			if err != nil {
				return err
			}
			return a.printExplanation(x, out)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "config", "c", "", "the configuration file")
	flags.StringVar(&client, "client", "", "the client's IP address")
	flags.StringVar(&model, "model", "", "the model that it asks for")
	flags.StringVar(&prefer, "prefer-region", "", "as the X-Proxima-Prefer-Region header")
	flags.StringVar(&session, "session", "", "as the X-Proxima-Session header")
	flags.StringSliceVar(&down, "down", nil, "regions taken to be down")
	to.flags(cmd, "")
	out.flag(cmd)
	return cmd
}

func readQuestion(client, model, prefer, session string, down []string) (admin.Question, error) {
	q := admin.Question{Model: router.Model(model), Prefer: router.RegionID(prefer), Session: session}
	address, err := netip.ParseAddr(client)
	if err != nil {
		return q, usage("--client %q is not an IP address: write it like --client 203.0.113.7", client)
	}
	q.Client = address
	for _, region := range down {
		q.Down = append(q.Down, router.RegionID(region))
	}
	return q, nil
}

func (a *app) explainServer(ctx context.Context, to remote, q admin.Question) (admin.Explanation, error) {
	client, err := to.client(a.env)
	if err != nil {
		return admin.Explanation{}, err
	}
	return client.Explain(ctx, q)
}

// explainFile decides as a router would that has just started on this file and
// found everything well.
func (a *app) explainFile(file string, q admin.Question) (admin.Explanation, error) {
	config, err := configs.Load(file, a.env)
	if err != nil {
		return admin.Explanation{}, &exit{exitConfig, err}
	}
	table, err := config.Table()
	if err != nil {
		return admin.Explanation{}, err
	}
	where, err := openPlaces(config)
	if err != nil {
		return admin.Explanation{}, err
	}
	well := make([]router.Status, len(table.Endpoints))
	for at := range well {
		well[at].Health = router.Up
	}
	snapshot, err := admin.WithDown(router.NewSnapshot(table, well, router.Drains{}), q.Down)
	if err != nil {
		return admin.Explanation{}, usage("--down: %w", err)
	}
	query := q.Query(where.Locate(q.Client))
	idle := make([]router.Load, len(table.Endpoints))
	return admin.NewExplanation(q.Client, query, snapshot.Explain(query, idle)), nil
}

func (a *app) printExplanation(x admin.Explanation, out format) error {
	if out == "json" {
		if err := writeJSON(a.stdout, x); err != nil {
			return err
		}
	} else {
		a.printReasons(x)
	}
	if x.Chosen == nil {
		return &exit{exitFailed, errors.New("")}
	}
	return nil
}

func (a *app) printReasons(x admin.Explanation) {
	fmt.Fprintf(a.stdout, "client   %s  %s\n", x.Client.Address, place(x.Client))
	if x.Model != "" {
		fmt.Fprintf(a.stdout, "model    %s\n", x.Model)
	}
	switch {
	case x.Chosen == nil:
		fmt.Fprintf(a.stdout, "chosen   none: %s\n", strings.ReplaceAll(x.Reason, "_", " "))
	default:
		fmt.Fprintf(a.stdout, "chosen   %s in %s, %s ms\n", x.Chosen.Endpoint, x.Chosen.Region, number(x.Chosen.CostMs))
	}
	if x.FailOpen {
		fmt.Fprintln(a.stdout, "         no healthy endpoint may serve it: the best of the others is tried")
	}
	if len(x.Candidates) > 0 {
		t := newTable("candidate", "region", "tier", "net ms", "serve ms", "load", "wait ms", "warm ms", "bias ms", "cost ms")
		for _, c := range x.Candidates {
			t.AppendRow([]any{
				mark(c, x.Chosen) + c.Endpoint, c.Region, c.Tier, number(c.NetMs), number(c.ServeMs), fmt.Sprintf("%.2f", c.Load),
				number(c.WaitMs), number(c.WarmMs), number(c.BiasMs), number(c.CostMs),
			})
		}
		fmt.Fprintln(a.stdout)
		printTable(a.stdout, t)
		fmt.Fprintln(a.stdout, "\ncost = net + serve·(1 + load³) + wait − warm + bias")
		a.printSentences(x)
	}
	if len(x.Rejected) > 0 {
		t := newTable("rejected", "region", "reason")
		for _, r := range x.Rejected {
			t.AppendRow([]any{r.Endpoint, r.Region, r.Reason})
		}
		fmt.Fprintln(a.stdout)
		printTable(a.stdout, t)
	}
}

// printSentences says what follows from the costs: the band, who is next, and what
// the other steering.by would do.
func (a *app) printSentences(x admin.Explanation) {
	if x.Chosen == nil || x.BandMs == nil {
		return // an older router does not tell
	}
	fmt.Fprintln(a.stdout, bandSentence(x, *x.BandMs))
	fmt.Fprintln(a.stdout, runnerUpSentence(x.RunnerUp))
	if x.Otherwise != nil {
		fmt.Fprintln(a.stdout, otherwiseSentence(x.Chosen, x.Otherwise))
	}
}

// bandSentence says among whom the key decided, or what came before costs.
func bandSentence(x admin.Explanation, bandMs float64) string {
	inside := 0
	for _, c := range x.Candidates {
		if c.CostMs <= bandMs {
			inside++
		}
	}
	band := fmt.Sprintf("The band ends at the best cost, %s ms", number(bandMs))
	slack := bandMs - x.Candidates[0].CostMs
	if slack > 0 {
		band = fmt.Sprintf("The band ends at %s ms, %s ms (steering.slack) over the best cost", number(bandMs), number(slack))
	}
	switch {
	case x.Chosen.CostMs > bandMs && x.FailOpen:
		return band + ", but of the doubtful those that succeeded last come first."
	case x.Chosen.CostMs > bandMs:
		return band + ", but the region that the client prefers comes first."
	case inside > 1:
		return fmt.Sprintf("%s: of the %d candidates in it the key of the session or request decides.", band, inside)
	case slack > 0:
		return band + ": only the cheapest is in it."
	}
	return band + ": without a session or a long prompt the cheapest is taken."
}

func runnerUpSentence(r *admin.RunnerUp) string {
	if r == nil {
		return "Without it nobody could serve the request."
	}
	return fmt.Sprintf("Without it %s in %s would serve the request, at %s ms: %s.", r.Endpoint, r.Region, number(r.CostMs), r.Reason)
}

func otherwiseSentence(chosen *admin.Choice, o *admin.Otherwise) string {
	if o.Chosen.Endpoint == chosen.Endpoint {
		return fmt.Sprintf("steering.by %s would choose the same, at %s ms by its measure.", o.By, number(o.Chosen.CostMs))
	}
	return fmt.Sprintf("steering.by %s would choose %s in %s, at %s ms; by its measure the present choice costs %s ms, %s.",
		o.By, o.Chosen.Endpoint, o.Chosen.Region, number(o.Chosen.CostMs), number(o.Ours.CostMs), moreOrLess(o.DifferenceMs))
}

// moreOrLess says a difference in words, to the same precision as costs.
func moreOrLess(ms float64) string {
	if ms < 0 {
		return number(-ms) + " ms less"
	}
	return number(ms) + " ms more"
}

// mark points at the chosen one.
func mark(c admin.Candidate, chosen *admin.Choice) string {
	if chosen != nil && c.Endpoint == chosen.Endpoint {
		return "→ "
	}
	return "  "
}

func place(f admin.From) string {
	country := f.Country
	if country == "" {
		country = "unknown country"
	}
	if f.Lat == nil || f.Lon == nil {
		return fmt.Sprintf("%s, not placed (%s)", country, f.Source)
	}
	return fmt.Sprintf("%s %.1f, %.1f (%s)", country, *f.Lat, *f.Lon, f.Source)
}
