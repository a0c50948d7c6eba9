package sidecar_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A will of 300 partitions with the largest done-sets goes out in requests that the broker takes,
// and lands completely (D3).
func TestLargeWillIsSplit(t *testing.T) {
	const partitions, inputs = 300, 4
	inBubble(t, func(c *sidecar.Config) { c.MaxBytes = 256 << 20 }, func(t *testing.T, b *bubble) {
		if _, err := b.admin(t).CreateTopic(t.Context(), partitions, 1, nil, "in"); err != nil {
			t.Fatal(err)
		}
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		var above []donemeta.Run
		for at := int64(2 * inputs); at < donemeta.MaxSpan; at += 2 {
			above = append(above, donemeta.Run{First: at, Last: at})
		}
		set, kept := donemeta.Append(nil, donemeta.Binding{TopicID: id, LeaderEpoch: -1}, above)
		if kept != len(above) {
			t.Fatalf("%d of %d runs fit", kept, len(above))
		}
		var units []testUnit
		for p := range int32(partitions) {
			m.assignAs(&sidecarpb.AssignedPartition{Epoch: uint64(p) + 1, Topic: "in", TopicId: id[:], Partition: p, LeaderEpoch: -1, DoneSet: string(set)})
			for i := range uint64(inputs) {
				if i > 0 { // the first input is not done
					units = append(units, testUnit{src: wire.Source{Epoch: uint64(p) + 1, Index: i, Offset: int64(i)}})
				}
			}
		}
		m.units(units...)
		m.reported(len(units))
		var requests, largest atomic.Int64
		b.kafka.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			requests.Add(1)
			largest.Store(max(largest.Load(), int64(len(req.AppendTo(nil)))))
			return nil, nil, false
		})
		m.cancel()
		time.Sleep(5 * time.Second)
		if n := requests.Load(); n < 2 || largest.Load() > 1_000_000 {
			t.Errorf("%d requests, the largest of %d bytes", n, largest.Load())
		}
		all, err := b.admin(t).FetchOffsets(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(partitions) {
			o, _ := all.Lookup("in", p)
			runs, err := donemeta.Parse(o.Metadata, donemeta.Binding{TopicID: id, Base: o.At, LeaderEpoch: o.LeaderEpoch}, nil)
			if err != nil || o.At != 0 || len(runs) != len(above)+1 || runs[0] != (donemeta.Run{First: 1, Last: inputs - 1}) {
				t.Fatalf("partition %d: committed %d with %d runs, %v; want 0 with 1 to %d and the %d inherited", p, o.At, len(runs), err, inputs-1, len(above))
			}
		}
	})
}
