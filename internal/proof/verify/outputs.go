package verify

import (
	"errors"
	"fmt"
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

// Outputs checks one output topic, from the records that an independent reader saw in it.
// Partitions may be mixed, but each must come in order. Its memory is at most 3 bits an output and
// 16 bytes a key. It is not safe for concurrent use.
type Outputs struct {
	cfg   OutputsConfig
	fed   bitset // by global id; unused if cfg.Inputs is set
	seen  bitset // by global id × PerInput + output
	keys  keyOrder
	res   OutputsResult
	extra bitset // outputs that repeated
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
	if cfg.PerInput <= 0 {
		cfg.PerInput = 1
	}
	if cfg.Show <= 0 {
		cfg.Show = 10
	}
	if cfg.Expect == nil {
		cfg.Expect = func(uint64) int { return cfg.PerInput }
	}
	return &Outputs{cfg: cfg, res: OutputsResult{Name: cfg.Name}}
}

// Input tells that this value was fed, as a reader of the input topic saw it.
func (o *Outputs) Input(value []byte) {
	if id, err := Parse(value); err == nil {
		o.fed.add(id.Global)
	}
}

// Add takes the next record of an output partition.
func (o *Outputs) Add(partition int32, offset int64, key, value []byte) {
	o.res.Outputs++
	where := func() string { return fmt.Sprintf("partition %d offset %d: %.80q", partition, offset, value) }
	id, err := Parse(value)
	switch {
	case err != nil && !errors.Is(err, ErrDamaged), !o.wasFed(id.Global), id.Out >= o.cfg.PerInput:
		o.res.Unknown++
		o.note(&o.res.UnknownIDs, where)
		return
	case err != nil, key != nil && !isKey(key, id.Key):
		o.res.Corrupt++
		o.note(&o.res.CorruptIDs, where)
		return
	}
	bit := id.Global*uint64(o.cfg.PerInput) + uint64(id.Out)
	if !o.seen.add(bit) {
		o.res.Duplicated++
		if o.extra.add(bit) {
			o.res.Repeated++
		}
		o.note(&o.res.DuplicatedIDs, where)
		return
	}
	inOrder, samePartition := o.keys.first(id, partition)
	if !samePartition {
		o.res.Split++
	}
	if !inOrder {
		o.res.Reordered++
		o.note(&o.res.ReorderedIDs, where)
	}
}

func (o *Outputs) wasFed(id uint64) bool {
	if o.cfg.Inputs > 0 {
		return id < o.cfg.Inputs
	}
	return o.fed.has(id)
}

func (o *Outputs) note(list *[]string, text func() string) {
	if len(*list) < o.cfg.Show {
		*list = append(*list, text())
	}
}

// Missing returns how many expected outputs were not seen yet: 0 when a reader may stop waiting.
func (o *Outputs) Missing() uint64 { return o.Result().Lost }

// Seen returns how many distinct outputs were seen, in constant time.
func (o *Outputs) Seen() uint64 { return o.seen.n }

// Result returns the verdict on what was seen so far.
func (o *Outputs) Result() OutputsResult {
	res := o.res
	res.Inputs = o.cfg.Inputs
	check := func(id uint64) bool {
		for out := range o.cfg.Expect(id) {
			if !o.seen.has(id*uint64(o.cfg.PerInput) + uint64(out)) {
				res.Lost++
				o.note(&res.LostIDs, func() string { return fmt.Sprintf("id=%d out=%d", id, out) })
			}
		}
		return true
	}
	if o.cfg.Inputs > 0 {
		for id := range o.cfg.Inputs {
			check(id)
		}
		return res
	}
	res.Inputs = o.fed.n
	o.fed.each(check)
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

// keyOrder remembers for each key the highest sequence number whose output was seen, and in which
// partition the key lives.
type keyOrder struct{ keys []keyState }

type keyState struct {
	last      uint64 // highest sequence number seen + 1; 0: none
	partition int32
}

// maxKeys bounds the slice against a damaged key number; keys above it share the last slot's fate
// of not being checked.
const maxKeys = 1 << 26

// first notes the first occurrence of an output. It is in order if no later one of its key was seen
// (S7).
func (o *keyOrder) first(id ID, partition int32) (inOrder, samePartition bool) {
	if id.Key >= maxKeys {
		return true, true
	}
	if n := int(id.Key) + 1; n > len(o.keys) {
		o.keys = append(o.keys, make([]keyState, n-len(o.keys))...)
	}
	k := &o.keys[id.Key]
	if k.last == 0 {
		k.partition = partition
	}
	inOrder = id.Seq+1 >= k.last
	k.last = max(k.last, id.Seq+1)
	return inOrder, k.partition == partition
}
