package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
)

// speed has each contestant do the whole job in each round, one at a time.
func (d *driver) speed(ctx context.Context, chosen []contestant) ([]speedOf, error) {
	input, err := d.topic(ctx, "speed-in")
	if err != nil {
		return nil, err
	}
	f, err := d.feeder(input)
	if err != nil {
		return nil, err
	}
	defer f.cl.Close()
	f.feed(ctx, d.inputs)
	if err := f.flush(ctx); err != nil {
		return nil, err
	}
	var all []speedOf
	var places []int
	for _, c := range chosen {
		if !c.killSidecar {
			places, all = append(places, len(all)), append(all, speedOf{Name: c.Name})
		}
	}
	for round, order := range tally.Orders(places, d.rounds) {
		for _, at := range order {
			c, _ := choose(all[at].Name)
			r, err := d.speedRun(ctx, c[0], input)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil { // the others' are worth having
				d.say("round %d of %d: %v", round+1, d.rounds, err)
				all[at].Failed = append(all[at].Failed, fmt.Sprintf("round %d: %v", round+1, err))
				continue
			}
			r.Round = round + 1
			d.say("round %d of %d: %s: %.2f s, CPU %.2f s, broker %.2f s a million (%d records)", round+1, d.rounds, c[0].Name, r.Seconds, r.CPU, r.BrokerCPU, r.Records)
			all[at].Runs = append(all[at].Runs, r)
		}
	}
	d.remove("", input)
	return all, nil
}

// startLimit is how long a contestant may take to its first output.
const startLimit = time.Minute

// watch is what a reader sees of one run.
type watch struct {
	*driver
	i           *instance
	t           *tally.Tally
	began       time.Time
	first       time.Time // the first output
	warm        time.Time // where the measure begins
	base        int
	cpu, broker time.Duration
}

func (d *driver) speedRun(ctx context.Context, c contestant, input string) (r speedRun, err error) {
	output, err := d.topic(ctx, "speed-out")
	if err != nil {
		return r, err
	}
	cl, err := d.reader(output)
	if err != nil {
		return r, err
	}
	defer cl.Close()
	i, err := d.instance(c, input, output, false)
	if err != nil {
		return r, err
	}
	defer d.remove(i.group, output)
	defer i.end()
	if err := i.start(); err != nil {
		return r, err
	}
	w := &watch{driver: d, i: i, t: tally.New(d.partitions), began: time.Now()}
	for done := false; !done; {
		if r, done, err = w.poll(ctx, cl); err != nil {
			return r, err
		}
	}
	if !r.Done {
		return r, nil
	}
	if err := i.stop(); err != nil {
		d.say("%v", err)
	}
	if r.Uncommitted, err = d.uncommitted(ctx, i.group, input, d.inputs); err != nil {
		return r, err
	}
	w.rest(ctx, cl)
	r.Repeated, r.Strange = w.t.Repeated(), w.t.Strange()
	return r, ctx.Err()
}

// pollFor is how long a reader waits for the next output before it looks at the clock.
const pollFor = 100 * time.Millisecond

// read tells the tally what has come.
func (w *watch) read(ctx context.Context, cl *kgo.Client) (n int) {
	ctx, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	fetches := cl.PollFetches(ctx)
	now := time.Now()
	fetches.EachRecord(func(r *kgo.Record) {
		n++
		w.t.Add(r.Value, now)
	})
	return n
}

// poll reads once and tells whether the run is over.
func (w *watch) poll(ctx context.Context, cl *kgo.Client) (r speedRun, over bool, err error) {
	w.read(ctx, cl)
	now, have := time.Now(), w.t.Distinct()
	if w.first.IsZero() && have > 0 {
		w.first = now
	}
	switch {
	case ctx.Err() != nil:
		return r, true, context.Cause(ctx)
	case w.first.IsZero() && now.Sub(w.began) > startLimit:
		return r, true, w.i.failed(errors.New("it had no output within " + startLimit.String()))
	case w.first.IsZero():
		return r, false, w.i.alive()
	case w.warm.IsZero() && (have >= w.inputs/5 || now.Sub(w.first) >= w.warmLimit):
		w.warm, w.base, w.cpu, w.broker = now, have, w.i.cpu(), w.brokerCPU()
	case w.warm.IsZero():
	case have == w.inputs || now.Sub(w.warm) >= w.limit:
		r = speedRun{Records: have - w.base, Done: have == w.inputs}
		million := float64(r.Records) / 1e6
		if r.Records == 0 {
			return r, true, w.i.failed(fmt.Errorf("it had %d outputs of %d inputs, and no other within %s: it needs more -inputs, or a longer -limit", have, w.inputs, w.limit))
		}
		r.Seconds = now.Sub(w.warm).Seconds() / million
		r.CPU = (w.i.cpu() - w.cpu).Seconds() / million
		r.BrokerCPU = (w.brokerCPU() - w.broker).Seconds() / million
		return r, true, nil
	}
	return r, false, w.i.alive()
}

// rest reads what came at last.
func (w *watch) rest(ctx context.Context, cl *kgo.Client) {
	for w.read(ctx, cl) > 0 {
	}
}
