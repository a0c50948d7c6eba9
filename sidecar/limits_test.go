package sidecar_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func small(c *sidecar.Config) {
	c.MaxBytes, c.MaxRecords, c.MaxSessions = 1<<20, 4096, 4
	c.PartitionRecords = 50
}

// stick makes one partition of "out" refuse records until the handle is removed; the producer
// retries for ever.
func (b *bubble) stick(partition int32) *kfake.FaultHandle {
	return b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Partitions: []int32{partition}, Err: kerr.NotEnoughReplicas, Count: -1})
}

func to(partition int32, n, size int) []testUnit {
	units := make([]testUnit, n)
	for i := range units {
		units[i].outs = []kgo.Record{{Topic: "out", Partition: partition, Value: make([]byte, size)}}
	}
	return units
}

func (b *bubble) status(t *testing.T) *sidecarpb.StatusResponse {
	t.Helper()
	st, err := b.sc.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A partition that does not take records stops the session that writes to it, at the partition's
// limit. Other sessions go on, and emits to it are refused with the time to wait.
func TestASlowPartitionStopsOnlyItsWriters(t *testing.T) {
	inBubble(t, small, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		a := hello(t, b.conn, "a")
		a.units(to(0, 200, 10)...)
		time.Sleep(time.Second)
		synctest.Wait()
		if q := b.status(t).GetPartitions(); len(q) != 1 || q[0].GetRecords() != 50 || !q[0].GetFull() {
			t.Errorf("queues %v, want 50 records, full", q)
		}
		other := hello(t, b.conn, "other")
		other.units(to(1, 200, 10)...)
		other.reported(200)

		api := sidecarpb.NewSidecarClient(b.conn)
		emit := func(p int32) *sidecarpb.EmitResponse {
			resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "out", Partition: &p}})
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		if e := emit(0).GetError(); e.GetCode() != wire.CodeFull || !e.GetRetryable() || e.GetRetryAfterMs() <= 0 {
			t.Errorf("emit to the full partition: %v", e)
		}
		if r := emit(1); !r.GetSuccess() {
			t.Errorf("emit beside it: %v", r)
		}
		stuck.Remove()
		a.reported(200)
		if len(a.failed) > 0 {
			t.Error(a.failed)
		}
	})
}

// Frames of which all but one small record are done would stay in memory whole, while their credit
// comes back: the pinned buffers are bounded too.
func TestStragglersCannotPinMemory(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.PartitionRecords = 4000 }, func(t *testing.T, b *bubble) {
		credit, _ := b.sc.Credit()
		stuck := b.stick(0)
		c := hello(t, b.conn, "s")
		room := make(chan struct{}, 20) // big units that may be outstanding
		go func() {
			for range 200 {
				room <- struct{}{}
				if err := c.sendUnits(append(to(0, 1, 1), to(1, 1, 10_000)...)); err != nil {
					t.Error(err)
				}
			}
		}()
		received := make(chan error, 1)
		go func() {
			big := 0
			received <- c.until(func() bool {
				for ; c.acked[uint64(2*big+2)]; big++ {
					<-room
				}
				return len(c.acked) == 400
			})
		}()
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if pinned, _ := b.sc.Pinned(); pinned > 2*credit+11_000 {
				t.Fatalf("%d bytes pinned, the session's bound is %d", pinned, 2*credit)
			}
		}
		if pinned, _ := b.sc.Pinned(); pinned < credit {
			t.Errorf("only %d bytes pinned: the test does not reach the bound", pinned)
		}
		stuck.Remove()
		if err := <-received; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if pinned, records := b.sc.Pinned(); pinned != 0 || records != 0 {
			t.Errorf("%d bytes, %d records pinned when nothing is left", pinned, records)
		}
	})
}

// A client that reconnects again and again into a stuck partition leaves its dead sessions' records
// behind: together they are bounded.
func TestDeadSessionsAreBounded(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.PartitionRecords = 100_000; c.PartitionBytes = 1 << 30 }, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		defer stuck.Remove()
		for range 60 {
			c := hello(t, b.conn, "s")
			c.units(to(0, 15, 10_000)...)
			time.Sleep(10 * time.Millisecond)
			c.cancel()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if pinned, _ := b.sc.Pinned(); pinned > 3<<19+200_000 {
				t.Fatalf("%d bytes pinned, the bound of one app is %d", pinned, 3<<19)
			}
		}
		if pinned, _ := b.sc.Pinned(); pinned < 3<<19 {
			t.Errorf("%d bytes pinned: the test does not reach the bound", pinned)
		}
	})
}

// Reports that nobody reads are kept, cost the reader its credit, and nobody else anything (S12,
// fault 25).
func TestAStuckReaderLosesOnlyItsOwnCredit(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) {
		small(c)
		c.PartitionRecords = 4000
		c.Apps = []sidecar.App{{Name: "app", Topics: []string{"out"}}}
	}, func(t *testing.T, b *bubble) {
		stuck := hello(t, b.conn, "stuck")
		_, records := b.sc.Credit()
		for i := range records {
			u := to(int32(i%4), 1, 10)
			if i%2 == 0 {
				u[0].outs[0].Topic = "forbidden" // failures are larger than ranges
			}
			stuck.units(u...)
		}
		time.Sleep(time.Second)
		other := hello(t, b.conn, "other")
		for range 5 {
			other.units(to(0, 500, 10)...)
			other.reported(int(other.next - 1))
		}
		stuck.reported(records)
		if len(stuck.acked) != records/2 || len(stuck.failed) != records-records/2 {
			t.Errorf("%d acked, %d failed of %d", len(stuck.acked), len(stuck.failed), records)
		}
		for _, s := range b.status(t).GetSessions() {
			if s.GetOutstandingBytes() != 0 || s.GetOutstandingUnits() != 0 {
				t.Errorf("outstanding in the end: %v", s)
			}
		}
	})
}

// A unit larger than the whole credit passes when nothing else is outstanding.
func TestAnOversizedUnitPassesAlone(t *testing.T) {
	inBubble(t, small, func(t *testing.T, b *bubble) {
		credit, _ := b.sc.Credit()
		c := hello(t, b.conn, "s")
		c.units(to(0, 1, int(credit)+100_000)...)
		c.reported(1)
		if len(c.failed) > 0 {
			t.Fatal(c.failed)
		}
		huge := testUnit{outs: make([]kgo.Record, 20_000)}
		for i := range huge.outs {
			huge.outs[i] = kgo.Record{Topic: "out", Partition: -1}
		}
		c.units(huge)
		c.reported(2)
		if c.failed[2].GetError().GetCode() != wire.CodeUnitTooLarge {
			t.Errorf("20,000 outputs: %v", c.failed[2])
		}
	})
}
