package txn

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// What is released is committed under the membership that it was released under; what is held
// follows its consumer. Another member id, or a newer assignment of the partition, gives up what
// is undecided.
func TestReleasedKeepsItsMembership(t *testing.T) {
	c := NewClaims(nil)
	of := Holder{Group: "g", Consumer: 1}
	member := func(id string, generation int32) groupcommit.Member {
		return groupcommit.Member{Group: "g", MemberID: id, Generation: generation}
	}
	added := func(epoch uint64, partition int32) Added {
		return Added{Epoch: epoch, Topic: "in", Partition: partition, Core: assignment.New(assignment.Spec{Committed: -1, Limit: 10})}
	}
	c.Assign(of, member("m", 1), []Added{added(1, 0), added(2, 1)})
	one, _ := c.Enter(1, 0, 0, 1)
	two, _ := c.Enter(2, 0, 0, 1)
	c.Release([]uint64{1})
	c.Assign(of, member("m", 2), nil)
	if got := one.member().Generation; got != 1 {
		t.Errorf("what was released is committed under generation %d", got)
	}
	if got := two.member().Generation; got != 2 {
		t.Errorf("what is held is committed under generation %d", got)
	}
	if _, e := c.Enter(1, 1, 1, 1); e != Released {
		t.Errorf("a unit of what was released: %v", e)
	}
	c.Assign(of, member("m", 2), []Added{added(3, 0)})
	if !one.isAbandoned() || two.isAbandoned() {
		t.Error("a newer assignment of a partition gives up what is undecided of it, and nothing else")
	}
	c.Assign(of, member("n", 3), nil)
	if !two.isAbandoned() {
		t.Error("another member id gives up what the one before held")
	}
	one.decided(1)
	if got := c.Live(); len(got) != 2 {
		t.Errorf("live are %v", got)
	}
	if newest := c.at[partitionOf{"g", "in", 0}]; newest != c.live[3] || len(c.at) != 2 {
		t.Errorf("of %d partitions the first is claimed by %+v", len(c.at), newest)
	}
	two.decided(1)
	if c.Release([]uint64{2, 3}); len(c.at) != 0 || len(c.Live()) != 0 {
		t.Errorf("%d partitions are kept of nothing", len(c.at))
	}
}

// The transition table: no event leads out of Ended, and every state but those two can end.
func TestTransitions(t *testing.T) {
	for s := range states {
		for e := range events {
			next := transitions[s][e]
			if next > states || s == Ended && next != Ended && next != no {
				t.Errorf("%v by %v is %v", s, e, next)
			}
			if e == stop && next != Ended {
				t.Errorf("%v does not end: %v", s, next)
			}
		}
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
}

// Ours are our epoch, and the next one where we can have brought it about; a successor's are
// further on, or the coordinator has to be asked.
func TestJudge(t *testing.T) {
	mine := producing{id: "id-0", pid: 7, epoch: 3}
	for _, c := range []struct {
		pid   int64
		epoch int16
		state string
		want  owner
	}{
		{7, 3, "Ongoing", ofUs}, {7, 3, "Empty", ofUs}, {7, 3, "CompleteCommit", ofUs}, {7, 4, "PrepareCommit", ofUs}, {7, 4, "CompleteCommit", ofUs},
		{7, 4, "PrepareAbort", takenSoon}, {7, 4, "CompleteAbort", takenSoon}, {7, 4, "Empty", unclear},
		{7, 4, "Ongoing", ofOthers}, {7, 5, "CompleteAbort", ofOthers}, {7, 5, "Empty", ofOthers}, {8, 3, "Empty", ofOthers}, {8, 0, "Empty", ofOthers}, {7, 2, "Empty", unclear},
	} {
		s := &kmsg.DescribeTransactionsResponseTransactionState{ProducerID: c.pid, ProducerEpoch: c.epoch, State: c.state}
		if got := judge(mine, s); got != c.want {
			t.Errorf("producer %d epoch %d in %s: %v, want %v", c.pid, c.epoch, c.state, got, c.want)
		}
	}
	mine.epoch = 32766 // the next producer id is ours, too
	if got := judge(mine, &kmsg.DescribeTransactionsResponseTransactionState{ProducerID: 8, State: "CompleteCommit"}); got != unclear {
		t.Errorf("behind the last epoch: %v", got)
	}
}

// What a state says of our last transaction: nothing, unless it is of the next epoch.
func TestEndOf(t *testing.T) {
	mine := producing{id: "id-0", pid: 7, epoch: 3}
	for _, c := range []struct {
		pid   int64
		epoch int16
		state string
		want  ending
	}{
		{7, 4, "CompleteCommit", wasCommitted}, {7, 4, "PrepareCommit", wasCommitted}, {7, 4, "CompleteAbort", wasAborted}, {7, 4, "PrepareAbort", wasAborted},
		{7, 3, "Ongoing", wasOpen}, {7, 3, "CompleteCommit", untold}, {7, 4, "Empty", untold},
		{7, 2, "CompleteCommit", untold}, {7, 2, "CompleteAbort", untold}, {7, 2, "Ongoing", untold}, {7, 1, "PrepareCommit", untold},
		{7, 5, "CompleteCommit", untold}, {8, 0, "CompleteCommit", untold},
	} {
		s := &kmsg.DescribeTransactionsResponseTransactionState{ProducerID: c.pid, ProducerEpoch: c.epoch, State: c.state}
		if got := endOf(mine, s); got != c.want {
			t.Errorf("producer %d epoch %d in %s: %v, want %v", c.pid, c.epoch, c.state, got, c.want)
		}
	}
	mine.epoch = lastEpoch
	if got := endOf(mine, &kmsg.DescribeTransactionsResponseTransactionState{ProducerID: 8, State: "CompleteCommit"}); got != wasCommitted {
		t.Errorf("behind the last epoch: %v", got)
	}
}

// However long windows get while units wait, they are at most a quarter of the transactions'
// timeout; while none wait, they are as configured.
func TestPace(t *testing.T) {
	for timeout, most := range map[time.Duration]time.Duration{8 * time.Second: 2 * time.Second, 4 * time.Second: time.Second, time.Minute: 5 * time.Second} {
		p := newPace(time.Second, timeout)
		for range 2 * saturatedBy {
			p.ended(time.Time{}, time.Hour, 100, 80)
		}
		if p.interval != most {
			t.Errorf("timeout %s: a saturated window takes %s, want %s", timeout, p.interval, most)
		}
		if p.ended(time.Time{}, time.Hour, 100, 0); p.interval != time.Second {
			t.Errorf("timeout %s: a window for which nothing waited takes %s", timeout, p.interval)
		}
	}
}

// Where units come all the time some wait at every close, and windows stay as they are: that is no
// crowd.
func TestAnOpenLoopIsNoCrowd(t *testing.T) {
	p := newPace(100*time.Millisecond, time.Minute)
	for _, took := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		perMs := 7
		for range 10 * saturatedBy {
			cycle := p.interval + took
			p.ended(time.Time{}, took, int(cycle.Milliseconds())*perMs, int(took.Milliseconds())*perMs)
			if p.interval != 100*time.Millisecond {
				t.Fatalf("a close takes %s, and windows take %s", took, p.interval)
			}
		}
	}
	for range saturatedBy {
		p.ended(time.Time{}, 20*time.Millisecond, 3, 3)
	}
	if p.interval != 200*time.Millisecond {
		t.Errorf("of a window as many wait as it had, again and again, and windows take %s", p.interval)
	}
}

// A window of many units, or of large ones, after which nothing comes for a while, does not wait
// for its time: who has sent them may wait for their commit before it sends more.
func TestManyUnitsDoNotWait(t *testing.T) {
	p := newPace(time.Second, time.Minute)
	p.ended(time.Unix(100, 0), 0, 1, 0)
	opened, last := time.Unix(100, 0), time.Unix(100, 0).Add(300*time.Millisecond)
	due, quiet := time.Unix(101, 0), last.Add(alone)
	for _, c := range []struct {
		units int
		bytes int64
		want  time.Time
	}{{1, 0, due}, {sendEvery - 1, sendBytes - 1, due}, {sendEvery, 0, quiet}, {sendEvery, sendBytes, quiet}, {4, sendBytes, quiet}} {
		w := newWindow(opened, nil)
		w.units, w.bytes = c.units, c.bytes
		if got := p.closes(w, last); !got.Equal(c.want) {
			t.Errorf("%d units of %d bytes: it closes %s after it was opened, want %s", c.units, c.bytes, got.Sub(opened), c.want.Sub(opened))
		}
		if late := due.Add(-time.Millisecond); !p.closes(w, late).Equal(due) {
			t.Errorf("%d units of %d bytes, the last one just now: it closes later than it is due", c.units, c.bytes)
		}
	}
}

// Where a transaction is dear, units come late, too: a longer quiet is waited for, to a bound.
func TestADearTransactionWaitsForALongerQuiet(t *testing.T) {
	p := newPace(time.Second, time.Minute)
	w := newWindow(time.Unix(100, 0), nil)
	w.units = sendEvery
	for _, c := range []struct{ cost, quiet time.Duration }{
		{time.Millisecond, alone}, {2 * alone, 2 * alone}, {time.Second, quietMost}, {0, alone},
	} {
		p.ended(time.Unix(100, 0), c.cost, 1, 0)
		if got := p.closes(w, w.opened).Sub(w.opened); got != c.quiet {
			t.Errorf("behind a transaction that took %s beside its records: it closes %s after its last unit, want %s", c.cost, got, c.quiet)
		}
	}
}

// Behind a window of far more units a longer quiet is waited for: those who sent them have only
// just heard of it.
func TestAFewUnitsBehindManyWaitForMore(t *testing.T) {
	p := newPace(time.Second, time.Minute)
	w := newWindow(time.Unix(100, 0), nil)
	w.units = sendEvery
	for _, c := range []struct {
		before int
		quiet  time.Duration
	}{{sendEvery, alone}, {smallUnits * sendEvery, alone}, {smallUnits*sendEvery + smallUnits, smallTimes * alone}} {
		p.ended(time.Unix(100, 0), 0, c.before, 0)
		if got := p.closes(w, w.opened).Sub(w.opened); got != c.quiet {
			t.Errorf("behind a window of %d units: one of %d closes %s after its last unit, want %s", c.before, w.units, got, c.quiet)
		}
	}
}

// A client that lets go of what waits, again on each of its streams, makes nothing grow.
func TestReleasesOfFormerStreamsAreForgotten(t *testing.T) {
	c := NewClaims(nil)
	of := Holder{Group: "g"}
	c.Assign(of, groupcommit.Member{Group: "g", MemberID: "m"}, []Added{{Epoch: 1, Topic: "in", Core: assignment.New(assignment.Spec{Committed: -1, Limit: 10})}})
	c.Enter(1, 0, 0, 1)
	for range 100 {
		c.Release([]uint64{1})
		c.Forgotten()
	}
	if n := len(c.live[1].leaving); n != 1 {
		t.Errorf("%d releases are waited for, want 1", n)
	}
	last, gone := c.Release([]uint64{1})
	if len(gone) != 0 {
		t.Error("a release of what was let go is a first one")
	}
	c.live[1].decided(1)
	if !last.Over() {
		t.Error("the last one is not told that it is over")
	}
}

// A unit is wanted until its input is committed, and while its claim is held: Wants says beforehand
// what Enter will not refuse, or know already.
func TestWants(t *testing.T) {
	c := NewClaims(nil)
	of := Holder{Group: "g", Consumer: 1}
	m := groupcommit.Member{Group: "g", MemberID: "m", Generation: 1}
	core := func() *assignment.Assignment { return assignment.New(assignment.Spec{Committed: -1, Limit: 10}) }
	c.Assign(of, m, []Added{
		{Epoch: 1, Topic: "in", Core: core(), Committed: []donemeta.Run{{First: 3, Last: 4}}}, {Epoch: 2, Topic: "in", Partition: 1, Core: core()},
	})
	wants := func(epoch, index uint64, offset int64, want bool) {
		t.Helper()
		if got := c.Wants(epoch, index, offset); got != want {
			t.Errorf("epoch %d, index %d, offset %d: %v", epoch, index, offset, got)
		}
	}
	wants(1, 0, 0, true)
	wants(3, 0, 0, false) // never announced
	c.Enter(1, 0, 0, 1)
	wants(1, 0, 0, true) // its dead letter may come
	c.Enter(1, 1, 1, 1)
	c.live[1].core.Done(1)
	wants(1, 1, 1, false) // known
	wants(1, 2, 3, false) // committed by somebody before
	wants(1, 2, 5, true)
	c.Release([]uint64{2})
	wants(2, 0, 0, false)
}
