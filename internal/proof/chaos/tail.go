package chaos

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/judge"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// input is where a generated input is.
type input struct {
	partition int32
	offset    int64
	fed       time.Time
}

// tail reads inputs and outputs while they are written, with a client of its own and without a
// group: what it has seen is in the log.
type tail struct {
	client *kgo.Client
	done   sync.WaitGroup
	cancel context.CancelFunc

	mu      sync.Mutex
	output  string
	where   []input              // by global id; partition -1: not read yet
	inputs  int                  // read
	seen    map[int32]*judge.Set // by partition, the offsets of inputs with an output or a dead letter
	count   int                  // their number
	ends    map[string]map[int32]int64
	owner   map[int32]string          // who made the last output of an input partition
	since   map[int32]time.Time       // when that owner's first one was seen
	handled map[int32]time.Time       // when the last output of an input partition was seen
	early   map[uint64]bool           // outputs whose input was not read yet
	took    map[int32][]time.Duration // from an input to the sight of its output, by partition; nil: nobody asks
	moved   map[int32]bool            // partitions whose process changed meanwhile
}

func newTail(opts []kgo.Opt, in, out, dead string) (*tail, error) {
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ConsumeTopics(in, out, dead), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.MetadataMaxAge(5*time.Second), kgo.MetadataMinAge(100*time.Millisecond))...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tail{client: cl, cancel: cancel, output: out, seen: map[int32]*judge.Set{}, ends: map[string]map[int32]int64{},
		owner: map[int32]string{}, since: map[int32]time.Time{}, handled: map[int32]time.Time{}, early: map[uint64]bool{}}
	t.done.Go(func() {
		for ctx.Err() == nil {
			t.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { t.add(r, in) })
		}
	})
	return t, nil
}

func (t *tail) close() {
	t.cancel()
	t.done.Wait()
	t.client.Close()
}

func (t *tail) add(r *kgo.Record, in string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends[r.Topic] == nil {
		t.ends[r.Topic] = map[int32]int64{}
	}
	t.ends[r.Topic][r.Partition] = r.Offset + 1
	id, err := verify.Parse(r.Value)
	if err != nil {
		return // the judge at the end counts it
	}
	if r.Topic == in {
		at := input{r.Partition, r.Offset, r.Timestamp}
		for uint64(len(t.where)) <= id.Global {
			t.where = append(t.where, input{partition: -1})
		}
		t.where[id.Global] = at
		t.inputs++
		if t.early[id.Global] {
			delete(t.early, id.Global)
			t.saw(at)
		}
		return
	}
	if id.Global >= uint64(len(t.where)) || t.where[id.Global].partition < 0 {
		t.early[id.Global] = true
		return
	}
	at := t.where[id.Global]
	t.saw(at)
	for _, h := range r.Headers {
		if h.Key == byHeader && string(h.Value) != t.owner[at.partition] {
			t.owner[at.partition], t.since[at.partition] = string(h.Value), time.Now()
			if t.took != nil {
				t.took[at.partition] = nil // it moved
				t.moved[at.partition] = true
			}
		}
	}
	t.handled[at.partition] = time.Now()
	if t.took != nil && !t.moved[at.partition] {
		t.took[at.partition] = append(t.took[at.partition], time.Since(at.fed))
	}
}

// measure begins to note how long it takes until outputs are seen, of all processes but one.
func (t *tail) measure(but string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took, t.moved = map[int32][]time.Duration{}, map[int32]bool{}
	for p, owner := range t.owner {
		t.moved[p] = owner == but
	}
}

// latencies are those since measure of the partitions that have stayed with their process, sorted.
func (t *tail) latencies() (all []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, took := range t.took {
		all = append(all, took...)
	}
	slices.Sort(all)
	return all
}

func (t *tail) saw(at input) {
	seen := t.seen[at.partition]
	if seen == nil {
		seen = new(judge.Set)
		t.seen[at.partition] = seen
	}
	if seen.Add(uint64(at.offset)) {
		t.count++
	}
}

// owners returns who handles each input partition.
func (t *tail) owners() map[int32]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[int32]string, len(t.owner))
	for p, who := range t.owner {
		out[p] = who
	}
	return out
}

// takenOver returns when somebody else than this process began to handle a partition, or false.
func (t *tail) takenOver(p int32, from string) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since[p], t.owner[p] != from
}

// counts returns the inputs that were read, and those that have an output.
func (t *tail) counts() (inputs, handled int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inputs, t.count
}

// reached tells whether everything below these ends was read.
func (t *tail) reached(topic string, ends map[int32]int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, end := range ends {
		if end > 0 && t.ends[topic][p] < end {
			return false
		}
	}
	return true
}

// missing counts the inputs of a partition in [from, below) that have neither an output nor a dead
// letter.
func (t *tail) missing(p int32, from, below int64) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := t.seen[p]
	for o := from; o < below; o++ {
		if seen == nil || !seen.Has(uint64(o)) {
			n++
		}
	}
	return n
}
