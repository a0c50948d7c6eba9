package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a session leaves behind, while the brokers keep the transactions waiting, is given back when
// it is over, units without an input among it: others need that room.
func TestADeadSessionKeepsNoMemory(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		first := b.mortal(t, "s", "", exactlyOnce)
		ends, let := b.held(kmsg.EndTxn)
		first.units(plain("out", 1)...)
		time.Sleep(time.Second)
		if ends.Load() == 0 {
			t.Fatal("no transaction is about to end")
		}
		waiting, _ := b.sc.Pinned()
		m := &mortal{b: b, member: first.member, gen: first.gen, more: first.more}
		m.connect(t, &sidecarpb.Hello{SessionId: "t"})
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.units(plain("out", 3)...)
		synctest.Wait()
		if now, _ := b.sc.Pinned(); now <= waiting {
			t.Fatalf("%d bytes are held, and %d before: nothing is tested", now, waiting)
		}
		m.cancel()
		time.Sleep(4 * time.Second) // its grace, and what the units of a dead process are waited for
		if now, _ := b.sc.Pinned(); now != waiting {
			t.Errorf("%d bytes are held, %d of them of who is dead", now, now-waiting)
		}
		let()
		first.reported(1)
		b.want(t, -1, 1)
	})
}

// A session whose inputs are further above their mark than it has room for hears NO_ROOM of them,
// and of all above the first of them that come in that assignment; what is below is committed. In
// the next assignment of the partition there is room.
func TestNoRoomAboveTheMark(t *testing.T) {
	limits := func(c *sidecar.Config) { c.MaxSessions, c.MaxRecords = 1, 60 }
	inTransactions(t, limits, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		const far = 1 << 14 // 64 entries for each of MaxRecords
		m.units(from(0, far, 2, far+1)...)
		m.reported(4)
		m.units(from(1)...)
		m.reported(5)
		m.units(from(far-1, far+2)...)
		m.reported(7)
		for seq, failure := range m.failed {
			if code := failure.GetError().GetCode(); code != wire.CodeNoRoom {
				t.Errorf("unit %d: %s", seq, code)
			}
		}
		if len(m.failed) != 4 || len(m.acked) != 3 {
			t.Errorf("failed: %v; %d are committed", m.failed, len(m.acked))
		}
		b.want(t, 3, 3)
		m.release(7, 1)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", TopicId: b.part(t, 2).TopicId, StartOffset: 3})
		again := from(3)
		again[0].src = wire.Source{Epoch: 2, Index: 0, Offset: far}
		m.units(again...)
		m.reported(8)
		b.want(t, far+1, 4)
	})
}
