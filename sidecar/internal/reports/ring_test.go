package reports

import (
	"math"
	"sync/atomic"
	"testing"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A cursor that no report of this sidecar had is from another life: nothing is dropped for it
// (I12).
func TestAForeignCursorDropsNothing(t *testing.T) {
	me := peer.Info{}
	r := New(8, false, limit.NewCommons(64, 1).Share(), new(atomic.Int32))
	var ids []uint64
	for range 3 {
		id, ok := r.Reserve(me)
		if !ok {
			t.Fatal("no room")
		}
		r.Finish(&sidecarpb.EmitReport{ReportId: id})
		ids = append(ids, id)
	}
	for _, foreign := range []uint64{ids[2] + 1, ids[2] + 100, math.MaxUint64, ids[0] - 1, 1, 0} {
		if cursor, _ := r.Forget(me, foreign); cursor != ids[0] {
			t.Errorf("cursor %d of %v: goes on from %d", foreign, ids, cursor)
		}
	}
	if batch, _ := r.Read(me, 0, 10); len(batch) != 3 {
		t.Errorf("%d of 3 reports are left", len(batch))
	}
	if cursor, _ := r.Forget(me, ids[1]); cursor != ids[2] {
		t.Errorf("its own cursor: goes on from %d, want %d", cursor, ids[2])
	}
	r.Forget(me, ids[2])
	if used, _, _ := r.Status(); used != 0 || r.places.Held() != 0 || len(r.kept)+len(r.shelves) != 0 {
		t.Errorf("%d used, %d places held, %d kept when all are seen", used, r.places.Held(), len(r.kept))
	}
}

// A report that was read gives its place back, to its app and to all apps.
func TestReportsGiveTheirPlacesBack(t *testing.T) {
	all := limit.NewCommons(8, 1)
	r := New(4, true, all.Share(), new(atomic.Int32))
	for i := range 100 {
		id, ok := r.Reserve(peer.Info{})
		if !ok {
			t.Fatalf("no place for report %d, with none that is not read", i)
		}
		r.Finish(&sidecarpb.EmitReport{ReportId: id})
		r.Forget(peer.Info{}, id)
	}
	if used, _, _ := r.Status(); used != 0 || r.places.Held() != 0 || all.Lent() != 0 || len(r.kept) != 0 {
		t.Errorf("used %d, held %d, lent %d, %d reports", used, r.places.Held(), all.Lent(), len(r.kept))
	}
}
