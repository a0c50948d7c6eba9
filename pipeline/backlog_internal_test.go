package pipeline

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

// A backlog against a naive one, a list of inputs: each comes out once, those of an assignment in
// order, batches are full while there is enough, and nothing of an assignment that is over comes
// out.
func TestBacklogModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		wait := []time.Duration{0, time.Hour}[rnd.IntN(2)]
		b := newBacklog(wait)
		assignments := []*consumer.Assignment{{Partition: 0}, {Partition: 1}, {Partition: 2}}
		model := map[*consumer.Assignment][]int64{}
		next := int64(0)
		total := func() (n int) {
			for _, list := range model {
				n += len(list)
			}
			return n
		}
		check := func(what string, c *chunk, most int) {
			t.Helper()
			got := c.msgs[c.next:]
			want := model[c.assignment]
			if len(got) == 0 || len(got) > most || len(got) > len(want) {
				t.Fatalf("%s took %d inputs of at most %d, %d waited", what, len(got), most, len(want))
			}
			for i, m := range got {
				if m.Offset != want[i] {
					t.Fatalf("%s: input %d instead of %d", what, m.Offset, want[i])
				}
			}
			model[c.assignment] = want[len(got):]
		}
		var grab chunk
		for range 200 {
			size := 1 + rnd.IntN(20)
			switch op := rnd.IntN(10); {
			case op < 5:
				c := newChunk(assignments[rnd.IntN(len(assignments))])
				for range 1 + rnd.IntN(8) {
					c.msgs = append(c.msgs, &consumer.Message{Record: &kgo.Record{Offset: next}})
					model[c.assignment] = append(model[c.assignment], next)
					next++
				}
				b.push(c)
				if live := len(b.chunks) - b.head; len(b.chunks) > 2*live+2 {
					t.Fatalf("%d chunks, %d of them taken", len(b.chunks), b.head)
				}
			case op < 6 && !b.empty():
				c := b.pop()
				check("pop", c, 1<<30)
				c.recycle()
			case op < 7 && !b.empty():
				grab = chunk{assignment: b.chunks[b.head].assignment}
				b.move(&grab, size)
				check("move", &grab, size)
			case op < 9:
				a, _ := b.due(time.Now(), size)
				full := false
				for _, list := range model {
					full = full || len(list) >= size
				}
				if ready := total() > 0 && wait == 0 || full; (a != nil) != ready {
					t.Fatalf("due %v, with %d waiting for batches of %d", a, total(), size)
				}
				if a == nil {
					break
				}
				most := min(size, len(model[a]))
				b.gather(&grab, a, size)
				if check("gather", &grab, size); len(grab.msgs) != most {
					t.Fatalf("a batch of %d, %d could be had", len(grab.msgs), most)
				}
			default:
				i := rnd.IntN(len(assignments))
				if n := b.forget(assignments[i : i+1]); n != len(model[assignments[i]]) {
					t.Fatalf("%d dropped of %d", n, len(model[assignments[i]]))
				}
				delete(model, assignments[i])
				assignments[i] = &consumer.Assignment{Partition: int32(i)}
			}
			if b.queued != total() || (total() == 0) != b.empty() {
				t.Fatalf("%d queued in %d chunks, %d in the model", b.queued, len(b.chunks), total())
			}
			for a, n := range b.of {
				if n != len(model[a]) || n == 0 {
					t.Fatalf("%d counted of an assignment, %d in the model", n, len(model[a]))
				}
			}
		}
	}
}
