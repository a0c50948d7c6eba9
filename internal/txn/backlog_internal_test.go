package txn

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// fed are the runs of the next window of a backlog.
func fed(b *backlog, in *intake) []Run {
	w := newWindow(time.Time{}, nil)
	b.feed(w, in)
	return w.runs
}

func emptyBacklog(units int) (*backlog, *intake) {
	return &backlog{parked: newParked()}, &intake{bounds: bounds{records: 1, bytes: 1, units: units}}
}

// What is tried again has its windows alone, before what was pushed; windows are cut between units.
func TestBacklogOrder(t *testing.T) {
	b, in := emptyBacklog(2)
	old, young := &unitsOf{claims: make([]*Claim, 3)}, &unitsOf{claims: make([]*Claim, 3)}
	b.add(young.all())
	b.retry([]Run{old.all()})
	for i, want := range [][]Run{{{old, 0, 2}}, {{old, 2, 3}}, {{young, 0, 2}}, {{young, 2, 3}}, nil} {
		if got := fed(b, in); !slices.Equal(got, want) {
			t.Errorf("window %d has %v, want %v", i, got, want)
		}
	}
}

// To flush is to close windows early until nothing of what was there waits.
func TestBacklogFlushes(t *testing.T) {
	b, in := emptyBacklog(2)
	var pushed inbox
	pushed.init()
	_ = pushed.push((&unitsOf{claims: make([]*Claim, 3)}).all())
	pushed.flushes()
	b.receive(&pushed)
	for i, want := range []bool{true, false} {
		fed(b, in)
		if b.taken(); b.flushing != want {
			t.Errorf("after window %d it is flushed: %v", i, b.flushing)
		}
	}
}

// Units of a group that is away, or behind such, wait in order; those of claims that were given up
// are dropped; others go on. Then what waited is before what came later.
func TestBacklogParks(t *testing.T) {
	b, in := emptyBacklog(0)
	away, other := &Claim{of: NewClaims(nil), holder: Holder{Group: "away"}}, &Claim{of: NewClaims(nil), holder: Holder{Group: "other"}}
	given := &Claim{of: NewClaims(nil), state: abandoned}
	at, pause := b.parked.absent.miss("away")
	if again, _ := b.parked.absent.miss("away"); pause != awayAfter || again != nil {
		t.Errorf("a group is left alone for %s, and noted twice: %v", pause, again != nil)
	}
	first, late := &unitsOf{claims: []*Claim{away, other, given, away}}, &unitsOf{claims: []*Claim{away, nil}}
	b.add(first.all())
	if got, want := fed(b, in), []Run{{first, 1, 2}}; !slices.Equal(got, want) {
		t.Errorf("while a group is away a window has %v, want %v", got, want)
	}
	if !maps.EqualFunc(first.fates, map[string][]int{"dropped": {2}}, slices.Equal) {
		t.Errorf("fates are %v", first.fates)
	}
	b.unpark()
	at.over.Store(true)
	b.add(late.all())
	told := 0
	for range 2 {
		b.parked.absent.back(func(string, time.Duration) { told++ })
	}
	b.unpark()
	if got, want := fed(b, in), []Run{{first, 0, 1}, {first, 3, 4}, {late, 0, 2}}; !slices.Equal(got, want) || told != 1 {
		t.Errorf("when it is back, which was told %d times, a window has %v, want %v", told, got, want)
	}
}

// Behind a unit whose offset is refused all of its claim is taken out, wherever it waits.
func TestBacklogBehindARefusedOffset(t *testing.T) {
	b, in := emptyBacklog(0)
	bad, good := &Claim{of: NewClaims(nil)}, &Claim{of: NewClaims(nil)}
	of := &unitsOf{claims: []*Claim{bad, good}}
	var pushed inbox
	pushed.init()
	_ = pushed.push(of.all())
	b.add(of.all())
	b.retry([]Run{of.all()})
	b.parked.park(parkingOf(bad), Run{of, 0, 1})
	behind := b.takeBehind(&pushed, map[*Claim]error{bad: errors.New("refused")})
	if countUnits(behind) != 4 || pushed.units() != 0 {
		t.Errorf("%d units are behind it, want 4", countUnits(behind))
	}
	if got := fed(b, in); !slices.Equal(got, []Run{{of, 1, 2}}) {
		t.Errorf("left is %v", got)
	}
}

// Of units that failed by their batch windows are halved in front of the last one until it is
// alone, and grow again; one that failed by itself is found.
func TestBounds(t *testing.T) {
	var b bounds
	batch := func(places ...int) map[int]error {
		failed := map[int]error{}
		for _, p := range places {
			failed[p] = &RecordError{Err: kerr.InvalidRecord}
		}
		return failed
	}
	for _, c := range []struct {
		failed      map[int]error
		units, left int
	}{{batch(3, 9), 5, 0}, {batch(0, 1), 1, 0}, {batch(0), 1, 1}} {
		if b.shrink(c.failed); b.units != c.units || len(c.failed) != c.left {
			t.Errorf("windows have %d units, and guilty are %v; want %d and %d", b.units, c.failed, c.units, c.left)
		}
	}
	alone := batch(4, 5)
	alone[2] = &RecordError{Err: kerr.MessageTooLarge, alone: true}
	if b.shrink(alone); b.units != 3 || len(alone) != 1 || alone[2] == nil {
		t.Errorf("guilty are %v", alone)
	}
	for range 12 {
		b.grow()
	}
	if b.units != 0 {
		t.Errorf("windows have %d units in the end", b.units)
	}
}

// What fails again and again waits longer each time, up to a second, unless it gets on.
func TestPauseAfterAborts(t *testing.T) {
	p := newPace(time.Second, time.Minute)
	last := time.Duration(0)
	for i := range 12 {
		p.aborted(false)
		if now := p.pause(); now < last || i == 0 && now != 0 {
			t.Errorf("a pause of %s follows one of %s", now, last)
		} else {
			last = now
		}
	}
	if last != time.Second {
		t.Errorf("the longest pause is %s", last)
	}
	if p.aborted(true); p.pause() != 0 {
		t.Errorf("a window that found a guilty unit waits %s", p.pause())
	}
	p.aborted(false)
	p.aborted(false)
	if p.ended(time.Time{}, 0, 1, 0); p.pause() != 0 {
		t.Errorf("behind a window that was committed %s", p.pause())
	}
}
