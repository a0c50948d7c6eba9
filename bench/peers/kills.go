package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
)

const (
	// restart is how soon a killed process is started again.
	restart = 300 * time.Millisecond
	// settle is how long contestants run before the first kill, so that each has committed.
	settle = 5 * time.Second
	// feedTick is how often inputs are written.
	feedTick = 20 * time.Millisecond
)

// victims are the contestants that are killed, all at work at the same time on the same inputs, in
// groups of their own. Their kills are spread over the time between two.
type victims struct {
	*driver
	every  time.Duration
	all    []*instance
	feeder *feeder
	fed    int // until the last kill was over

	mu      sync.Mutex
	tallies map[string]*tally.Tally // by output
	changed time.Time               // the last output of any
	out     []killsOf               // who did not come to work
}

func (d *driver) kills(ctx context.Context, chosen []contestant, static bool) (all []killsOf, err error) {
	v := &victims{driver: d, every: d.every, tallies: map[string]*tally.Tally{}}
	if static {
		v.every = d.everyFixed
	}
	input, err := d.topic(ctx, "kills-in")
	if err != nil {
		return nil, err
	}
	var outputs []string
	for _, c := range chosen {
		if static && !c.static {
			continue
		}
		output, err := d.topic(ctx, "kills-out")
		if err != nil {
			return nil, err
		}
		i, err := d.instance(c, input, output, static)
		if err != nil {
			return nil, err
		}
		v.all, outputs = append(v.all, i), append(outputs, output)
		v.tallies[output] = tally.New(d.partitions)
	}
	if len(v.all) == 0 {
		return nil, nil
	}
	defer func() {
		for _, i := range v.all {
			i.end()
			d.remove(i.group, i.output)
		}
		d.remove("", input)
	}()
	if v.feeder, err = d.feeder(input); err != nil {
		return nil, err
	}
	defer v.feeder.cl.Close()
	cl, err := d.reader(outputs...)
	if err != nil {
		return nil, err
	}
	return v.run(ctx, cl)
}

func (v *victims) run(ctx context.Context, cl *kgo.Client) ([]killsOf, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading, killing sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { v.read(ctx, cl); cl.Close() })
	defer cancel(nil)
	feeding, fed := context.WithCancel(ctx)
	defer fed()
	var feeds sync.WaitGroup
	feeds.Go(func() { v.feed(feeding) })
	v.startAll(ctx)
	if len(v.all) == 0 {
		return nil, errors.New("kills: no contestant came to work")
	}
	v.say("%d contestants at work, %d kills of each every %s", len(v.all), v.options.kills, v.every)
	errs := make([]error, len(v.all))
	for n, i := range v.all {
		killing.Go(func() { errs[n] = v.kill(ctx, i, settle+time.Duration(n)*v.every/time.Duration(len(v.all))) })
	}
	killing.Wait()
	fed()
	feeds.Wait()
	if err := cmp.Or(errors.Join(errs...), v.feeder.flush(ctx)); err != nil {
		return nil, err
	}
	v.fed = v.feeder.next
	v.settleAll(ctx)
	return v.results(), context.Cause(ctx)
}

// settleAll waits for whoever waits for a session's time-out, and then for repeats.
func (v *victims) settleAll(ctx context.Context) {
	waiting, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for _, i := range v.all {
		all.Go(func() { _ = v.supervise(waiting, i, v.every+2*startLimit) })
	}
	_ = v.await(ctx, v.every+startLimit, v.settled)
	_ = v.await(ctx, v.every, func() bool { return time.Since(v.changed) > settle })
}

// startAll starts one after the other: a start takes a whole processor. Who has no output is left
// out.
func (v *victims) startAll(ctx context.Context) {
	v.all = slices.DeleteFunc(v.all, func(i *instance) bool {
		err := i.start()
		if err == nil {
			err = v.await(ctx, startLimit, func() bool { return v.tallies[i.output].Distinct() > 0 })
		}
		if err == nil {
			return false
		}
		v.say("without %v", i.failed(fmt.Errorf("no output: %w", err)))
		i.end()
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.tallies, i.output)
		v.out = append(v.out, killsOf{Name: i.Name, Note: "it had no output"})
		return true
	})
}

// kill does what is done to one contestant, and lets the time between two kills pass behind each.
func (v *victims) kill(ctx context.Context, i *instance, wait time.Duration) error {
	for n := range v.options.kills {
		if err := v.supervise(ctx, i, wait); err != nil {
			return err
		}
		v.say("kill %d of %s", n+1, i.Name)
		i.kill()
		if err := again(ctx, i); err != nil {
			return err
		}
		wait = v.every - restart
	}
	return v.supervise(ctx, i, time.Second) // inputs that were written meanwhile are looked for, too
}

// supervise lets time pass. Who ends by itself is started again, as after a kill.
func (v *victims) supervise(ctx context.Context, i *instance, wait time.Duration) error {
	for over := time.After(wait); ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over:
			return nil
		case <-i.app.Done():
			v.say("%v", i.alive())
			i.ends++
			if err := again(ctx, i); err != nil {
				return err
			}
		}
	}
}

func again(ctx context.Context, i *instance) error {
	if err := sleep(ctx, restart); err != nil {
		return err
	}
	return i.start()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// feed writes rate inputs a second, evenly, until the context ends.
func (v *victims) feed(ctx context.Context) {
	began := time.Now()
	t := time.NewTicker(feedTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			due := int(time.Since(began).Seconds() * float64(v.rate))
			v.feeder.feed(context.WithoutCancel(ctx), due-v.feeder.next)
		}
	}
}

func (v *victims) read(ctx context.Context, cl *kgo.Client) {
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		v.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			if t := v.tallies[r.Topic]; t != nil {
				t.Add(r.Value, now)
				v.changed = now
			}
		})
		v.mu.Unlock()
	}
}

// await polls until something is so.
func (v *victims) await(ctx context.Context, limit time.Duration, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		v.mu.Lock()
		is := so()
		v.mu.Unlock()
		if is {
			return nil
		}
		if err := sleep(ctx, feedTick); err != nil {
			return err
		}
	}
}

// settled tells whether every contestant has handled all.
func (v *victims) settled() bool {
	for _, t := range v.tallies {
		if t.Distinct() < v.fed {
			return false
		}
	}
	return true
}

func (v *victims) results() (all []killsOf) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, i := range v.all {
		t := v.tallies[i.output]
		k := killsOf{Name: i.Name, Kills: v.options.kills, Inputs: v.fed, Lost: t.Lost(v.fed), Repeated: t.Repeated(), Strange: t.Strange(), Stall: t.Stall()}
		if i.ends > 0 {
			k.Note = fmt.Sprintf("ended by itself %d times", i.ends)
		}
		v.say("%s: %d lost, %d repeated, longest stall %s", i.Name, k.Lost, k.Repeated, k.Stall.Round(time.Millisecond))
		all = append(all, k)
	}
	return append(all, v.out...)
}
