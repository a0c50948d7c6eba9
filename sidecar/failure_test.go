package sidecar_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func buffers(b []byte) mem.BufferSlice { return mem.BufferSlice{mem.SliceBuffer(b)} }

// noise cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func out(topic string, value []byte) kgo.Record {
	return kgo.Record{Topic: topic, Partition: -1, Value: value}
}

// One bad output fails its unit and no other; each failure names Kafka's error, the output and the
// topic.
func TestBadUnitsFailAlone(t *testing.T) {
	kafka := cluster(t)
	if err := kafka.CreateTopic("small", 1, map[string]string{"max.message.bytes": "2000"}); err != nil {
		t.Fatal(err)
	}
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Topics: []string{"out", "one", "small", "miss*"}}}
		c.MaxRecordBytes, c.MaxMessageBytes = 100_000, 1<<20
	})
	c := hello(t, dial(t, sc.Target), "s")
	good := out("out", []byte("ok"))
	units := []testUnit{
		{outs: []kgo.Record{good}},
		{outs: []kgo.Record{good, out("missing", nil)}},
		{outs: []kgo.Record{out("forbidden", nil)}},
		{outs: []kgo.Record{out("out", noise(150_000))}},
		{outs: []kgo.Record{{Topic: "out", Partition: 99}}},
		{outs: []kgo.Record{out("bad topic", nil)}},
		{src: wire.Source{Epoch: 5}, outs: []kgo.Record{good}},
	}
	for range 50 { // together more than the topic takes in one batch, each far less
		units = append(units, testUnit{outs: []kgo.Record{out("small", make([]byte, 500))}})
	}
	units = append(units, testUnit{outs: []kgo.Record{out("small", noise(2500))}}, testUnit{outs: []kgo.Record{good}})
	c.units(units...)
	c.reported(len(units))
	want := map[uint64]struct {
		code, topic string
		output      uint32
		partition   int32
	}{
		2:  {"UNKNOWN_TOPIC_OR_PARTITION", "missing", 1, -1},
		3:  {"TOPIC_NOT_ALLOWED", "", 0, -1},
		4:  {"MESSAGE_TOO_LARGE", "out", 0, -1},
		5:  {"UNKNOWN_TOPIC_OR_PARTITION", "out", 0, 99},
		6:  {"TOPIC_NOT_ALLOWED", "", 0, -1},
		7:  {"UNKNOWN_ASSIGNMENT", "", 0, -1},
		58: {"MESSAGE_TOO_LARGE", "small", 0, -1},
	}
	for seq := uint64(1); seq <= uint64(len(units)); seq++ {
		w, fails := want[seq]
		f := c.failed[seq]
		if !fails && f != nil {
			t.Errorf("unit %d failed: %v", seq, f)
		}
		if fails && (f == nil || f.GetError().GetCode() != w.code || f.GetTopic() != w.topic || f.GetOutput() != w.output || f.GetError().GetRetryable() || f.GetError().GetMessage() == "" ||
			(w.partition >= 0 && f.GetPartition() != w.partition)) {
			t.Errorf("unit %d: %v, want %+v", seq, f, w)
		}
	}
	// A missing topic is believed to be missing for a moment, so that one misspelt name does not
	// stop its session; and it is found once it is there.
	if err := kafka.CreateTopic("missing", 1, nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		seq := c.units(testUnit{outs: []kgo.Record{out("missing", nil)}})
		c.reported(int(seq))
		if c.acked[seq] {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the topic exists now, and still: %v", c.failed[seq])
		}
	}
}

// The broker appends and then says that it did not (faults 14, 15): retried under the same
// sequence, nothing twice.
func TestLostProduceRepliesDuplicateNothing(t *testing.T) {
	kafka := cluster(t)
	for _, e := range []*kerr.Error{kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut} {
		kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: 3})
	}
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "s")
	const n = 200
	for range n / 20 {
		c.units(plain("one", 20)...)
	}
	c.reported(n)
	if len(c.acked) != n {
		t.Fatalf("%d acked, failures %v", len(c.acked), c.failed)
	}
	if hw := kafka.PartitionInfo("one", 0).HighWatermark; hw != n {
		t.Fatalf("%d records in Kafka, want %d", hw, n)
	}
}

func TestRelease(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "s")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"}, &sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", Partition: 1})
	block := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	u := plain("out", 20)
	for i := range u {
		u[i].src = wire.Source{Epoch: 1, Index: uint64(i), Offset: int64(i)}
	}
	c.units(u...)
	c.release(8, 2, 77) // nothing open, and one that was never assigned
	if err := c.until(func() bool { return c.released[8] }); err != nil {
		t.Fatal(err)
	}
	c.release(9, 1, 1)
	late := plain("out", 1)
	late[0].src = wire.Source{Epoch: 1, Index: 20, Offset: 20}
	c.units(late...)
	if err := c.until(func() bool { return c.failed[21] != nil }); err != nil {
		t.Fatal(err)
	}
	if c.failed[21].GetError().GetCode() != wire.CodeUnknownAssignment || c.released[9] {
		t.Fatalf("late unit: %v; released %v while its units are open", c.failed[21], c.released[9])
	}
	block.Remove()
	if err := c.until(func() bool { return c.released[9] }); err != nil {
		t.Fatal(err)
	}
	if len(c.acked) != 20 {
		t.Fatalf("released when %d of 20 units were reported", len(c.acked))
	}
}

func TestExpiredUnitsAreNotSent(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "s")
	c.expires = 1 // a nanosecond after boot
	c.units(plain("one", 2)...)
	c.reported(2)
	if f := c.failed[1]; f.GetError().GetCode() != wire.CodeExpired || !f.GetError().GetRetryable() {
		t.Fatalf("%v", f)
	}
	if hw := kafka.PartitionInfo("one", 0).HighWatermark; hw != 0 {
		t.Fatalf("%d expired records in Kafka", hw)
	}
}

// The client of a broken stream comes back under the same id, and sends what was not reported
// again. The older stream ends.
func TestANewerStreamTakesOver(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	conn := dial(t, sc.Target)
	old := hello(t, conn, "s")
	old.units(plain("one", 3)...)
	old.reported(3)
	c := hello(t, conn, "s")
	old.ends(codes.Aborted, "newer stream")
	c.units(plain("one", 2)...)
	c.reported(2)
	if got := consume(t, kafka.ListenAddrs(), "one", 5); len(got) != 5 {
		t.Fatal(len(got))
	}
}
