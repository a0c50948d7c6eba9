package sidecar_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Where there was no room to follow an app's inputs, its will would say for ever what was done
// below the first of them. It is counted and said, at a bounded rate, and the will goes on from
// where the process says that it stands.
func TestAWillGoesOnWhereThereWasNoRoom(t *testing.T) {
	meter := measured.New()
	var log bytes.Buffer // the bubble's goroutines take turns: a handler locks
	limits := func(c *sidecar.Config) {
		c.MaxSessions, c.MaxRecords, c.MeterProvider = 1, 60, meter
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}
	inDeath(t, limits, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", "state")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		const far = 1 << 14 // 64 entries for each of MaxRecords
		m.units(from(0, far)...)
		m.reported(2)
		m.units(from(far + 1)...)
		m.reported(3)
		is := func(mark int64) {
			t.Helper()
			synctest.Wait()
			if at := b.status(t).GetSessions()[0].GetPartitions()[0].GetAckMark(); at != mark {
				t.Errorf("the will is at %d, want %d", at, mark)
			}
		}
		is(1)
		reached := func(epoch, done, above uint64, at int64) {
			m.send(tell(&sidecarpb.ProcessState{Partitions: []*sidecarpb.PartitionState{{Epoch: epoch, State: "reading", AckMark: at, Done: done, DoneAbove: above, LogEnd: at}}}))
		}
		reached(2, far, 0, far) // an assignment that it does not hold
		reached(1, 5, 9, 5)
		is(1)
		reached(1, far+1, 1, far)
		is(far)
		m.units(from(far+2, far+3)...)
		m.reported(5)
		reached(1, far+2, 0, far+2)
		is(far + 4)
		meter.Collect(t).Want(t, 2, telemetry.Unfollowed, telemetry.App.String("app"))
		time.Sleep(11 * time.Second)
		m.units(from(2*far, 2*far+1)...)
		m.reported(7)
		is(far + 4)
		reached(1, 2*far+2, 0, 2*far+2)
		is(2*far + 2)
		m.cancel()
		time.Sleep(3 * time.Second)
		if at, _ := b.committed(t); at != 2*far+2 {
			t.Errorf("committed %d, want %d", at, 2*far+2)
		}
		if got := meter.Collect(t); !t.Failed() {
			got.Want(t, 4, telemetry.Unfollowed, telemetry.App.String("app"))
		}
	})
	const line = "the will of a process lags"
	if n := strings.Count(log.String(), line); n != 2 || !strings.Contains(log.String(), "inputs=3") {
		t.Errorf("%d lines of %q, want two:\n%s", n, line, log.String())
	}
}
