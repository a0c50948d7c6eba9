package verify

import (
	"errors"
	"fmt"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

// OutputsConfig says what the outputs of a run should be.
type OutputsConfig struct {
	// Name is the heading of this side in tables, "ackmark" for example.
	Name string
	// Inputs is the number of inputs 0 … Inputs-1 that were fed. 0: those given to [Outputs.Input].
	Inputs uint64
	// Expect returns how many outputs an input must have, 0 if it is filtered. Nil: PerInput for
	// each.
	Expect func(id uint64) int
	// PerInput is the most outputs that an input has. Default 1.
	PerInput int
	// Show is how many ids of each kind of trouble are kept. Default 10.
	Show int
}

// Outputs judges one output topic by values that a [Generator] made, from the records that an
// independent reader saw in it, as a [judge.Judge] does.
type Outputs struct {
	cfg   OutputsConfig
	judge *judge.Judge
	notes OutputsResult // the lists of it
}

// OutputsResult is the verdict. All counts are outputs, but Inputs.
type OutputsResult struct {
	Name       string
	Inputs     uint64 // inputs that were fed
	Outputs    uint64 // records that the reader saw
	Lost       uint64 // expected and not seen
	Duplicated uint64 // seen again: the second, third … occurrence
	Repeated   uint64 // outputs that were seen more than once
	Reordered  uint64 // first occurrences that came after a later one of their key
	Split      uint64 // outputs in another partition than their key's first one
	Unknown    uint64 // no generated value, or an id that was not fed
	Corrupt    uint64 // a value that is damaged, or under another key
	// The first of each kind, as text.
	LostIDs, DuplicatedIDs, ReorderedIDs, UnknownIDs, CorruptIDs []string
}

// NewOutputs returns a check that has seen nothing.
func NewOutputs(cfg OutputsConfig) *Outputs {
	if cfg.Show <= 0 {
		cfg.Show = 10
	}
	return &Outputs{cfg: cfg, judge: judge.New(judge.Config{Inputs: cfg.Inputs, PerInput: cfg.PerInput, Expect: cfg.Expect})}
}

// Input tells that this value was fed, as a reader of the input topic saw it.
func (o *Outputs) Input(value []byte) {
	if id, err := Parse(value); err == nil {
		o.judge.Fed(id.Global)
	}
}

// Add takes the next record of an output partition. A damaged value may lie about its input, and is
// nobody's output.
func (o *Outputs) Add(partition int32, offset int64, key, value []byte) {
	where := func() string { return fmt.Sprintf("partition %d offset %d: %.80q", partition, offset, value) }
	id, err := Parse(value)
	switch {
	case err != nil && !errors.Is(err, ErrDamaged), !o.judge.Knows(id.Global, id.Out):
		o.judge.Stray()
		o.note(&o.notes.UnknownIDs, where)
		return
	case err != nil, key != nil && !isKey(key, id.Key):
		o.judge.Damaged()
		o.note(&o.notes.CorruptIDs, where)
		return
	}
	found := o.judge.Add(judge.Output{Input: id.Global, Number: id.Out, Key: id.Key, Seq: id.Seq, Partition: partition})
	if found.Again {
		o.note(&o.notes.DuplicatedIDs, where)
	}
	if found.Reordered {
		o.note(&o.notes.ReorderedIDs, where)
	}
}

func (o *Outputs) note(list *[]string, text func() string) {
	if len(*list) < o.cfg.Show {
		*list = append(*list, text())
	}
}

// Missing returns how many expected outputs were not seen yet: 0 when a reader may stop waiting.
func (o *Outputs) Missing() uint64 { return o.judge.Lost(nil) }

// Seen returns how many distinct outputs were seen, in constant time.
func (o *Outputs) Seen() uint64 { return o.judge.Counts().Distinct }

// Result returns the verdict on what was seen so far.
func (o *Outputs) Result() OutputsResult {
	res, c := o.notes, o.judge.Counts()
	res.Name, res.Inputs = o.cfg.Name, o.judge.Inputs()
	res.Outputs, res.Duplicated, res.Repeated, res.Reordered, res.Split = c.Outputs, c.Duplicated, c.Repeated, c.Reordered, c.Split
	res.Unknown, res.Corrupt = c.Unknown, c.Altered
	res.Lost = o.judge.Lost(func(id uint64, out int) {
		o.note(&res.LostIDs, func() string { return fmt.Sprintf("id=%d out=%d", id, out) })
	})
	return res
}

// Violations tells what broke S1, S6, S7 and S12, when at most maxDuplicates outputs may be
// repeated (negative: any number).
func (r OutputsResult) Violations(maxDuplicates int64) *Violations {
	vs := new(Violations)
	report := func(name Name, n uint64, ids []string) {
		if n > 0 {
			vs.add(Violation{name, fmt.Sprintf("%s: %d of %d inputs' outputs, first: %q", r.Name, n, r.Inputs, ids)})
		}
	}
	report(LostOutput, r.Lost, r.LostIDs)
	report(Reordered, r.Reordered, r.ReorderedIDs)
	report(KeySplit, r.Split, nil)
	report(UnknownOutput, r.Unknown, r.UnknownIDs)
	report(CorruptOutput, r.Corrupt, r.CorruptIDs)
	if maxDuplicates >= 0 && r.Duplicated > uint64(maxDuplicates) {
		report(TooManyDuplicates, r.Duplicated, r.DuplicatedIDs)
	}
	return vs
}
