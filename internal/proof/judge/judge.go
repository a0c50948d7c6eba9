// Package judge counts what became of inputs: which outputs are lost, there again, out of order or
// of nobody's. It is told of the records of an output topic, one by one, and asks nothing: how a
// record says which input it belongs to, and who reads the topic, is its callers' (package verify
// for the simulation lab, chaos and e2e; `ackmark demo`; `ackmark bench`).
//
// `ackmark audit` has a judge of its own (package audit). It must not share a fault with what it
// checks, and it knows less: not which inputs were fed, only what is in the topics.
package judge

// Config says what the outputs of a run should be.
type Config struct {
	// Inputs is the number of inputs 0 … Inputs-1 that were fed. 0: those given to [Judge.Fed].
	Inputs uint64
	// PerInput is the most outputs that an input has. Default 1.
	PerInput int
	// Expect returns how many outputs an input must have, 0 if it is filtered. Nil: PerInput for
	// each.
	Expect func(input uint64) int
}

// Output is a record that an input was made into.
type Output struct {
	Input  uint64 // its number: 0, 1, 2 … in the order of feeding
	Number int    // which of its input's outputs it is, from 0
	// Key is a number for its key, and Seq rises with the inputs of a key.
	Key       uint32
	Seq       uint64
	Partition int32
	// Altered: it is not what its input had to become. It is its input's output all the same.
	Altered bool
}

// Found is what an output is. Of one that was not fed, or was seen before, nothing else is told.
type Found struct {
	Unknown   bool // nobody fed its input, or its input has fewer outputs
	Again     bool // it was seen before
	Reordered bool // it came after one of a later input of its key
	Split     bool // it is in another partition than its key's first one
}

// First tells whether it is the first occurrence of an input's output.
func (f Found) First() bool { return !f.Unknown && !f.Again }

// Counts are the verdict, in outputs.
type Counts struct {
	Outputs    uint64 // records
	Distinct   uint64 // seen at least once
	Duplicated uint64 // seen again: the second, third … occurrence
	Repeated   uint64 // seen more than once
	Reordered  uint64 // first occurrences that came after a later one of their key
	Split      uint64 // first occurrences in another partition than their key's first one
	Unknown    uint64 // of no input that was fed
	Altered    uint64 // not what their input had to become
}

// Judge judges one output topic. Its partitions may be mixed, but each must come in order. Its
// memory is at most 3 bits an output and 16 bytes a key. It is not safe for concurrent use.
type Judge struct {
	cfg    Config
	fed    Set // unused if cfg.Inputs is set
	seen   Set // by input × PerInput + number
	again  Set // those that repeated
	order  Order
	counts Counts
}

// New returns a judge that has seen nothing.
func New(cfg Config) *Judge {
	if cfg.PerInput <= 0 {
		cfg.PerInput = 1
	}
	if cfg.Expect == nil {
		cfg.Expect = func(uint64) int { return cfg.PerInput }
	}
	return &Judge{cfg: cfg}
}

// Fed tells that an input was fed.
func (j *Judge) Fed(input uint64) { j.fed.Add(input) }

// Stray takes a record that belongs to no input.
func (j *Judge) Stray() {
	j.counts.Outputs++
	j.counts.Unknown++
}

// Damaged takes a record that does not say reliably whose output it is: its input is still without
// one.
func (j *Judge) Damaged() {
	j.counts.Outputs++
	j.counts.Altered++
}

// Knows tells whether an input was fed and has an output of this number.
func (j *Judge) Knows(input uint64, number int) bool {
	if number < 0 || number >= j.cfg.PerInput {
		return false
	}
	if j.cfg.Inputs > 0 {
		return input < j.cfg.Inputs
	}
	return j.fed.Has(input)
}

// Add takes the next record of an output partition.
func (j *Judge) Add(o Output) (f Found) {
	if !j.Knows(o.Input, o.Number) {
		j.Stray()
		return Found{Unknown: true}
	}
	j.counts.Outputs++
	if o.Altered {
		j.counts.Altered++
	}
	bit := j.bit(o.Input, o.Number)
	if !j.seen.Add(bit) {
		j.counts.Duplicated++
		if j.again.Add(bit) {
			j.counts.Repeated++
		}
		return Found{Again: true}
	}
	j.counts.Distinct++
	inOrder, samePartition := j.order.First(o.Key, o.Seq, o.Partition)
	if !inOrder {
		j.counts.Reordered++
	}
	if !samePartition {
		j.counts.Split++
	}
	return Found{Reordered: !inOrder, Split: !samePartition}
}

func (j *Judge) bit(input uint64, number int) uint64 {
	return input*uint64(j.cfg.PerInput) + uint64(number)
}

// Seen tells whether an input has an output of this number.
func (j *Judge) Seen(input uint64, number int) bool { return j.seen.Has(j.bit(input, number)) }

// Counts returns what was counted so far, in constant time.
func (j *Judge) Counts() Counts { return j.counts }

// Inputs is how many inputs were fed.
func (j *Judge) Inputs() uint64 {
	if j.cfg.Inputs > 0 {
		return j.cfg.Inputs
	}
	return j.fed.Len()
}

// Lost counts the outputs that were expected and not seen. each, if it is not nil, gets them in
// order.
func (j *Judge) Lost(each func(input uint64, number int)) (n uint64) {
	check := func(input uint64) bool {
		for number := range j.cfg.Expect(input) {
			if !j.Seen(input, number) {
				n++
				if each != nil {
					each(input, number)
				}
			}
		}
		return true
	}
	if j.cfg.Inputs == 0 {
		j.fed.Each(check)
		return n
	}
	for input := range j.cfg.Inputs {
		check(input)
	}
	return n
}
