package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/judge"
)

// Partition names a topic-partition.
type Partition struct {
	Topic     string
	Partition int32
}

func (p Partition) String() string { return fmt.Sprintf("%s[%d]", p.Topic, p.Partition) }

// CheckerConfig describes the job under test.
type CheckerConfig struct {
	// Group is the consumer group under test; it appears in messages.
	Group string
	// Expect returns how many outputs an input must have to be done; 0: filtered. Nil: one each.
	Expect func(id uint64) int
	// PerInput is the most outputs that an input has. Default 1.
	PerInput int
	// AcksAreTruth lets an acknowledged unit count as durable, where nobody watches the broker's
	// log. Then S12 cannot see a false ack.
	AcksAreTruth bool
	// DuplicatesAllowed turns S6 off: duplicates are counted only.
	DuplicatesAllowed bool
	// OnViolation, if set, is called for each violation when it is found, with the checker locked:
	// it must not call the checker.
	OnViolation func(Violation)
}

// Checker follows one group and finds violations online. Its methods are events; each may come from
// any goroutine, and takes effect when it is called: whoever feeds it calls before the consequence
// of the event can be seen elsewhere.
//
// It is built so that it cannot be late: durable outputs only ever become more, so a commit that
// was justified when it was sent is justified when the checker sees it, and one that the checker
// finds premature was premature when it was sent.
type Checker struct {
	cfg CheckerConfig

	mu         sync.Mutex
	violations Violations
	recent     journal

	inputs  map[Partition]*inputLog
	home    map[uint64]location // by global id: the input's place
	durable judge.Set           // outputs in the broker's log, by global id × PerInput + output
	dead    judge.Set           // inputs whose dead letter is in the broker's log, or that were filtered; by global id
	handed  judge.Set           // inputs that a handler was given, by global id

	tracksHandler bool         // somebody calls HandedOut
	tracksHolders bool         // somebody calls Assigned
	held          *[]Violation // where violations go that depend on the broker's acceptance
	keys          map[string]*judge.Order
	mayReject     func(id uint64) bool // nil: any

	holders    map[Partition]holder
	generation int32                // the latest in which somebody was assigned something
	epochs     map[Partition]*epoch // the newest of each partition
	byNumber   map[epochKey]*epoch
	sent       map[string]int // commits in flight, by client
	silence    silence

	mayRepeat  map[uint64]int // by global id: how many repetitions incidents explain
	repeats    map[uint64]int // by output: repetitions seen
	deliveries map[*Delivery]struct{}
	claims     []claim // acknowledgements that have to be found in the log
	exactly    exactly

	counts Counts
}

// Counts says how much a checker has seen: a check that saw nothing proves nothing.
type Counts struct {
	Inputs, Durable, Duplicates, DeadLetters, Foreign uint64 // Foreign: records that are no generated values
	Commits, CommittedPartitions                      uint64
	HandedOut, Units, Reports, Epochs, Incidents      uint64
	Wills                                             uint64 // members that a will left the group for
	Raced                                             uint64 // assignments whose will was taken back between its last reading and its leave
	SetInputs                                         uint64 // inputs in the done-sets of accepted commits
	Excused                                           uint64 // inputs given up by explicit choice
}

type location struct {
	p      Partition
	offset int64
}

// inputLog is one input partition.
type inputLog struct {
	ids       []int64 // by offset - base; −1: no input there
	base      int64
	firstOpen int64          // all inputs below are done; advances only
	committed int64          // last accepted commit; −1: none
	set       []donemeta.Run // its done-set
	best      coverage       // of all accepted commits
	last      Commit         // accepted
	closed    []*epoch       // assignments that a will ended
	whole     bool           // nothing of the best commit was lacking when the offsets were last read
	excused   []excuse
}

func newInputLog() *inputLog { return &inputLog{base: -1, committed: -1, best: coverage{offset: -1}} }

type excuse struct {
	from, to int64
	reason   string
}

func (l *inputLog) end() int64 { return l.base + int64(len(l.ids)) }

// id returns the input at an offset, or false if none is there.
func (l *inputLog) id(offset int64) (uint64, bool) {
	if offset < l.base || offset >= l.end() || l.ids[offset-l.base] < 0 {
		return 0, false
	}
	return uint64(l.ids[offset-l.base]), true
}

func (l *inputLog) isExcused(offset int64) bool {
	return slices.ContainsFunc(l.excused, func(e excuse) bool { return e.from <= offset && offset < e.to })
}

// NewChecker returns a checker that has seen nothing.
func NewChecker(cfg CheckerConfig) *Checker {
	if cfg.PerInput <= 0 {
		cfg.PerInput = 1
	}
	if cfg.Expect == nil {
		cfg.Expect = func(uint64) int { return cfg.PerInput }
	}
	return &Checker{
		cfg: cfg, inputs: make(map[Partition]*inputLog), home: make(map[uint64]location), keys: make(map[string]*judge.Order),
		holders: make(map[Partition]holder), epochs: make(map[Partition]*epoch), byNumber: make(map[epochKey]*epoch),
		sent: make(map[string]int), silence: newSilence(), mayRepeat: make(map[uint64]int), repeats: make(map[uint64]int), deliveries: make(map[*Delivery]struct{}),
		exactly: newExactly(),
	}
}

// Appended tells that the broker's log of an input partition has this record. What is no generated
// value takes an offset and is not judged.
func (c *Checker) Appended(p Partition, offset int64, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later(p, offset, func() { c.appended(p, offset, value) })
}

func (c *Checker) appended(p Partition, offset int64, value []byte) {
	l := c.log(p)
	if l.base < 0 {
		l.base, l.firstOpen = offset, offset
	}
	if offset < l.end() {
		return // seen before
	}
	for l.end() < offset {
		l.ids = append(l.ids, -1)
	}
	id, err := Parse(value)
	if err != nil {
		c.counts.Foreign++
		l.ids = append(l.ids, -1)
		return
	}
	l.ids = append(l.ids, int64(id.Global))
	c.home[id.Global] = location{p, offset}
	c.counts.Inputs++
}

func (c *Checker) log(p Partition) *inputLog {
	l := c.inputs[p]
	if l == nil {
		l = newInputLog()
		c.inputs[p] = l
	}
	return l
}

// Durable tells that the broker's log of an output partition has this record, which is what makes
// an output count.
func (c *Checker) Durable(p Partition, offset int64, key, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote(nil, p, offset, key, value)
}

// wrote tells which output a durable record is, if it is one of this job. It is of a transaction,
// or of none.
func (c *Checker) wrote(in *Transaction, p Partition, offset int64, key, value []byte) (id ID, ours bool) {
	id, err := Parse(value)
	at, fed := c.home[id.Global]
	switch {
	case err != nil, !fed, id.Out >= c.cfg.PerInput:
		name := UnknownOutput
		if fed && errors.Is(err, ErrDamaged) {
			name = CorruptOutput
		}
		c.violate(name, p, "offset %d: %.120q (%v)", offset, value, err)
		return id, false
	case key != nil && !isKey(key, id.Key):
		c.violate(CorruptOutput, p, "offset %d: the value %.120q stands under key %q", offset, value, key)
		return id, false
	}
	c.recent.add(at.p, "output %v durable at %v offset %d", id, p, offset)
	c.checkClosed(in, p, offset, id)
	if c.makeDurable(id) {
		c.later(p, offset, func() { c.checkOrder(p, offset, id) })
		return id, true
	}
	c.counts.Duplicates++
	c.checkDuplicate(p, offset, id)
	return id, true
}

// makeDurable tells whether the output is new.
func (c *Checker) makeDurable(id ID) bool {
	if !c.durable.Add(c.bit(id.Global, id.Out)) {
		return false
	}
	c.counts.Durable++
	return true
}

func (c *Checker) bit(id uint64, out int) uint64 { return id*uint64(c.cfg.PerInput) + uint64(out) }

// DeadLettered tells that the broker's log of a dead-letter topic has this input: then it is done
// without its outputs.
func (c *Checker) DeadLettered(value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadLettered(value)
}

func (c *Checker) deadLettered(value []byte) (id ID, ours bool) {
	id, err := Parse(value)
	at, fed := c.home[id.Global]
	if err != nil || !fed {
		c.violate(UnknownOutput, Partition{}, "dead letter %.120q (%v)", value, err)
		return id, false
	}
	c.recent.add(at.p, "dead letter of %v durable", id)
	if c.mayReject != nil && !c.mayReject(id.Global) {
		c.violate(RejectedWrongly, at.p, "dead letter of %v, with which nothing is wrong; its input is offset %d", id, at.offset)
	}
	if c.dead.Add(id.Global) {
		c.counts.DeadLetters++
	} else if c.exactly.letters.Has(id.Global) {
		c.violate(OutputTwice, at.p, "dead letter of %v again, which a transaction had committed with its offset %d", id, at.offset)
	}
	return id, true
}

// Rejects tells which inputs may become dead letters; without it, any may (S11).
func (c *Checker) Rejects(may func(id uint64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mayReject = may
}

// HandedOut tells that a handler is given this input. Somebody who calls it calls it for every
// input, before the handler can act.
func (c *Checker) HandedOut(p Partition, offset int64, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracksHandler = true
	if id, err := Parse(value); err == nil {
		c.counts.HandedOut++
		c.handed.Add(id.Global)
		c.recent.add(p, "input %v at offset %d handed out", id, offset)
	}
}

// Excuse tells that the inputs of a range were given up by explicit choice, reported and counted:
// truncated with ResetEarliest, for example. They need no outputs any more (S11).
func (c *Checker) Excuse(p Partition, from, to int64, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.log(p)
	l.excused = append(l.excused, excuse{from, to, reason})
	for o := from; o < to; o++ {
		if _, ok := l.id(o); ok {
			c.counts.Excused++
		}
	}
	c.recent.add(p, "excused %d–%d: %s", from, to-1, reason)
}

// done tells whether all outputs of an input are durable, or its dead letter is, or it has none.
func (c *Checker) done(id uint64) bool {
	if c.dead.Has(id) {
		return true
	}
	for out := range c.cfg.Expect(id) {
		if !c.durable.Has(c.bit(id, out)) {
			return false
		}
	}
	return true
}

// firstNotDone returns the offset of the first input that is not done, or the log's end. Each input
// is passed once.
func (c *Checker) firstNotDone(l *inputLog) int64 {
	for ; l.firstOpen < l.end(); l.firstOpen++ {
		if id, ok := l.id(l.firstOpen); ok && !c.done(id) && !l.isExcused(l.firstOpen) {
			break
		}
	}
	return l.firstOpen
}

// describe tells what is known about the input at an offset.
func (c *Checker) describe(l *inputLog, offset int64) string {
	id, ok := l.id(offset)
	if !ok {
		return fmt.Sprintf("offset %d (no input)", offset)
	}
	var missing []string
	for out := range c.cfg.Expect(id) {
		if !c.durable.Has(c.bit(id, out)) {
			missing = append(missing, fmt.Sprint(out))
		}
	}
	handed := ""
	if c.tracksHandler {
		handed = ", never handed out"
		if c.handed.Has(id) {
			handed = ", handed out"
		}
	}
	return fmt.Sprintf("offset %d (id=%d, %d of %d outputs not durable: %s%s)", offset, id, len(missing), c.cfg.Expect(id), strings.Join(missing, ","), handed)
}

// violate records a violation, with what happened last on its partition. The caller holds mu.
func (c *Checker) violate(name Name, p Partition, format string, args ...any) {
	v := Violation{Name: name, Detail: fmt.Sprintf("group %s, %v: ", c.cfg.Group, p) + fmt.Sprintf(format, args...) + c.recent.last(p)}
	if c.held != nil {
		*c.held = append(*c.held, v)
		return
	}
	c.report(v)
}

func (c *Checker) report(v Violation) {
	c.violations.add(v)
	if c.cfg.OnViolation != nil {
		c.cfg.OnViolation(v)
	}
}

// Violations returns what was found so far.
func (c *Checker) Violations() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.violations.All()
}

// Has tells whether a violation of this name was found.
func (c *Checker) Has(name Name) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.violations.Has(name)
}

// Err returns nil, or an error that shows the first violations and the count of each kind.
func (c *Checker) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.violations.Err()
}

// Counts returns how much was seen.
func (c *Checker) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Summary returns what was seen and what was found, in a few lines.
func (c *Checker) Summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	s := fmt.Sprintf("group %s: %d inputs, %d outputs durable, %d duplicated, %d dead letters\n", c.cfg.Group, n.Inputs, n.Durable, n.Duplicates, n.DeadLetters) +
		fmt.Sprintf("  seen: %d commits of %d partitions with %d inputs in done-sets, %d handed out, %d units, %d reports, %d epochs, %d incidents, %d wills, %d excused\n",
			n.Commits, n.CommittedPartitions, n.SetInputs, n.HandedOut, n.Units, n.Reports, n.Epochs, n.Incidents, n.Wills, n.Excused)
	if names := c.violations.Names(); len(names) > 0 {
		return s + "  VIOLATED: " + strings.Join(names, ", ") + "\n"
	}
	return s + "  no violation\n"
}
