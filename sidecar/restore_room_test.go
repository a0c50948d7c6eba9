//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What the dead have left fills the state directory. A session that begins meanwhile is written
// down as soon as a will is executed, with all that it has said and done by then: its process and
// its sidecar may die together without another word of it.
func TestASessionIsWrittenWhenThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	fillState(t, dir, 8)
	inDeath(t, func(c *sidecar.Config) { c.StateDir, c.StateBytes, c.MaxSessions = dir, 107<<10, 12 }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 3)...)
		m.reported(3)
		if n := len(stateFiles(t, dir)); n != 8 {
			t.Fatalf("%d files, want those of the dead alone: the test would show nothing", n)
		}
		time.Sleep(20 * time.Second) // their wills
		if n := len(stateFiles(t, dir)); n != 1 {
			t.Fatalf("%d files, want the living session's", n)
		}
		m.units(from(4)...)
		m.reported(4)
		b.successor(t, asKilled(t, dir))
		time.Sleep(20 * time.Second)
		at, runs := b.committed(t)
		if at != 2 || len(runs) != 1 || runs[0] != (donemeta.Run{First: 3, Last: 4}) || b.members(t) != 0 {
			t.Errorf("committed %d with %v, %d members; want 2 with 3 to 4, and nobody", at, runs, b.members(t))
		}
	})
}

// A client is back with the next sidecar, and its former file takes the room that its session
// needs: once it has said where it stands, the room is its session's.
func TestTheRoomOfAFormerFile(t *testing.T) {
	dir := t.TempDir()
	small := func(c *sidecar.Config) { c.StateDir, c.StateBytes, c.MaxSessions = dir, 30<<10, 1 }
	inDeath(t, small, func(t *testing.T, b *bubble) {
		m, _ := b.working(t, dir)
		m.reported(1)
		left := asKilled(t, dir)
		dir = left
		b.successorAs(t, small)
		time.Sleep(500 * time.Millisecond)
		before := m.welcome.GetSidecarId()
		m.client = nil
		m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: before})
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:], StartOffset: 8, StartIndex: 8})
		m.units(from(8)...)
		m.reported(1)
		b.successor(t, asKilled(t, left))
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); at != 9 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members; want 9, and nobody", at, b.members(t))
		}
	})
}

// fillState leaves files of so many dead sessions in a directory.
func fillState(t *testing.T, dir string, n int) {
	t.Helper()
	d, err := sessionfile.Open(dir, sessionfile.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f, err := d.Create(sessionfile.Session{App: "app", ID: string(rune('a' + i))})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetMembership(sessionfile.Membership{Group: "of the dead", ID: "m"}); err != nil {
			t.Fatal(err)
		}
		f.Close(false)
	}
}
