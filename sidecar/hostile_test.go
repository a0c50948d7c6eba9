package sidecar

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a peer sends without spending credit is kept for its stream's life, so its size is bounded
// (S9): names, assigned topics, headers of emits.
func TestWhatCostsNoCreditIsBounded(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	d := &stream{session: s}
	before := s.stock.kept.Held()
	huge := strings.Repeat("n", 1<<20)
	if err := srv.service.name(d, 7, huge); err != nil {
		t.Fatal(err)
	}
	if n := d.names.At(7); len(n.Name) > 250 || n.Refuse == nil || len(n.Refuse.GetMessage()) > 1000 {
		t.Errorf("%d characters are kept of a name that is no topic's, refused with %.100v", len(n.Name), n.Refuse)
	}
	if err := srv.service.name(d, 7, huge); err != nil {
		t.Errorf("the same name again: %v", err)
	}
	if d.forgetNames(); s.stock.kept.Held() != before {
		t.Errorf("%d bytes are kept of the names of a stream that is over", s.stock.kept.Held()-before)
	}
	if err := s.testAssign(&sidecarpb.Assign{Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: huge}}}); !errors.Is(err, errViolation) {
		t.Errorf("assigned topic: %v", err)
	}
	headers := make([]*sidecarpb.Header, 1000)
	for i := range headers {
		headers[i] = new(sidecarpb.Header)
	}
	e, refused := srv.service.newEmit(s.app, &sidecarpb.Record{Topic: "t", Headers: headers})
	if refused != nil || e.rec.size < 1000*headerCost {
		t.Errorf("an emit with 1000 headers counts %d bytes (%v)", e.rec.size, refused)
	}
}

// within fails the test if what a peer said keeps the sidecar busy for good.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		// Not t.Fatal: what is deferred would wait for the lock that the loop holds.
		fmt.Printf("--- FAIL: %s\n    %s: the sidecar hangs\n", t.Name(), what)
		os.Exit(1)
	}
}

// A count is a peer's word: whatever it is, the work is that of what is here (F1).
func TestCountsOfAPeerAreNotLoopedOver(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	enter := func(p *sidecarpb.AssignedPartition) *epoch {
		within(t, p.String(), func() {
			if err := s.testAssign(&sidecarpb.Assign{Group: "g", Partitions: []*sidecarpb.AssignedPartition{p}}); err != nil {
				t.Error(err)
			}
		})
		return s.epochs[p.GetEpoch()]
	}
	for i, run := range []*sidecarpb.DoneRun{
		{Index: 0, Offset: 0, Count: 1 << 62},
		{Index: 1, Offset: 1, Count: 1 << 62},
		{Index: maxSpan - 1, Offset: 1 << 40, Count: math.MaxUint64},
		{Index: math.MaxUint64, Offset: math.MaxInt64, Count: math.MaxUint64},
		{Index: 5, Offset: math.MinInt64, Count: 1 << 40},
		{Index: 5, Offset: 5},
	} {
		if e := enter(&sidecarpb.AssignedPartition{Epoch: uint64(2*i + 1), Topic: "in", Partition: int32(i), Done: []*sidecarpb.DoneRun{run}}); e.core.Mark() != 0 {
			t.Errorf("%v: the mark is %d, and nothing below the run is known to be done", run, e.core.Mark())
		}
		// The same again and again costs no more.
		many := make([]*sidecarpb.DoneRun, 4096)
		for k := range many {
			many[k] = run
		}
		enter(&sidecarpb.AssignedPartition{Epoch: uint64(2*i + 2), Topic: "in", Partition: int32(i), Done: many, StartIndex: math.MaxUint64 - 3})
	}
	// What an honest client says is believed.
	if e := enter(&sidecarpb.AssignedPartition{Epoch: 99, Topic: "in", StartOffset: 50, StartIndex: 7, Done: []*sidecarpb.DoneRun{{Index: 9, Offset: 52, Count: 3}}}); e.core.Counts().DoneAbove != 3 {
		t.Errorf("%d inputs above the mark are done, want 3", e.core.Counts().DoneAbove)
	}
}

// Releases that wait, and answers that nobody reads, are few (F2).
func TestUnansweredReleasesAreBounded(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	if err := s.testAssign(&sidecarpb.Assign{Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in"}}}); err != nil {
		t.Fatal(err)
	}
	s.epochs[1].open = 1
	release := func(epochs ...uint64) error { return s.release(s.stream, &sidecarpb.Release{Epochs: epochs}) }
	for i := range maxReleases {
		if err := release(1); err != nil {
			t.Fatalf("Release %d of one epoch: %v", i+1, err)
		}
	}
	if err := release(1); !errors.Is(err, errViolation) {
		t.Errorf("the same epoch once more: %v", err)
	}
	var err error
	n := maxReleases + 1
	for ; err == nil && n < 10*maxUnanswered; n++ {
		err = release(7)
	}
	if !errors.Is(err, errViolation) || n != maxUnanswered+1 || len(s.cold) > maxUnanswered {
		t.Errorf("%d Releases are taken without anybody reading an answer, the bound is %d: %v", n-1, maxUnanswered, err)
	}
	// Who reads may go on for ever.
	s = srv.testSession(t)
	defer s.end(errStreamDone)
	var out outgoing
	for range 3 * maxUnanswered {
		if err := s.release(s.stream, new(sidecarpb.Release)); err != nil {
			t.Fatal(err)
		}
		if err := s.take(s.stream, &out); err != nil {
			t.Fatal(err)
		}
	}
}

// F5: four units with a far index took every tracker entry, and other apps' wills committed
// nothing.
func TestOneSessionLeavesTrackerEntriesToOthers(t *testing.T) {
	srv := idle(t)
	hog, other := srv.testSession(t), srv.testSession(t)
	defer hog.end(errStreamDone)
	for _, s := range []*session{hog, other} {
		var parts []*sidecarpb.AssignedPartition
		for e := range uint64(8) {
			parts = append(parts, &sidecarpb.AssignedPartition{Epoch: e + 1, Topic: "in", Partition: int32(e)})
		}
		if err := s.testAssign(&sidecarpb.Assign{Group: "g", Partitions: parts}); err != nil {
			t.Fatal(err)
		}
	}
	hog.mu.Lock()
	for e := range uint64(8) {
		u := &unit{source: true, src: wire.Source{Epoch: e + 1, Index: maxSpan - 1, Offset: maxSpan}}
		if _, refused := hog.source(u, 1, nil); refused != nil {
			t.Error(refused)
		}
	}
	hog.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	for e := range uint64(8) {
		for i := range uint64(2000) {
			u := &unit{source: true, src: wire.Source{Epoch: e + 1, Index: i, Offset: int64(i)}}
			ep, refused := other.source(u, 1, nil)
			if refused != nil {
				t.Fatal(refused)
			}
			u.epoch = ep
			other.finished(u, true)
		}
		if mark := other.epochs[e+1].core.Mark(); mark != 2000 {
			t.Errorf("the mark of a session beside it is %d of 2000", mark)
		}
	}
	other.mu.Unlock()
	other.end(errStreamDone)
	hog.end(errStreamDone)
	other.mu.Lock()
	if lent := srv.sessions.common.entries.Lent() + srv.sessions.common.kept.Lent(); lent != 0 {
		t.Errorf("%d are lent when no session is left", lent)
	}
}

// Credit comes back for units that failed, too: those that may be tried again are sent again, and
// would find none (I5).
func TestFailedUnitsGiveTheirCreditBack(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	f := s.testFrame(1, 3, ledger.Cost{Bytes: 100, Records: 2})
	if err := s.admit(s.stream, f); err != nil {
		t.Fatal(err)
	}
	s.fail(&f.units[0], expiredFailure())
	s.fail(&f.units[1], failure(0, "t", 0, wire.CodeFull, "full"))
	for i := range int32(3) {
		s.finish(f, i)
	}
	var out outgoing
	if err := s.take(s.stream, &out); err != nil || len(out.Failed) != 2 {
		t.Fatal(out.Failed, err)
	}
	if out := s.ledger.Outstanding(); out != (ledger.Outstanding{}) || !s.app.meter.Empty() {
		t.Errorf("%+v is outstanding when all are reported; the app's meter has %v", out, s.app.meter)
	}
}

// Names that apps once used do not keep another one out for ever, where there is no allow-list
// (F5).
func TestIdleAppsMakeRoom(t *testing.T) {
	srv := idle(t)
	keep, err := srv.apps.get("keep", "")
	if err != nil {
		t.Fatal(err)
	}
	keep.leave()
	if _, ok := keep.ring.Reserve(peer.Info{}); !ok {
		t.Fatal("no room for a report")
	}
	for i := range 3 * maxApps {
		a, err := srv.apps.get(fmt.Sprintf("app%d", i), "")
		if err != nil {
			t.Fatalf("app %d: %v", i, err)
		}
		a.leave()
	}
	if again, err := srv.apps.get("keep", ""); err != nil || again != keep {
		t.Errorf("an app with a report that nobody has seen is forgotten: %v", err)
	}
	for i := range maxApps {
		_, err = srv.apps.get(fmt.Sprintf("busy%d", i), "")
	}
	if st := status.Convert(err); st.Code() != codes.ResourceExhausted {
		t.Errorf("%d apps that are in use: %v", maxApps, err)
	}
}
