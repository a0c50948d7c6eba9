package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

const (
	// burstGap parts two bursts of repeats.
	burstGap  = 10 * time.Second
	maxBursts = 1000
	askEvery  = 1 << 16 // entries between two looks at the context
)

// judge walks over the entries by source, and then over two selections of them.
type judge struct {
	*audit
	order, repeats *sorter

	gone     gone
	blind    bool // no output says what it was made from
	compared int64

	group  group
	absent absences
	flight Finding // in flight, not written yet
}

// group is an input and its outputs, as far as they were seen.
type group struct {
	part    int32
	offset  int64
	present bool // the input itself is there
	written stamp
	outputs int32 // different ones
	claims  claims
	letter  bool
	all     int64 // outputs, with repeats and letters

	last    entry // the output before, whose repeats come next
	first   entry // its first occurrence
	hasLast bool
}

func (j *judge) judge(ctx context.Context) error {
	for _, out := range j.report.Outputs {
		j.report.Unknown.add(out.Unknown)
		j.report.Nameless += out.Nameless
		j.report.Also += out.Also
	}
	j.blind = j.attached.Load() == 0 && j.report.Unknown.NoHeaders > 0
	j.gone = j.plan.gone(j.opts.TrustClocks)
	j.group.part = -1
	for _, s := range []struct {
		sorter *sorter
		visit  func(*entry) error
		end    func() error
	}{
		{j.sources, j.bySource, j.endGroup},
		{j.order, j.byKey(), nil},
		{j.repeats, j.byTime(), nil},
	} {
		err := s.sorter.each(func(e *entry) error {
			if j.compared++; j.compared%askEvery == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.visit(e)
		})
		if err == nil && s.end != nil {
			err = s.end()
		}
		if err != nil {
			return err
		}
		j.report.Runs += s.sorter.runs()
	}
	if err := j.landed(); err != nil {
		return err
	}
	j.conclude()
	return nil
}

func (j *judge) bySource(e *entry) error {
	j.opts.Progress.Compared.Add(1)
	g := &j.group
	if e.part != g.part || e.offset != g.offset {
		if err := j.endGroup(); err != nil {
			return err
		}
		j.group = group{part: e.part, offset: e.offset, claims: g.claims[:0]}
	}
	if e.output == inputItself {
		g.present, g.written = true, stamp{e.time, e.stamped}
		return nil
	}
	g.all++
	repeat := g.hasLast && g.last.output == e.output
	elsewhere := !repeat || g.last.outPart != e.outPart
	g.last, g.hasLast = *e, true
	if e.output != deadLetterOutput {
		g.claims = g.claims.see(e.output, e.count)
		j.absent.seen(e.output, j.plan.outputs[e.outPart].topic)
	}
	if elsewhere && (e.key != key{} || j.opts.Order == OrderPartition) {
		if err := j.order.add(*e); err != nil {
			return err
		}
	}
	if repeat {
		j.counts(e.part).Duplicated++
		if err := j.repeats.add(*e); err != nil {
			return err
		}
		return j.find(Finding{Kind: Duplicated, Output: outputText(e.output), First: j.place(&g.first), At: j.place(e), Incident: j.causes.text(e.cause)}, e.part, e.offset)
	}
	g.first = *e
	if e.output == deadLetterOutput {
		g.letter = true
		return nil
	}
	g.outputs++
	return nil
}

// endGroup says what the input is: everything of it was seen.
func (j *judge) endGroup() error {
	g := &j.group
	if g.part < 0 {
		return nil
	}
	in := j.plan.inputs[g.part]
	switch {
	case !g.present && g.offset >= in.end:
		j.report.Unknown.Newer += g.all
		return nil
	case !g.present:
		j.report.Unknown.Gone += g.all
		return nil
	}
	c := &in.report.Counts
	c.Inputs++
	if !in.isDone(g.offset) {
		c.InFlight++
		return j.fly()
	}
	if err := j.landed(); err != nil {
		return err
	}
	c.Done++
	if extra := g.outputs - j.opts.Expect.Max; extra > 0 {
		c.Surplus += int64(extra)
		found := g.outputs
		if err := j.find(Finding{Kind: Surplus, Outputs: &found}, g.part, g.offset); err != nil {
			return err
		}
	}
	switch {
	case g.letter:
		c.DeadLettered++
		return nil
	case g.claims.whole() && g.outputs >= j.opts.Expect.Min:
		if g.outputs == 0 {
			c.Filtered++
		}
		return nil
	}
	missing, of := g.claims.missing()
	j.absent.miss(missing)
	kind := Lost
	if j.blind || in.beyondEnd || j.gone.mayHaveHad(g.written) {
		kind = Undecided
		c.Undecided++
	} else {
		c.Lost++
	}
	found := g.outputs
	return j.find(Finding{Kind: kind, Outputs: &found, Missing: missing, Of: of, Time: time.UnixMilli(g.written.ms).UTC()}, g.part, g.offset)
}

// isDone is asked in the order of offsets: runs that are passed are dropped.
func (in *input) isDone(offset int64) bool {
	if offset < in.committed {
		return true
	}
	for len(in.done) > 0 && in.done[0].Last < offset {
		in.done = in.done[1:]
	}
	return len(in.done) > 0 && in.done[0].First <= offset
}

// fly adds an input to the run of those in flight.
func (j *judge) fly() error {
	g, in := &j.group, j.plan.inputs[j.group.part]
	if f := &j.flight; f.Inputs > 0 && f.Topic == in.topic && f.Partition == in.partition {
		f.Last = g.offset
		f.Inputs++
		return nil
	}
	if err := j.landed(); err != nil {
		return err
	}
	j.flight = Finding{Kind: InFlight, Topic: in.topic, Partition: in.partition, Offset: g.offset, Last: g.offset, Inputs: 1}
	return nil
}

// landed ends the run of those in flight.
func (j *judge) landed() error {
	f := j.flight
	if f.Inputs == 0 {
		return nil
	}
	j.flight = Finding{}
	return j.write(f)
}

// byKey looks for outputs behind one of a later input.
func (j *judge) byKey() func(*entry) error {
	var latest entry
	begun := false
	return func(e *entry) error {
		same := begun && e.outPart == latest.outPart && e.key == latest.key && e.part == latest.part
		if !same || e.offset > latest.offset || e.offset == latest.offset && e.output > latest.output {
			latest, begun = *e, true
			return nil
		}
		j.counts(e.part).Reordered++
		behind := latest.offset
		return j.find(Finding{Kind: Reordered, Output: outputText(e.output), At: j.place(e), First: j.place(&latest), Behind: &behind}, e.part, e.offset)
	}
}

// byTime puts repeats together that have one incident, or no pause between them.
func (j *judge) byTime() func(*entry) error {
	cause := int32(-1)
	return func(e *entry) error {
		at, all := time.UnixMilli(e.time).UTC(), &j.report.Bursts
		n := len(*all)
		if n > 0 && e.cause == cause && (cause > 0 || at.Sub((*all)[n-1].Last) <= burstGap || n == maxBursts) {
			(*all)[n-1].Last = at
			(*all)[n-1].Repeats++
			return nil
		}
		if n == maxBursts { // another cause: the last one stands for the rest
			(*all)[n-1].Incident, (*all)[n-1].Last = otherIncidents, at
			(*all)[n-1].Repeats++
			return nil
		}
		cause = e.cause
		*all = append(*all, Burst{Incident: j.causes.text(e.cause), First: at, Last: at, Repeats: 1})
		return nil
	}
}

func (j *judge) counts(part int32) *Counts { return &j.plan.inputs[part].report.Counts }

func (j *judge) place(e *entry) *Place {
	out := j.plan.outputs[e.outPart]
	return &Place{Topic: out.topic, Partition: out.partition, Offset: e.at, Time: time.UnixMilli(e.time).UTC()}
}

func (j *judge) find(f Finding, part int32, offset int64) error {
	in := j.plan.inputs[part]
	f.Topic, f.Partition, f.Offset = in.topic, in.partition, offset
	return j.write(f)
}

func (j *judge) write(f Finding) error {
	if first := j.report.First[f.Kind]; len(first) < MaxFirst {
		j.report.First[f.Kind] = append(first, f)
	}
	if j.opts.Findings == nil {
		return nil
	}
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if _, err = j.opts.Findings.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	return nil
}

func outputText(n int32) string {
	if n == deadLetterOutput {
		return DeadLetter
	}
	return strconv.Itoa(int(n))
}
