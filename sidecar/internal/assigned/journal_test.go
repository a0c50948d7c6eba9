//go:build (linux || darwin) && !portable

package assigned

import (
	"math"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a client may say of offsets neither stops the sidecar nor ends it.
func TestHostileOffsetsInTheSessionFile(t *testing.T) {
	for name, c := range map[string]struct{ start, offset int64 }{
		"far": {0, 1 << 61}, "below all": {math.MinInt64, 0}, "below 0": {-1 << 60, 3},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := sessionfile.Open(t.TempDir(), sessionfile.DefaultLimit)
			if err != nil {
				t.Fatal(err)
			}
			f, err := d.Create(sessionfile.Session{ID: "s"})
			if err != nil {
				t.Fatal(err)
			}
			common := NewCommons(64<<20, 1<<16, 4)
			h := common.Held()
			h.WriteTo(f, func(err error) { t.Log(err) })
			key := MemberKey{Group: "g", Consumer: 1}
			if _, err := h.EnterMember(Membership{MemberKey: key, ID: "m"}); err != nil {
				t.Fatal(err)
			}
			if err := h.Enter(key, &sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", StartOffset: c.start}); err != nil {
				t.Skip(err)
			}
			over := make(chan any)
			go func() {
				defer func() { over <- recover() }()
				e := h.Receive(&wire.Source{Epoch: 1, Offset: c.offset}, 1, nil)
				h.Finish(e, 0, true)
			}()
			select {
			case p := <-over:
				if p != nil {
					t.Error("panic:", p)
				}
			case <-time.After(time.Second):
				t.Error("hangs, with the session's lock")
			}
		})
	}
}

// What the transactions commit is not in the file: whoever finds it can only leave.
func TestOnlyMembersAreWritten(t *testing.T) {
	path := t.TempDir()
	d, err := sessionfile.Open(path, sessionfile.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create(sessionfile.Session{ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	common := NewCommons(64<<20, 1<<16, 4)
	h := common.Held()
	h.WriteMembersTo(f, func(err error) { t.Error(err) })
	key := MemberKey{Group: "g", Consumer: 1}
	if _, err := h.EnterMember(Membership{MemberKey: key, ID: "m"}); err != nil {
		t.Fatal(err)
	}
	if err := h.Enter(key, &sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"}); err != nil {
		t.Fatal(err)
	}
	if _, all := h.Written(); !all {
		t.Error("something is not written that was to be")
	}
	f.Close(false)
	next, err := sessionfile.Open(path, sessionfile.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	orphans, err := next.Orphans(func(_ string, why error) { t.Error(why) })
	if err != nil || len(orphans) != 1 {
		t.Fatalf("%d orphans: %v", len(orphans), err)
	}
	if o := orphans[0]; len(o.Memberships) != 1 || o.Memberships[0].ID != "m" || len(o.Assignments) != 0 {
		t.Errorf("the file has %+v and %+v, want the member alone", o.Memberships, o.Assignments)
	}
}
