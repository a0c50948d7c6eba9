package sidecar

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a peer sends without spending credit is kept for its stream's life, so its size is bounded
// (S9): names, assigned topics, headers of emits.
func TestWhatCostsNoCreditIsBounded(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	d := &stream{session: s}
	before := s.held.Kept().Held()
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
	if d.forgetNames(); s.held.Kept().Held() != before {
		t.Errorf("%d bytes are kept of the names of a stream that is over", s.held.Kept().Held()-before)
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

// Releases that wait, and answers that nobody reads, are few (F2).
func TestUnansweredReleasesAreBounded(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	defer s.end(errStreamDone)
	if err := s.testAssign(&sidecarpb.Assign{Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in"}}}); err != nil {
		t.Fatal(err)
	}
	s.held.Partition(1).Open = 1
	release := func(epochs ...uint64) error { return s.release(s.stream, &sidecarpb.Release{Epochs: epochs}) }
	for i := range assigned.MaxReleases {
		if err := release(1); err != nil {
			t.Fatalf("Release %d of one epoch: %v", i+1, err)
		}
	}
	if err := release(1); !errors.Is(err, errViolation) {
		t.Errorf("the same epoch once more: %v", err)
	}
	var err error
	n := assigned.MaxReleases + 1
	for ; err == nil && n < 10*assigned.MaxUnanswered; n++ {
		err = release(7)
	}
	if !errors.Is(err, errViolation) || n != assigned.MaxUnanswered+1 || len(s.cold) > assigned.MaxUnanswered {
		t.Errorf("%d Releases are taken without anybody reading an answer, the bound is %d: %v", n-1, assigned.MaxUnanswered, err)
	}
	// Who reads may go on for ever.
	s = srv.testSession(t)
	defer s.end(errStreamDone)
	var out outgoing
	for range 3 * assigned.MaxUnanswered {
		if err := s.release(s.stream, new(sidecarpb.Release)); err != nil {
			t.Fatal(err)
		}
		if err := s.take(s.stream, &out); err != nil {
			t.Fatal(err)
		}
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
	if out := s.ledger.Outstanding(); out != (ledger.Outstanding{}) || !s.app.Outstanding.Empty() {
		t.Errorf("%+v is outstanding when all are reported; the app's meter has %v", out, s.app.Outstanding)
	}
}

// Names that apps once used do not keep another one out for ever, where there is no allow-list
// (F5).
func TestIdleAppsMakeRoom(t *testing.T) {
	srv := idle(t)
	keep, err := srv.apps.Get("keep", "")
	if err != nil {
		t.Fatal(err)
	}
	keep.Leave()
	if _, ok := keep.Ring.Reserve(peer.Info{}); !ok {
		t.Fatal("no room for a report")
	}
	for i := range 3 * apps.MaxApps {
		a, err := srv.apps.Get(fmt.Sprintf("app%d", i), "")
		if err != nil {
			t.Fatalf("app %d: %v", i, err)
		}
		a.Leave()
	}
	if again, err := srv.apps.Get("keep", ""); err != nil || again != keep {
		t.Errorf("an app with a report that nobody has seen is forgotten: %v", err)
	}
	for i := range apps.MaxApps {
		_, err = srv.apps.Get(fmt.Sprintf("busy%d", i), "")
	}
	if st := status.Convert(err); st.Code() != codes.ResourceExhausted {
		t.Errorf("%d apps that are in use: %v", apps.MaxApps, err)
	}
}
