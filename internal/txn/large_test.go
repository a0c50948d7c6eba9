package txn_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/txn"
)

// many is a batch of one unit for each of many partitions, whose outputs go to as many topics as
// are named.
type many struct {
	*units
	claims []*txn.Claim
	topics []string
}

func (b *many) Unit(i int) txn.Unit { return txn.Unit{Claim: b.claims[i]} }

func (b *many) Produce(i int, emit func(*kgo.Record)) {
	if len(b.topics) > 0 {
		emit(&kgo.Record{Topic: b.topics[i%len(b.topics)], Value: fmt.Append(nil, i), Partition: -1})
	}
}

// push pushes one unit for each of n partitions of a topic that is made for it.
func (b *many) push(r *rig, n int) {
	r.t.Helper()
	if err := r.cluster.CreateTopic("many", int32(n), nil); err != nil {
		r.t.Fatal(err)
	}
	topics, err := r.admin.ListTopics(r.t.Context(), "many")
	if err != nil {
		r.t.Fatal(err)
	}
	var added []txn.Added
	for p := range n {
		added = append(added, txn.Added{
			Epoch: uint64(100 + p), Topic: "many", TopicID: topics["many"].ID, Partition: int32(p),
			Core: assignment.New(assignment.Spec{TopicID: topics["many"].ID, Committed: -1, Limit: 16}),
		})
	}
	r.claims.Assign(txn.Holder{Group: "g"}, r.member, added)
	b.units = &units{r: r, fates: make([]error, n), left: n, done: make(chan struct{})}
	for p := range n {
		st, e := r.claims.Enter(uint64(100+p), 0, 0, 1)
		if e != txn.Entered {
			r.t.Fatalf("partition %d: %v", p, e)
		}
		b.claims = append(b.claims, st)
	}
	r.lane.Push(txn.Run{Batch: b, From: 0, To: n})
	b.allCommitted()
	got, err := r.admin.FetchOffsets(r.t.Context(), "g")
	if err != nil {
		r.t.Fatal(err)
	}
	if len(got["many"]) != n {
		r.t.Errorf("%d partitions have an offset, want %d", len(got["many"]), n)
	}
	if s := r.lane.Stats(); s.Aborted > 0 {
		r.t.Errorf("%+v", s)
	}
}

// A window with offsets of 10,000 partitions: in as many requests as a broker takes.
func TestTenThousandPartitions(t *testing.T) {
	n := 10_000
	if underRace || testing.Short() {
		n = 2_000
	}
	new(many).push(newRig(t), n)
}

// A window whose outputs go to 500 topics.
func TestFiveHundredTopics(t *testing.T) {
	r := newRig(t)
	b := &many{}
	for i := range 500 {
		name := fmt.Sprint("out-", i)
		if err := r.cluster.CreateTopic(name, 1, nil); err != nil {
			t.Fatal(err)
		}
		b.topics = append(b.topics, name)
	}
	b.push(r, 500)
}
