package demo

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

// ledger is what was fed: the checksum that each input's output must have.
type ledger struct {
	mu   sync.Mutex
	want []uint32
}

func (l *ledger) add(sum uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want = append(l.want, sum)
}

func (l *ledger) lookup(id int) (uint32, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id >= len(l.want) {
		return 0, false
	}
	return l.want[id], true
}

// counts is what an output topic shows.
type counts struct {
	Outputs    int `json:"outputs"`    // records in the topic
	Distinct   int `json:"distinct"`   // inputs with at least one output
	Duplicated int `json:"duplicated"` // outputs beyond the first of an input
	Reordered  int `json:"reordered"`  // first outputs that come after the first output of a later input with the same key
	Altered    int `json:"altered"`    // outputs that are not what the handler makes from the input
	Foreign    int `json:"foreign"`    // records that belong to no input
}

// checker judges one output topic: inputs are known by a header, outputs by their checksum. Not
// safe for concurrent use.
type checker struct {
	fed   *ledger
	judge *judge.Judge
	keys  map[string]uint32 // their numbers, in the order in which they were seen
}

func newChecker(fed *ledger, inputs int) *checker {
	return &checker{fed: fed, judge: judge.New(judge.Config{Inputs: uint64(inputs)}), keys: map[string]uint32{}}
}

// observe counts one output; it tells whether it is the first of its input.
func (c *checker) observe(r *kgo.Record) bool {
	id, ok := idOf(r.Headers)
	var want uint32
	if ok {
		want, ok = c.fed.lookup(id)
	}
	if !ok {
		c.judge.Stray()
		return false
	}
	key, known := c.keys[string(r.Key)]
	if !known {
		key = uint32(len(c.keys))
		c.keys[string(r.Key)] = key
	}
	found := c.judge.Add(judge.Output{Input: uint64(id), Key: key, Seq: uint64(id), Partition: r.Partition, Altered: checksum(r.Value) != want})
	return found.First()
}

func (c *checker) counts() counts {
	n := c.judge.Counts()
	return counts{
		Outputs: int(n.Outputs), Distinct: int(n.Distinct), Duplicated: int(n.Duplicated), Reordered: int(n.Reordered), Altered: int(n.Altered), Foreign: int(n.Unknown),
	}
}

// missing tells whether an input has no output.
func (c *checker) missing(id int) bool { return !c.judge.Seen(uint64(id), 0) }

// stalls measures, per partition, the longest time in which inputs waited and no new output came.
// Both topics have the same partitions and keys keep theirs, so an output's partition is its
// input's.
type stalls struct {
	mu      sync.Mutex
	parts   []stallState
	longest time.Duration
}

type stallState struct {
	in, out int
	since   time.Time // since when inputs wait
}

func newStalls(partitions int) *stalls { return &stalls{parts: make([]stallState, partitions)} }

func (s *stalls) input(partition int32, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.parts[partition]
	if p.in == p.out {
		p.since = now
	}
	p.in++
}

func (s *stalls) output(partition int32, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.parts[partition]
	if p.in > p.out { // else the output was read before the generator learned that its input was written
		s.longest = max(s.longest, now.Sub(p.since))
	}
	p.out++
	p.since = now
}

func (s *stalls) max() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.longest
}
