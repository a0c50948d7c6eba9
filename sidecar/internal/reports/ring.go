package reports

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Ring keeps the reports of an app's queued emits until who emitted has seen them. A report
// has its place from the moment its record is accepted, so there is no moment at which one could be
// dropped (S12): a full ring refuses new records instead.
type Ring struct {
	Size  int
	token bool // the app's token makes all its processes one

	mu      sync.Mutex
	places  limit.Share // of what all apps may have
	shelves []*shelf
	kept    map[uint64]*report // by id; not an array: most apps have few
	next    uint64
	changed chan struct{} // closed when a report is finished; nil: nobody waits
	pidfds  *atomic.Int32 // of the shelves of all apps
}

// Places is the ring's share of what all apps may have.
func (r *Ring) Places() *limit.Share { return &r.places }

// ByToken tells whether the app's token makes all its processes one from now on.
func (r *Ring) ByToken(token bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = token
}

// report is the place of one.
type report struct {
	of   *shelf
	said *sidecarpb.EmitReport // nil: not finished
}

// shelf has the reports of who emitted: a process, or all that have the same credentials. It is
// there while it has one.
type shelf struct {
	owner   peer.Info
	process *peer.Process // nil: not known
	ids     []uint64      // in order
}

const (
	maxShelves = 64   // of one app
	maxPidfds  = 1024 // of all shelves
)

// New numbers reports from the time on: after a restart ids go on above the old ones, so
// that an old cursor does not swallow new reports.
func New(size int, token bool, places limit.Share, pidfds *atomic.Int32) *Ring {
	return &Ring{Size: size, token: token, places: places, next: uint64(time.Now().UnixMilli()) << 20, pidfds: pidfds}
}

// Reserve gives a new report of who emits its place, or false if the ring is full.
func (r *Ring) Reserve(p peer.Info) (id uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= r.Size || !r.places.Take(1) {
		return 0, false
	}
	sh := r.shelfOf(p)
	if sh == nil {
		if sh = r.newShelf(p); sh == nil {
			r.places.Give(1)
			return 0, false
		}
	}
	if r.kept == nil {
		r.kept = make(map[uint64]*report)
	}
	id = r.next
	r.next++
	sh.ids = append(sh.ids, id)
	r.kept[id] = &report{of: sh}
	return id, true
}

// shelfOf finds the reports of who asks, or nil. mu is held.
func (r *Ring) shelfOf(p peer.Info) *shelf {
	for _, sh := range r.shelves {
		if sh.ownedBy(r.token, p) {
			return sh
		}
	}
	return nil
}

func (sh *shelf) ownedBy(token bool, p peer.Info) bool {
	return peer.SameOwner(token, sh.owner, p, sh.process)
}

// newShelf makes one, or returns nil if there are too many. mu is held.
func (r *Ring) newShelf(p peer.Info) *shelf {
	sh := &shelf{owner: p}
	if len(r.shelves) == maxShelves || !r.watch(sh) {
		return nil
	}
	r.shelves = append(r.shelves, sh)
	return sh
}

// watch opens the process of the shelf's owner, if that decides about it. mu is held.
func (r *Ring) watch(sh *shelf) bool {
	if r.token || sh.owner.Conn == nil {
		return true
	}
	if r.pidfds.Add(1) > maxPidfds {
		r.pidfds.Add(-1)
		return false
	}
	if sh.process = peer.Open(sh.owner); sh.process == nil {
		r.pidfds.Add(-1)
	}
	return true
}

func (r *Ring) unwatch(sh *shelf) {
	if sh.process != nil {
		sh.process.Close()
		sh.process = nil
		r.pidfds.Add(-1)
	}
}

// drop forgets a shelf without reports. mu is held.
func (r *Ring) drop(sh *shelf) {
	r.unwatch(sh)
	r.shelves = slices.DeleteFunc(r.shelves, func(x *shelf) bool { return x == sh })
}

// inherit gives who asks the reports of former processes of its user. They come in their place: a
// cursor that is none of them says nothing of them. mu is held.
func (r *Ring) inherit(p peer.Info) {
	for _, old := range slices.Clone(r.shelves) {
		if old.ownedBy(r.token, p) || !peer.FormerOf(old.process, old.owner, p) {
			continue
		}
		sh := r.shelfOf(p)
		if sh == nil {
			r.unwatch(old)
			old.owner = p
			r.watch(old)
			continue
		}
		for _, id := range old.ids {
			r.kept[id].of = sh
		}
		sh.ids = append(sh.ids, old.ids...)
		slices.Sort(sh.ids)
		r.drop(old)
	}
}

// Left is what is kept: reports, those of them that are finished, places that are taken, and
// shelves.
func (r *Ring) Left() (kept, finished, places, shelves int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rep := range r.kept {
		if rep.said != nil {
			finished++
		}
	}
	return int64(len(r.kept)), finished, r.places.Held(), int64(len(r.shelves))
}

// Finish tells how a record ended, under the id that reserve gave it.
func (r *Ring) Finish(said *sidecarpb.EmitReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[said.GetReportId()].said = said
	r.wake()
}

func (r *Ring) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Forget drops the reports of who asks up to the one of that id, and returns the cursor to go on
// from. An id that is none of them was forgotten already, or is from another life: it says nothing.
// others tells that reports are kept, and all are another's.
func (r *Ring) Forget(p peer.Info, id uint64) (cursor uint64, others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sh := r.shelfOf(p); sh != nil {
		n, known := slices.BinarySearch(sh.ids, id)
		for ; known && n >= 0 && r.kept[sh.ids[0]].said != nil; n-- {
			delete(r.kept, sh.ids[0])
			r.places.Give(1)
			sh.ids = sh.ids[1:]
		}
		if len(sh.ids) == 0 {
			r.drop(sh)
		}
	}
	r.inherit(p)
	if sh := r.shelfOf(p); sh != nil {
		return sh.ids[0], false
	}
	return r.next, len(r.kept) > 0
}

// Read returns finished reports of who asks from the cursor on, in order and without gaps, or a
// channel to wait on. In order, because a cursor speaks of all reports below it.
func (r *Ring) Read(p peer.Info, cursor uint64, limit int) (batch []*sidecarpb.EmitReport, wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sh := r.shelfOf(p); sh != nil {
		from, _ := slices.BinarySearch(sh.ids, cursor)
		for _, id := range sh.ids[from:] {
			said := r.kept[id].said
			if said == nil || len(batch) == limit {
				break
			}
			batch = append(batch, said)
		}
	}
	if len(batch) > 0 {
		return batch, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return nil, r.changed
}

// Status is how many reports are kept, the id of the oldest, and that of the newest.
func (r *Ring) Status() (used int, oldest, newest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest = r.next
	for _, sh := range r.shelves {
		oldest = min(oldest, sh.ids[0])
	}
	return len(r.kept), oldest, r.next - 1
}
