package txn

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// A group that is away, or was, is forgotten when nothing has waited for it for long, and its probe
// ends; one that something waits for is not.
func TestAbsentGroupsAreForgotten(t *testing.T) {
	p := newParked()
	stopped := map[string]bool{}
	for _, group := range []string{"stays away", "answered", "just now", "waited for"} {
		a, _ := p.absent.miss(group)
		a.stop = func() { stopped[group] = true }
		if group != "just now" {
			a.since = time.Now().Add(-awayKept - time.Second)
		}
		a.told = group == "answered"
	}
	st := &Claim{of: NewClaims(nil), holder: Holder{Group: "waited for"}}
	p.park(parkingOf(st), Run{&unitsOf{claims: []*Claim{st}}, 0, 1})
	if on := p.goOn(); len(on) > 0 {
		t.Errorf("%v go on", on)
	}
	if len(p.absent) != 2 || p.absent["just now"] == nil || p.absent["waited for"] == nil {
		t.Errorf("known are %v", p.absent)
	}
	if len(stopped) != 2 || !stopped["stays away"] {
		t.Errorf("stopped are the probes of %v", stopped)
	}
}

// A holder whose generation was refused is forgotten with the last that it holds, though others of
// its process go on.
func TestRefusedHoldersAreForgotten(t *testing.T) {
	c, p := NewClaims(nil), newParked()
	assign := func(of Holder, epoch uint64) *Claim {
		core := assignment.New(assignment.Spec{Committed: -1, Limit: 10})
		c.Assign(of, groupcommit.Member{Group: of.Group, MemberID: "m", Generation: 1}, []Added{{Epoch: epoch, Topic: "in", Partition: int32(epoch), Core: core}})
		return c.live[epoch]
	}
	stays := assign(Holder{Group: "g", Consumer: 1}, 1)
	goes := assign(Holder{Group: "g", Consumer: 2}, 2)
	also := assign(Holder{Group: "g", Consumer: 2}, 3)
	p.refuse(stays, -1, func() {})
	p.refuse(goes, -1, func() {})
	c.Release([]uint64{goes.Epoch})
	if p.goOn(); len(p.stale) != 2 {
		t.Errorf("%d holders are known, want both", len(p.stale))
	}
	c.Release([]uint64{also.Epoch})
	if p.goOn(); len(p.stale) != 1 || p.stale[parkingOf(stays)] == nil {
		t.Errorf("%d holders are known, want the one that holds something", len(p.stale))
	}
	if len(c.holds) != 1 {
		t.Errorf("counted are %v", c.holds)
	}
}

// However many topics there were, so many are remembered; and the last one is.
func TestTopicsAreBounded(t *testing.T) {
	topics := &topics{exist: map[string]bool{}}
	for i := range 2*maxExist + 1 {
		topics.exists(fmt.Sprint(i))
		if len(topics.exist) > maxExist {
			t.Fatalf("%d topics", len(topics.exist))
		}
	}
	if known, err := topics.known(fmt.Sprint(2*maxExist), false); !known || err != nil {
		t.Errorf("the last one: known %v, error %v", known, err)
	}
}

// Of answers that come at once, in several versions, the lowest stays: by a later one topics would
// be taken for named by their ids, and not be asked for.
func TestLowestVersionStays(t *testing.T) {
	const rounds = 50_000
	var all sync.WaitGroup
	ins := make([]*inputs, rounds)
	for i := range ins {
		ins[i] = newInputs()
	}
	var ready atomic.Int32
	for _, v := range []int16{offsetsByID, offsetsByID - 1} {
		all.Go(func() {
			for ready.Add(1); ready.Load() < 2; {
				runtime.Gosched()
			}
			for _, in := range ins {
				in.answeredIn(v)
			}
		})
	}
	all.Wait()
	for i, in := range ins {
		if got := in.named.Load(); got != offsetsByID-1 {
			t.Fatalf("version %d stays of round %d", got, i)
		}
	}
}
