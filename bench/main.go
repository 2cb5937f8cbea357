// Bench measures routers. It sends a constant load to a router, or to a model
// server, and reports what became of it:
//
//	go run ./bench --url http://127.0.0.1:8080 --rate 200 --duration 10s
//	go run ./bench --url http://127.0.0.1:8080 --rate 50 --duration 30s --stream --body-bytes 4096
//	go run ./bench --url http://127.0.0.1:8080 --rate 200 --duration 60s \
//	    --forwarded-for 203.0.113.7,198.51.100.9 -o json > report.json
//
// The load is open: requests start at their time whether or not earlier ones were
// answered, and latency counts from that time. Half of them are GETs of / and half
// are chats with a body of one KiB, unless flags say otherwise. With --stream the
// chats are streamed. --forwarded-for lets requests claim to come from clients
// elsewhere; the router believes it when it trusts the address that bench runs at.
//
// The table says when each region gave its first and its last answer, which is
// how a failover shows. Exit status: 0 when every request was answered completely,
// 1 when one was not, 2 when the flags make no sense.
//
// With --suite it starts model servers and several routers on this machine, sends
// the same load to each router in turn, and compares them. The suite steering asks
// what clients feel of the choice of region; unary, stream, connections and failover
// ask what a hop costs, on Linux and with two cores:
//
//	go run ./bench --suite steering
//	go run ./bench --suite unary --peers proxima,haproxy,nginx,caddy
//	go run ./bench --suite stream --streams 1000 --peers proxima,haproxy -o json > rows.json
//	go run ./bench --suite unary --binary ./before,./after --peers proxima,proxima-2
//
// The other routers are those that are installed. suite.go runs a comparison,
// steering.go is one, hop_linux.go begins those of a hop; peers/ starts the processes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"proxima/bench/load"
	"proxima/bench/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if was, err := peers.ModelServer(ctx); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	watched := term.IsTerminal(int(os.Stderr.Fd()))
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, watched)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, watched bool) int {
	if slices.ContainsFunc(args, asksForSuite) {
		return compare(ctx, args, stdout, stderr)
	}
	plan, write, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	if watched {
		plan.Observe = progress(stderr, plan)
	}
	report, err := load.Run(ctx, plan)
	if watched {
		fmt.Fprintln(stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if err := write(stdout, report); err != nil {
		fmt.Fprintln(stderr, "bench: write the report:", err)
		return 1
	}
	if report.Failed > 0 || report.Requests == 0 {
		return 1
	}
	return 0
}

// asksForSuite reports whether an argument is the flag --suite, which has flags of
// its own beside it.
func asksForSuite(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.HasPrefix(arg, "-") && name == "suite"
}

// parse reads the flags; whatever is wrong with them it has already said.
func parse(args []string, stderr io.Writer) (load.Plan, func(io.Writer, load.Report) error, error) {
	var plan load.Plan
	var mix load.Mix
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&plan.URL, "url", "http://127.0.0.1:8080", "where to send requests: scheme, host and port")
	flags.Float64Var(&plan.Rate, "rate", 100, "requests a second")
	flags.DurationVar(&plan.Duration, "duration", 10*time.Second, "how long requests are started")
	flags.DurationVar(&plan.Timeout, "timeout", time.Minute, "of one request, to its last byte")
	flags.IntVar(&plan.Outstanding, "outstanding", 4096, "requests under way at once; more are not sent and count as failed")
	flags.Float64Var(&mix.Posts, "posts", 0.5, "share of chats, from 0 to 1; the others are GETs")
	flags.StringVar(&mix.GetPath, "get-path", "/", "path of the GETs")
	flags.StringVar(&mix.Model, "model", "llama-3-8b", "the model that chats ask")
	flags.IntVar(&mix.Tokens, "tokens", 0, "length of an answer, for servers that know max_tokens and min_tokens; 0: not said")
	flags.IntVar(&mix.BodyBytes, "body-bytes", 1024, "size of a chat's body")
	stream := flags.Bool("stream", false, "stream the answers to chats")
	clients := flags.String("forwarded-for", "", "client addresses for X-Forwarded-For, separated by commas")
	output := flags.String("o", "table", "output: table or json")
	flags.String("suite", "", "compare routers instead: "+known(suites())+"; with --suite NAME -h for its own flags")
	if err := flags.Parse(args); err != nil {
		return plan, nil, err
	}
	complain := func(format string, args ...any) error {
		err := fmt.Errorf(format, args...)
		fmt.Fprintln(stderr, "bench:", err)
		return err
	}
	writers := map[string]func(io.Writer, load.Report) error{"table": writeTable, "json": writeJSON}
	write, known := writers[*output]
	switch {
	case !known:
		return plan, nil, complain("-o %s: there is table and json", *output)
	case flags.NArg() > 0:
		return plan, nil, complain("%q is too much; values stand behind a flag, as in --rate 200", flags.Arg(0))
	case !(mix.Posts >= 0 && mix.Posts <= 1):
		return plan, nil, complain("--posts %g: a share is from 0 to 1", mix.Posts)
	}
	if *stream {
		mix.Streams = 1
	}
	if *clients != "" {
		mix.ForwardedFor = strings.Split(*clients, ",")
	}
	plan.Request = mix.Request
	return plan, write, nil
}

// progress writes one line over and over, twenty times a load.
func progress(stderr io.Writer, plan load.Plan) func(load.Result) {
	all := int(plan.Rate * plan.Duration.Seconds())
	ended, failed := 0, 0
	return func(result load.Result) {
		ended++
		if !result.Complete {
			failed++
		}
		if ended%max(1, all/20) == 0 {
			fmt.Fprintf(stderr, "\r%d of %d requests, %d failed ", ended, all, failed)
		}
	}
}

func writeJSON(w io.Writer, report load.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

func writeTable(w io.Writer, report load.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%s: %g requests/s, %d requests in %.1f s: %d complete, %d failed\n\n",
		report.URL, report.Rate, report.Requests, report.Seconds, report.Complete, report.Failed)
	fmt.Fprintln(table, "ms\tmean\tp50\tp90\tp99\tp99.9\tmax\t")
	writeLatency(table, "first byte", report.FirstByte)
	writeLatency(table, "last byte", report.Total)
	writeLatency(table, "started late by", report.Lag)
	fmt.Fprintln(table)
	fmt.Fprintln(table, "region\tanswers\tfirst\tlast\t")
	for _, region := range report.Regions {
		fmt.Fprintf(table, "%s\t%d\t%.2f s\t%.2f s\t\n", region.Region, region.Answers, region.First, region.Last)
	}
	for _, class := range slices.Sorted(maps.Keys(report.Errors)) {
		fmt.Fprintf(table, "\nfailed: %s %d", class, report.Errors[class])
	}
	for _, failure := range report.FirstFailures {
		fmt.Fprintf(table, "\n  at %.2f s: %s %d %s %s", failure.Due, failure.Method, failure.Status, failure.Error, failure.Text)
	}
	if report.Resent > 0 {
		fmt.Fprintf(table, "\n%d requests were sent twice by the HTTP client here, which hides failures", report.Resent)
	}
	fmt.Fprintln(table)
	return table.Flush()
}

func writeLatency(w io.Writer, name string, l load.Latency) {
	fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", name, l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max)
}
