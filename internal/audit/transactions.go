package audit

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// OffsetsTopic is where brokers keep committed offsets.
const OffsetsTopic = "__consumer_offsets"

// Problem is what is wrong with a transaction.
type Problem string

// Problems of transactions, by the names that the checker of the proof has for them.
const (
	OffsetAlone  Problem = "offset without its outputs"
	OutputsAlone Problem = "outputs without their offset"
	OutputTwice  Problem = "output twice"
	OffsetBack   Problem = "offset went back"
	OffsetUnread Problem = "offset that cannot be read"
)

// Writer is who wrote a transaction. Since KIP-890 (transaction.version 2) every transaction has
// its own: the broker raises the epoch with each end.
type Writer struct {
	Producer int64
	Epoch    int16
}

// Torn is one problem of one transaction, at an input.
type Torn struct {
	Problem   Problem
	Writer    Writer
	Topic     string // of the input
	Partition int32
	Offset    int64
	Detail    string
}

func (t Torn) String() string {
	return fmt.Sprintf("%s: producer %d epoch %d, input %s/%d offset %d: %s", t.Problem, t.Writer.Producer, t.Writer.Epoch, t.Topic, t.Partition, t.Offset, t.Detail)
}

// Transactions compares what transactions wrote with what they committed, record by record as a
// read_committed reader sees the output topics and [OffsetsTopic]: of each, the inputs that its
// outputs name are exactly those that its offsets and done-sets cover for the first time. It keeps
// all of it in memory.
type Transactions struct {
	opts    TransactionOptions
	inputs  map[inputAt]bool
	seen    map[outputOf]bool
	writers map[Writer]*transacted
	covered map[partOf]mark
	least   map[partOf]int64 // the first input that is left
	torn    []Torn
	counts  TransactionCounts
}

// TransactionCounts say how much was compared.
type TransactionCounts struct {
	Transactions, Outputs, Offsets, Covered int64
	Plain                                   int64 // outputs and offsets of no transaction, which are not judged
	WithoutRecords                          int64 // transactions that have offsets and no output
}

type partOf struct {
	topic     string
	partition int32
}

type inputAt struct {
	partOf
	offset int64
}

type outputOf struct {
	inputAt
	number int32
}

// mark is what a commit says is done.
type mark struct {
	offset int64
	done   []donemeta.Run
	known  bool // the one before it was read
}

func (m mark) has(offset int64) bool {
	return offset < m.offset || slices.ContainsFunc(m.done, func(r donemeta.Run) bool { return r.First <= offset && offset <= r.Last })
}

// transacted is what a transaction has.
type transacted struct {
	outputs map[inputAt]claims
	letters map[inputAt]bool
	covered map[inputAt]bool // inputs, for the first time
	moved   map[partOf][2]mark
}

// TransactionOptions of a comparison.
type TransactionOptions struct {
	Group    string
	Filtered bool // an input may have no output
	// TopicIDs of the inputs. Kafka 4.3.1 writes none beside a transaction's offsets.
	TopicIDs map[string][16]byte
}

// NewTransactions begins a comparison for a group's outputs.
func NewTransactions(opts TransactionOptions) *Transactions {
	return &Transactions{
		opts: opts, inputs: make(map[inputAt]bool), seen: make(map[outputOf]bool),
		writers: make(map[Writer]*transacted), covered: make(map[partOf]mark), least: make(map[partOf]int64),
	}
}

// Input tells that there is a record: offsets of markers, and of what was aborted or compacted, are
// none. All inputs come before the first offset.
func (t *Transactions) Input(r *kgo.Record) {
	p := partOf{r.Topic, r.Partition}
	t.inputs[inputAt{p, r.Offset}] = true
	if first, known := t.least[p]; !known || r.Offset < first {
		t.least[p] = r.Offset
	}
}

func (t *Transactions) of(r *kgo.Record) *transacted {
	by := Writer{r.ProducerID, r.ProducerEpoch}
	if t.writers[by] == nil {
		t.counts.Transactions++
		t.writers[by] = &transacted{
			outputs: make(map[inputAt]claims), letters: make(map[inputAt]bool),
			covered: make(map[inputAt]bool), moved: make(map[partOf][2]mark),
		}
	}
	return t.writers[by]
}

// Output takes the next record of an output partition. What does not say which input of this group
// it is made from is not compared.
func (t *Transactions) Output(r *kgo.Record) {
	s, how := parseSource(r.Headers)
	if how != parsedOK || s.group != "" && s.group != t.opts.Group {
		return
	}
	at := inputAt{partOf{s.topic, s.partition}, s.offset}
	if !r.Attrs.IsTransactional() {
		t.counts.Plain++
		return
	}
	t.counts.Outputs++
	w := t.of(r)
	if o := (outputOf{at, s.output}); t.seen[o] {
		t.found(OutputTwice, Writer{r.ProducerID, r.ProducerEpoch}, at, fmt.Sprintf("output %s at %s/%d offset %d", outputText(s.output), r.Topic, r.Partition, r.Offset))
	} else {
		t.seen[o] = true
	}
	if s.output == deadLetterOutput {
		w.letters[at] = true
		return
	}
	w.outputs[at] = append(w.outputs[at], claim{next: s.output, count: s.count})
}

// Offset takes the next record of a partition of [OffsetsTopic], of any group.
func (t *Transactions) Offset(r *kgo.Record) {
	if len(r.Key) < 2 || binary.BigEndian.Uint16(r.Key) > 1 { // not a committed offset
		return
	}
	var key kmsg.OffsetCommitKey
	by := Writer{r.ProducerID, r.ProducerEpoch}
	if err := key.ReadFrom(r.Key); err != nil {
		t.found(OffsetUnread, by, inputAt{}, err.Error())
		return
	}
	if key.Group != t.opts.Group {
		return
	}
	p := partOf{key.Topic, key.Partition}
	if r.Value == nil { // expired, or deleted
		delete(t.covered, p)
		return
	}
	var value kmsg.OffsetCommitValue
	if err := value.ReadFrom(r.Value); err != nil {
		t.found(OffsetUnread, by, inputAt{p, -1}, err.Error())
		return
	}
	if value.TopicID == ([16]byte{}) {
		value.TopicID = t.opts.TopicIDs[key.Topic]
	}
	done, err := donemeta.Parse(value.Metadata, donemeta.Binding{TopicID: value.TopicID, Base: value.Offset, LeaderEpoch: value.LeaderEpoch}, nil)
	if err != nil && donemeta.Ours(value.Metadata) {
		t.found(OffsetUnread, by, inputAt{p, value.Offset}, err.Error())
	}
	before, after := t.covered[p], mark{value.Offset, done, true}
	t.covered[p] = after
	if !r.Attrs.IsTransactional() {
		t.counts.Plain++
		return
	}
	t.counts.Offsets++
	w := t.of(r)
	if before.known && after.offset < before.offset {
		t.found(OffsetBack, by, inputAt{p, after.offset}, fmt.Sprintf("%d was committed before", before.offset))
	}
	if first, again := w.moved[p]; again { // the last one of a transaction counts
		before = first[0]
	}
	w.moved[p] = [2]mark{before, after}
}

// cover finds the inputs that a transaction covers for the first time.
func (t *Transactions) cover(w *transacted) {
	for p, moved := range w.moved {
		before, after := moved[0], moved[1]
		add := func(from, to int64) {
			for o := from; o <= to; o++ {
				if at := (inputAt{p, o}); t.inputs[at] && !before.has(o) {
					w.covered[at] = true
				}
			}
		}
		add(before.offset, after.offset-1)
		for _, r := range after.done {
			add(r.First, r.Last)
		}
	}
}

func (t *Transactions) found(problem Problem, by Writer, at inputAt, detail string) {
	t.torn = append(t.torn, Torn{problem, by, at.topic, at.partition, at.offset, detail})
}

// Compare returns what is wrong, in the order of the writers, when everything was taken.
func (t *Transactions) Compare() ([]Torn, TransactionCounts) {
	for _, by := range slices.SortedFunc(maps.Keys(t.writers), func(a, b Writer) int {
		return cmp.Or(cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Epoch, b.Epoch))
	}) {
		w := t.writers[by]
		t.cover(w)
		t.counts.Covered += int64(len(w.covered))
		if len(w.outputs)+len(w.letters) == 0 {
			t.counts.WithoutRecords++
		}
		t.compare(by, w)
	}
	return t.torn, t.counts
}

// isLeft tells whether an input is not among those that were deleted before they were read.
func (t *Transactions) isLeft(at inputAt) bool {
	first, known := t.least[at.partOf]
	return known && at.offset >= first
}

func (t *Transactions) compare(by Writer, w *transacted) {
	for at := range w.outputs {
		if !w.covered[at] && t.isLeft(at) {
			t.found(OutputsAlone, by, at, "its transaction does not commit it")
		}
	}
	for at := range w.letters {
		if !w.covered[at] && t.isLeft(at) {
			t.found(OutputsAlone, by, at, "its transaction has its dead letter, and does not commit it")
		}
	}
	for at := range w.covered {
		seen := w.outputs[at]
		slices.SortFunc(seen, func(a, b claim) int { return cmp.Compare(a.next, b.next) })
		var all claims
		for _, c := range seen {
			all = all.see(c.next, c.count)
		}
		switch {
		case w.letters[at], len(seen) == 0 && t.opts.Filtered:
		case len(seen) == 0:
			t.found(OffsetAlone, by, at, "its transaction commits it, and has no output of it")
		case !all.whole():
			t.found(OffsetAlone, by, at, fmt.Sprintf("its transaction commits it, and has %d of its outputs only", len(seen)))
		}
	}
}
