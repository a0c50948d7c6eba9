package consumer

import (
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Where an input was read does not depend on what its handler writes to the record, nor on how far
// a compacted topic lets offsets lie apart.
func TestOriginal(t *testing.T) {
	offsets := []int64{5, 6, 5 + math.MaxUint32, 6 + math.MaxUint32, 7 + math.MaxUint32, math.MaxInt64 - 1}
	for n := range len(offsets) + 1 {
		r := &run{first: 40}
		r.Assignment = &Assignment{Topic: "in", Partition: 3}
		for _, offset := range offsets[:n] {
			r.append(&kgo.Record{Topic: "in", Partition: 3, Offset: offset})
		}
		for i := range r.Messages {
			m := &r.Messages[i]
			m.Topic, m.Partition, m.Offset = "elsewhere", 0, 0
			if got, want := m.Original(), (Original{"in", 3, offsets[i]}); got != want {
				t.Errorf("input %d of %d: %+v, want %+v", i, n, got, want)
			}
			if got, want := m.ID(), fmt.Sprint("in/3/", offsets[i]); got != want {
				t.Errorf("input %d of %d is called %s, want %s", i, n, got, want)
			}
			if got := m.Index(); got != 40+uint64(i) {
				t.Errorf("input %d of %d has index %d", i, n, got)
			}
		}
	}
}

// What the consumer says of an input that is not done is where it was read.
func TestChangedInputIsNamedAsItCame(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 3)
		var held *Batch
		m := l.start(l.config(), func(b *Batch) {
			held = b
			for i := range b.Messages {
				b.Messages[i].Start()
				b.Messages[i].Offset = 1_000
			}
		})
		l.until("the inputs are there", func() bool { s := m.State(); return len(s.Partitions) == 1 && s.Partitions[0].HandedOut == 3 })
		if got := m.State().Partitions[0].Oldest.Offset; got != 0 {
			t.Errorf("the oldest input not done is at %d, want 0", got)
		}
		held.DoneAll()
		wantNil(t, m.stop())
	})
}
