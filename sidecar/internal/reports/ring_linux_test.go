//go:build !portable

package reports

import (
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// living is this process, which lives.
func living(t *testing.T) *peer.Process {
	t.Helper()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	p := peer.Watch(fd)
	t.Cleanup(p.Close)
	return p
}

// emitted are reports of a process's emits, finished.
func emitted(t *testing.T, r *Ring, p peer.Info, n int) (ids []uint64) {
	t.Helper()
	for range n {
		id, ok := r.Reserve(p)
		if !ok {
			t.Fatal("no room")
		}
		r.Finish(&sidecarpb.EmitReport{ReportId: id})
		ids = append(ids, id)
	}
	return ids
}

func idsOf(batch []*sidecarpb.EmitReport) (ids []uint64) {
	for _, x := range batch {
		ids = append(ids, x.GetReportId())
	}
	return ids
}

// Without a token the reports of a process are its own, as a session is; a cursor of another one
// drops none of them.
func TestReportsBelongToWhoEmitted(t *testing.T) {
	conn := new(net.UnixConn)
	me, twin := peer.Info{Conn: conn, UID: 1, PID: 7, Inode: 70}, peer.Info{Conn: conn, UID: 1, PID: 7, Inode: 70}
	other, user := peer.Info{Conn: conn, UID: 1, PID: 8, Inode: 80}, peer.Info{Conn: conn, UID: 2, PID: 7, Inode: 71}
	for _, token := range []bool{false, true} {
		var pidfds atomic.Int32
		r := New(8, token, limit.NewCommons(64, 1).Share(), &pidfds)
		mine := emitted(t, r, me, 2)
		r.shelves[0].process = living(t)
		theirs := emitted(t, r, other, 1)
		if !token {
			r.shelves[1].process = living(t)
		}
		for name, x := range map[string]struct {
			p    peer.Info
			want []uint64
		}{"its process": {me, mine}, "another connection of it": {twin, mine}, "another process": {other, theirs}, "another user": {user, nil}} {
			want := x.want
			if token {
				want = slices.Concat(mine, theirs)
			}
			cursor, others := r.Forget(x.p, 0)
			got, _ := r.Read(x.p, cursor, 10)
			if !slices.Equal(idsOf(got), want) || others != (want == nil) {
				t.Errorf("token %t, %s reads %v, want %v; nothing is its own: %t", token, name, idsOf(got), want, others)
			}
		}
		if token {
			continue
		}
		r.Forget(other, mine[1])
		r.Forget(user, theirs[0])
		if used, oldest, _ := r.Status(); used != 3 || oldest != mine[0] {
			t.Errorf("%d reports are left from %d on, want 3 from %d: another's cursor dropped some", used, oldest, mine[0])
		}
		r.Forget(other, theirs[0])
		if got, _ := r.Read(me, 0, 10); !slices.Equal(idsOf(got), mine) {
			t.Errorf("%v are left, want %v", idsOf(got), mine)
		}
	}
}

// A process's next one of the same user has the reports that nobody saw, and a cursor of its own
// does not drop them unseen.
func TestReportsOfAFormerProcess(t *testing.T) {
	conn := new(net.UnixConn)
	old := peer.Info{Conn: conn, UID: 1, PID: 7, Inode: 70}
	next, stranger := peer.Info{Conn: conn, UID: 1, PID: 8, Inode: 80}, peer.Info{Conn: conn, UID: 2, PID: 9, Inode: 90}
	for _, own := range []int{0, 2} {
		var pidfds atomic.Int32
		r := New(8, false, limit.NewCommons(64, 1).Share(), &pidfds)
		left := emitted(t, r, old, 3)
		r.shelves[0].process = living(t)
		mine := emitted(t, r, next, own)
		if cursor, others := r.Forget(next, 0); others != (own == 0) || own > 0 && cursor != mine[0] {
			t.Errorf("while the former one lives: cursor %d, others %t", cursor, others)
		}
		for _, sh := range r.shelves {
			sh.process = nil // it is not proven to live any more
		}
		if _, others := r.Forget(stranger, 0); !others {
			t.Error("another user inherits")
		}
		seen := uint64(0)
		if own > 0 {
			seen = mine[0]
		}
		cursor, _ := r.Forget(next, seen)
		got, _ := r.Read(next, cursor, 10)
		if want := append(slices.Clone(left), mine[min(1, own):]...); !slices.Equal(idsOf(got), want) {
			t.Errorf("with %d of its own it reads %v, want %v", own, idsOf(got), want)
		}
		if cursor, _ = r.Forget(next, seen); cursor != left[0] {
			t.Errorf("its cursor said again drops what it has not seen: goes on from %d, want %d", cursor, left[0])
		}
		r.Forget(next, idsOf(got)[len(got)-1])
		if used, _, _ := r.Status(); used != 0 || r.places.Held() != 0 || len(r.shelves) != 0 || pidfds.Load() != 0 {
			t.Errorf("%d used, %d places, %d shelves, %d pidfds when all are seen", used, r.places.Held(), len(r.shelves), pidfds.Load())
		}
	}
}

// What is kept for each process is bounded, and none of it is kept when its reports are seen.
func TestShelvesOfReportsAreBounded(t *testing.T) {
	var pidfds atomic.Int32
	r := New(1000, false, limit.NewCommons(4096, 1).Share(), &pidfds)
	for i := range maxShelves {
		emitted(t, r, peer.Info{Conn: new(net.UnixConn), UID: uint32(i), Inode: uint64(i) + 1}, 1)
	}
	if _, ok := r.Reserve(peer.Info{Conn: new(net.UnixConn), UID: 9999, Inode: 9999}); ok {
		t.Error("more processes than are kept apart")
	}
	if used, _, _ := r.Status(); used != maxShelves || r.places.Held() < maxShelves {
		t.Errorf("%d used, %d places held", used, r.places.Held())
	}
	if _, ok := r.Reserve(peer.Info{Conn: new(net.UnixConn), UID: 0, Inode: 1}); !ok {
		t.Error("a process that has some is refused")
	}
	pidfds.Store(maxPidfds)
	r.Forget(peer.Info{Conn: new(net.UnixConn), UID: 1, Inode: 2}, r.shelves[1].ids[0])
	if _, ok := r.Reserve(peer.Info{Conn: new(net.UnixConn), UID: 9999, Inode: 9999}); ok || len(r.shelves) != maxShelves-1 {
		t.Errorf("a pidfd too many, or a seen report is kept: %d shelves", len(r.shelves))
	}
}
