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
		t := newTable("candidate", "region", "tier", "net ms", "serve ms", "load", "warm ms", "bias ms", "cost ms")
		for _, c := range x.Candidates {
			t.AppendRow([]any{
				mark(c, x.Chosen) + c.Endpoint, c.Region, c.Tier, number(c.NetMs), number(c.ServeMs), fmt.Sprintf("%.2f", c.Load),
				number(c.WarmMs), number(c.BiasMs), number(c.CostMs),
			})
		}
		fmt.Fprintln(a.stdout)
		printTable(a.stdout, t)
		fmt.Fprintln(a.stdout, "\ncost = net + serve·(1 + load³) − warm + bias")
		if x.Chosen.Endpoint != x.Candidates[0].Endpoint {
			fmt.Fprintln(a.stdout, "The cheapest was not chosen: within steering.slack of its cost the session or request decides, or the client's preferred region.")
		}
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
