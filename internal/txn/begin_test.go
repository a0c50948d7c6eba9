package txn_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// Three processes begin with the same id at once: one stays, in whatever order they take its ids.
func TestThreeBeginAtOnce(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	rounds := 40
	if testing.Short() || underRace {
		rounds = 10
	}
	for round := range rounds {
		var lanes [3]*txn.Lane
		var all sync.WaitGroup
		for i := range lanes {
			all.Go(func() { lanes[i] = r.newLane(func(cfg *txn.Config) { cfg.Over = nil }) })
		}
		all.Wait()
		var us [3]*units
		for i, l := range lanes {
			r.claims = r.newClaims() // a process's own
			r.assign(uint64(100+round), 0)
			us[i] = r.enter(uint64(100+round), 0, 1, value(100*round+i))
			l.Push(txn.Run{Batch: us[i], From: 0, To: 1})
		}
		stay := 0
		for i, u := range us {
			switch err := u.await()[0]; {
			case errors.Is(err, errCommitted):
				stay++
			case !errors.Is(err, txn.ErrTaken):
				t.Errorf("round %d: lane %d ended with %v", round, i, err)
			}
		}
		if stay != 1 {
			t.Errorf("round %d: %d processes stay", round, stay)
		}
		for _, l := range lanes {
			l.Close()
		}
	}
}

// lookedAt calls fn when the next lane that begins has taken its ids, and looks whether they are
// still its own.
func (r *rig) lookedAt(fn func()) {
	r.skipsUnderRace()
	var once sync.Once
	swept := false
	r.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		switch ids := kreq.(*kmsg.DescribeTransactionsRequest).TransactionalIDs; {
		case len(ids) > len(allIDs): // of a predecessor with more lanes: the last thing before it looks
			swept = true
		case swept && len(ids) == 1 && ids[0] == "id-0":
			once.Do(func() { r.cluster.SleepControl(fn) })
		}
		return nil, nil, false
	})
}

// Who has taken the last id from a process that begins is gone: it was killed then, or was a
// predecessor that has ended by it. The process that begins is the only one, and stays.
func TestLastIDIsTakenByNobody(t *testing.T) {
	for name, ids := range map[string][]string{"alone": {"id-o8"}, "with its neighbour": {"id-o0", "id-o8"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lane.Close()
			r.lookedAt(func() {
				for _, id := range ids {
					r.takes(id)
				}
			})
			r.lane = r.newLane()
			t.Cleanup(r.lane.Close)
			for i := range 4 { // all ids
				r.push(1, 2*i, 1, value(i)).allCommitted()
				r.push(1, 2*i+1, 1, none).allCommitted()
			}
			r.check(8, map[int32]int64{0: 8})
		})
	}
}

// Who has lost the last id, and a twin, to another one that begins ends, and takes nothing from it.
func TestSuccessorHasTheLastID(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.lookedAt(func() {
		r.takes("id-1")
		r.takes("id-o8")
	})
	l := r.newLane()
	t.Cleanup(l.Close)
	for _, id := range []string{"id-1", "id-o8"} {
		before, err := r.admin.DescribeTransactions(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if epoch := before[id].ProducerEpoch; epoch != 2 {
			t.Fatalf("%s has epoch %d: it was taken from who has it", id, epoch)
		}
	}
	r.awaitTaken()
}

// A predecessor with more lanes has taken one of its ids again when this process had taken it: it
// is taken from it before this process begins, or it would go on with it.
func TestRobbedByAPredecessorWithMoreLanes(t *testing.T) {
	for _, id := range []string{"id-2", "id-15", "id-o1", "id-o15"} {
		t.Run(id, func(t *testing.T) {
			r := newRig(t)
			r.lane.Close()
			r.takes(id)
			r.lookedAt(func() { r.takes(id) })
			r.lane = r.newLane()
			t.Cleanup(r.lane.Close)
			got, err := r.admin.DescribeTransactions(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if epoch := got[id].ProducerEpoch; epoch != 3 {
				t.Errorf("its epoch is %d: the predecessor has it", epoch)
			}
			r.push(1, 0, 1, value(1)).allCommitted()
		})
	}
}
