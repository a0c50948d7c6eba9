package demo

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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

// checker reads one output topic's records, in the order of its partitions. Not safe for concurrent
// use.
type checker struct {
	fed    *ledger
	seen   []uint8        // outputs of each input, at most 255
	newest map[string]int // per key: the latest input whose first output was seen
	counts
}

func newChecker(fed *ledger) *checker { return &checker{fed: fed, newest: map[string]int{}} }

// observe counts one output; it tells whether it is the first of its input.
func (c *checker) observe(r *kgo.Record) bool {
	c.Outputs++
	id, ok := idOf(r.Headers)
	var want uint32
	if ok {
		want, ok = c.fed.lookup(id)
	}
	if !ok {
		c.Foreign++
		return false
	}
	if checksum(r.Value) != want {
		c.Altered++
	}
	for len(c.seen) <= id {
		c.seen = append(c.seen, 0)
	}
	c.seen[id] = min(c.seen[id], 254) + 1
	if c.seen[id] > 1 {
		c.Duplicated++
		return false
	}
	c.Distinct++
	if last, ok := c.newest[string(r.Key)]; ok && id < last {
		c.Reordered++
		return true
	}
	c.newest[string(r.Key)] = id
	return true
}

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
