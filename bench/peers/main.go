// Command peers does the same consume-transform-produce job by Ackmark and by what a user would
// take instead, on the same real Kafka broker: what a million records cost, and what four kill -9
// cost. `make peers` runs it all and writes docs/peers.md, which says how it is measured.
//
//	go run . -rounds 2 -inputs 100000 -only franz-marks,ackmark-sidecar -parts speed
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	root       string // of the repository
	only       string
	parts      string
	inputs     int
	size       int
	partitions int
	brokers    int
	rounds     int
	limit      time.Duration
	warmLimit  time.Duration
	kills      int
	rate       int
	every      time.Duration
	everyFixed time.Duration
	json       string
	from       string
	page, svg  string
	short      bool
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../..", "root of the repository")
	flag.StringVar(&o.only, "only", "", "contestants, comma separated; default: all")
	flag.StringVar(&o.parts, "parts", "speed,kills,static", "what to measure")
	flag.IntVar(&o.inputs, "inputs", 3_000_000, "speed: inputs of a run; the first fifth warms up and is not measured")
	flag.IntVar(&o.size, "size", 100, "bytes of a value")
	flag.IntVar(&o.partitions, "partitions", 6, "partitions of each topic")
	flag.IntVar(&o.brokers, "brokers", 1, "brokers, 1 or 3")
	flag.IntVar(&o.rounds, "rounds", 3, "speed: runs of each contestant")
	flag.DurationVar(&o.limit, "limit", 5*time.Second, "speed: the longest that is measured of a run; who is not done by then is measured by what it did")
	flag.DurationVar(&o.warmLimit, "warm", 4*time.Second, "speed: the longest that a run warms up after its first output")
	flag.IntVar(&o.kills, "kills", 4, "kills: kill -9 for each contestant")
	flag.IntVar(&o.rate, "rate", 500, "kills: inputs a second")
	flag.DurationVar(&o.every, "every", time.Minute, "kills: time between two of one contestant; longer than a session time-out (45 s)")
	flag.DurationVar(&o.everyFixed, "every-static", 15*time.Second, "kills of static members: the same")
	flag.StringVar(&o.json, "json", "", "file for the result")
	flag.StringVar(&o.from, "from", "", "measure nothing: read the result of -json from this file")
	flag.StringVar(&o.page, "page", "", "Markdown page to write")
	flag.StringVar(&o.svg, "svg", "", "picture to write")
	flag.BoolVar(&o.short, "short", false, "print the table for README, in Markdown")
	list := flag.Bool("list", false, "print the contestants")
	flag.Parse()
	if *list {
		for _, c := range contestants {
			fmt.Printf("%-28s %s\n", c.Name, c.Title)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	r, err := results(ctx, o)
	if err != nil {
		return err
	}
	if o.short {
		fmt.Print(shortGrid(r).markdown())
	} else {
		fmt.Print(table(r))
	}
	return write(o, r)
}

// results measures, or reads what was measured before.
func results(ctx context.Context, o options) (*result, error) {
	if o.from == "" {
		return measure(ctx, o)
	}
	text, err := os.ReadFile(o.from)
	if err != nil {
		return nil, err
	}
	r := &result{}
	return r, json.Unmarshal(text, r)
}

func write(o options, r *result) error {
	if err := save(o.json, r); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{{o.page, page(r)}, {o.svg, plot(r)}} {
		if err := writeFile(f.name, f.text); err != nil {
			return err
		}
	}
	return nil
}

func save(name string, r *result) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return writeFile(name, string(text)+"\n")
}

// writeFile writes a file, if it has a name.
func writeFile(name, text string) error {
	if name == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// measure starts the brokers and runs the parts.
func measure(ctx context.Context, o options) (_ *result, err error) {
	chosen, err := choose(o.only)
	if err != nil {
		return nil, err
	}
	d, err := newDriver(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { d.close(err != nil) }()
	chosen, err = d.build(ctx, chosen)
	if err != nil {
		return nil, err
	}
	if err := d.launch(ctx); err != nil {
		return nil, err
	}
	r := d.describe(chosen)
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"speed", func() (err error) { r.Speed, err = d.speed(ctx, chosen); return err }},
		{"kills", func() (err error) { r.Kills, err = d.kills(ctx, chosen, false); return err }},
		{"static", func() (err error) { r.Static, err = d.kills(ctx, chosen, true); return err }},
	} {
		if !slices.Contains(strings.Split(o.parts, ","), part.name) {
			continue
		}
		if err := part.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		if err := save(o.json, r); err != nil { // what a part cost is not lost with the next one
			return nil, err
		}
	}
	r.LoadAfter, r.Took = load(), time.Since(d.began).Round(time.Second)
	return r, nil
}
