package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// slicesOfOne is how many slices one set of processes has of each kind.
	slicesOfOne  = 16
	slicesBefore = 2 // of each kind, before the first that counts
	// DefaultSliceRecords keep a pipeline busy for a second or more: in less it is not scraped
	// once.
	DefaultSliceRecords = 2_000_000
	// control is what a name ends with of a second pipeline without metrics: by how much it differs
	// from the first is what the method cannot tell.
	control = "-control"
)

// Sliced is what pipelines that live side by side cost in turn, without metrics and scraped. Of the
// difference of two runs most is of the runs: a minute between them, and two other processes. Of
// slices of a second of processes that live on little is left but what two processes differ by for
// all their life, so there are several sets of them.
type Sliced struct {
	Name string `json:"name"`
	// CPU and Wall are ratios of neighbouring slices, by set of processes, scraped by plain;
	// Control is the CPU of two that are both plain.
	CPU     [][]float64 `json:"cpu_ratios"`
	Wall    [][]float64 `json:"wall_ratios"`
	Control [][]float64 `json:"control_ratios"`
	// PlainNanos is the median processor time of a record without metrics, Seconds the median
	// length of a slice.
	PlainNanos float64 `json:"plain_ns"`
	Seconds    float64 `json:"slice_s"`
	// Scrapes of the scraped processes, in slices that count.
	Scrapes int `json:"scrapes"`
}

// sliceSide is one of the pipelines, with its sidecar where it has one.
type sliceSide struct {
	app, server *process
	spec        spec
	cpu, wall   []float64 // seconds, by slice
	scrapes     int
	before      Usage // of the sidecar, at the end of the slice before
}

// sliced measures both ways to deliver.
func (b *bench) sliced(ctx context.Context) (all []*Sliced, err error) {
	for _, role := range []string{library, viaSidecar} {
		one := &Sliced{Name: role}
		var each, walls []float64
		sets := slicedSets(b.opts.Pairs)
		for i, n := range sets {
			b.progress.say("slices of %s: processes %d of %d", role, i+1, len(sets))
			sides, err := b.sliceSet(ctx, role, n)
			if err != nil {
				return nil, err
			}
			second, plain, with := sides[0], sides[1], sides[2]
			one.CPU = append(one.CPU, pairs(with.cpu, plain.cpu))
			one.Wall = append(one.Wall, pairs(with.wall, plain.wall))
			one.Control = append(one.Control, pairs(second.cpu, plain.cpu))
			one.Scrapes += with.scrapes
			each, walls = append(each, plain.cpu...), append(walls, plain.wall...)
		}
		one.PlainNanos, one.Seconds = median(each)*1e9/float64(b.opts.sliceRecords()), median(walls)
		all = append(all, one)
	}
	return all, nil
}

// sliceRecords are the inputs of a slice.
func (o Options) sliceRecords() int {
	if o.Records == DefaultRecords {
		return DefaultSliceRecords
	}
	return o.Records
}

// slicedSets are the numbers of pairs of slices of each set of processes.
func slicedSets(pairs int) (sets []int) {
	for ; pairs > 0; pairs -= slicesOfOne {
		sets = append(sets, min(pairs, slicesOfOne))
	}
	return sets
}

// sliceSet starts a broker with an endless input and three pipelines, and lets them work in turn:
// control, plain, scraped; scraped, plain, control; and so on, so that those that are compared are
// neighbours, and whatever drifts falls on both alike.
func (b *bench) sliceSet(ctx context.Context, role string, n int) (sides []*sliceSide, err error) {
	s := spec{Role: role, Input: "slices-input", Output: "slices-output", Partitions: b.opts.Partitions, Size: b.opts.Size, Concurrency: b.opts.Concurrency, Slice: b.opts.sliceRecords()}
	broker, err := b.opts.start(ctx, spec{Role: roleSynthetic, Input: s.Input, Output: s.Output, Partitions: s.Partitions, Size: s.Size})
	if err != nil {
		return nil, err
	}
	defer broker.kill()
	ready, err := broker.await(ctx, eventReady)
	if err != nil {
		return nil, err
	}
	s.Brokers = ready.Brokers
	for _, kind := range []string{control, "", scraped} {
		side := &sliceSide{spec: s}
		side.spec.Group = "slices" + kind
		switch kind {
		case scraped:
			side.spec.Metrics = scraped
		case control:
			side.spec.Planted = b.opts.planted
		}
		if err := b.startSide(ctx, side); err != nil {
			return nil, err
		}
		defer side.kill()
		sides = append(sides, side)
	}
	for i := range slicesBefore + n {
		order := slices.Clone(sides)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			if err := side.slice(ctx, i >= slicesBefore); err != nil {
				return nil, err
			}
		}
	}
	return sides, nil
}

func (b *bench) startSide(ctx context.Context, side *sliceSide) (err error) {
	if side.spec.Role == viaSidecar {
		dir, err := os.MkdirTemp(b.dir, "side-")
		if err != nil {
			return err
		}
		side.spec.Socket = "unix://" + filepath.Join(dir, "s", "sidecar.sock")
		side.server, err = b.opts.start(ctx, spec{Role: roleServer, Brokers: side.spec.Brokers, Socket: side.spec.Socket, Metrics: side.spec.Metrics, Slice: side.spec.Slice})
		if err != nil {
			return err
		}
		if _, err := side.server.await(ctx, eventReady); err != nil {
			side.kill()
			return err
		}
	}
	if side.app, err = b.opts.start(ctx, side.spec); err != nil {
		side.kill()
		return err
	}
	if _, err = side.app.await(ctx, eventAssigned); err != nil {
		side.kill()
	}
	return err
}

func (a *sliceSide) kill() {
	for _, p := range a.processes() {
		p.kill()
	}
}

func (a *sliceSide) processes() []*process {
	return slices.DeleteFunc([]*process{a.app, a.server}, func(p *process) bool { return p == nil })
}

// slice has the side handle one, and notes it if it counts. Who is scraped is scraped once in each
// second of it.
func (a *sliceSide) slice(ctx context.Context, counts bool) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	a.app.Say(commandSlice)
	stop, scrapes := a.scrapeWithin()
	done, err := a.app.await(ctx, eventDone)
	stop()
	if err != nil {
		return err
	}
	cpu := done.Usage.CPU
	if a.server != nil {
		after, err := a.server.usage(ctx)
		if err != nil {
			return err
		}
		cpu += after.Since(a.before).CPU
		a.before = after
	}
	if counts {
		a.cpu, a.wall = append(a.cpu, cpu.Seconds()), append(a.wall, done.Wall.Seconds())
		a.scrapes += *scrapes
	}
	return nil
}

// scrapeWithin scrapes half a second after now, and then each second, until it is stopped.
func (a *sliceSide) scrapeWithin() (stop func(), n *int) {
	n = new(int)
	if a.spec.Metrics != scraped {
		return func() {}, n
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for wait := scrapeEvery / 2; ; wait = scrapeEvery {
			select {
			case <-time.After(wait):
			case <-end:
				return
			}
			for _, p := range a.processes() {
				if p.scrape.ask() == nil {
					*n++
				}
			}
		}
	}()
	return func() { close(end); <-ended }, n
}

// slicedGoals hold what scraping costs against the goals of the part metrics.
func slicedGoals(all []*Sliced) (goals []Goal) {
	for _, s := range all {
		add := func(g Goal, sets [][]float64) {
			g.Name, g.Value = "cost", setsInterval(sets)
			goals = append(goals, g.judged())
		}
		add(Goal{What: s.Name + " scraped each second / " + s.Name + ", in slices, CPU", Must: 1.02, Stretch: 1.01}, s.CPU)
		add(Goal{What: s.Name + " scraped each second / " + s.Name + ", in slices, time", Must: 1.02, Stretch: 1.01}, s.Wall)
		add(Goal{What: s.Name + control + " / " + s.Name + ", in slices, CPU", Must: 1.02, Stretch: 1.01}, s.Control)
	}
	return goals
}

func renderSliced(out *strings.Builder, all []*Sliced) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(out, "\nIn slices: pipelines that live side by side, and work in turn; one of them is scraped each second.\n")
	rows := [][]string{{"", "sets of processes", "slices of each", "length of one", "CPU ns/record", "scrapes"}}
	for _, s := range all {
		n := 0
		for _, set := range s.CPU {
			n += len(set)
		}
		rows = append(rows, []string{s.Name, fmt.Sprint(len(s.CPU)), fmt.Sprint(n), fmt.Sprintf("%.2f s", s.Seconds), fmt.Sprintf("%.0f", s.PlainNanos), fmt.Sprint(s.Scrapes)})
	}
	table(out, rows)
	fmt.Fprintln(out, "  *-control is a second pipeline without metrics: by so much two processes differ that do the same.")
}
