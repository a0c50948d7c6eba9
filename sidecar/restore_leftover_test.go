//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// A client is back with the sidecar after the one that was killed, and has not said yet where it
// stands: what is known of it stays written down, and is its will if it dies.
func TestNoMomentWithoutAFile(t *testing.T) {
	for name, die := range map[string]func(t *testing.T, b *bubble, m *mortal, left string){
		"client and sidecar": func(t *testing.T, b *bubble, _ *mortal, left string) { b.successor(t, asKilled(t, left)) },
		"the client":         func(_ *testing.T, _ *bubble, m *mortal, _ string) { m.cancel() },
		"the stream, the client, and both": func(t *testing.T, b *bubble, m *mortal, left string) {
			m.cancel()
			synctest.Wait()
			m.client = nil
			m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: "the one before"})
			b.successor(t, asKilled(t, left))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, b *bubble, dir string) {
				m, left := b.working(t, dir)
				b.successor(t, left)
				time.Sleep(500 * time.Millisecond)
				before := m.welcome.GetSidecarId()
				m.client = nil
				m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: before})
				synctest.Wait()
				if n := len(stateFiles(t, left)); n != 1 {
					t.Errorf("%d files, want the one of before: the session has said nothing yet", n)
				}
				die(t, b, m, left)
				time.Sleep(20 * time.Second)
				if at, _ := b.committed(t); at != 5 || b.members(t) != 0 {
					t.Errorf("committed %d, %d members; want 5, and nobody", at, b.members(t))
				}
			})
		})
	}
}

// A session that would have the whole of the state directory leaves room for the others.
func TestOneSessionLeavesRoomForOthers(t *testing.T) {
	dir := t.TempDir()
	inDeath(t, func(c *sidecar.Config) { c.StateDir, c.StateBytes, c.MaxSessions = dir, 256<<10, 2 }, func(t *testing.T, b *bubble) {
		greedy := b.mortal(t, "greedy", "")
		var all []*sidecarpb.AssignedPartition
		for i := range int32(200) {
			all = append(all, &sidecarpb.AssignedPartition{Epoch: uint64(i + 1), Topic: "many", Partition: i})
		}
		greedy.assignAs(all...)
		synctest.Wait()
		other := b.process(t, "other")
		other.assigned(&sidecarpb.Assign{Group: "another", MemberId: "m", Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in"}}})
		synctest.Wait()
		d, err := sessionfile.Open(asKilled(t, dir), sessionfile.DefaultLimit)
		if err != nil {
			t.Fatal(err)
		}
		found, err := d.Orphans(func(path string, why error) { t.Error(path, why) })
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, o := range found {
			n[o.ID] = len(o.Assignments)
			o.Keep()
		}
		if n["other"] != 1 || n["greedy"] == 0 || n["greedy"] == len(all) {
			t.Errorf("assignments that are written down: %v", n)
		}
	})
}

// Two sidecars on one directory would take each other's sessions for orphans: the second one does
// not start, and says what to do.
func TestASecondSidecarOnTheDirectory(t *testing.T) {
	kafka, dir := cluster(t), t.TempDir()
	first := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.StateDir = dir })
	<-first.Serving()
	lis, _ := sidecartest.Bufconn(t)
	second, err := sidecar.New(sidecar.Config{Brokers: kafka.ListenAddrs(), Listener: lis, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-second.Serving(): // it must not come to that
			cancel()
		case <-ctx.Done():
		}
	}()
	err = second.Run(ctx)
	if wrong, ok := errors.AsType[*ackmark.ConfigError](err); !ok || wrong.Field != "StateDir" || !errors.Is(err, sessionfile.ErrOwned) {
		t.Errorf("the second one: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	third := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.StateDir = dir })
	<-third.Serving()
}

// Two files of one session: the newer one is the will, whichever is found first. Of what it does
// not say yet, since its writer was killed at that, the older one speaks.
func TestTheNewerFileOfASession(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m, left := b.working(t, dir)
		if err := os.Rename(stateFiles(t, left)[0], filepath.Join(left, "0.ackmark-session")); err != nil {
			t.Fatal(err)
		}
		d, err := sessionfile.Open(left, sessionfile.DefaultLimit)
		if err != nil {
			t.Fatal(err)
		}
		newer, err := d.Create(sessionfile.Session{App: "app", ID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		id := b.topicID(t)
		if err := newer.SetMembership(sessionfile.Membership{Group: "g", ID: m.member, Generation: m.gen}); err != nil {
			t.Fatal(err)
		}
		if _, err := newer.Enter(&sessionfile.Assignment{Group: "g", Member: m.member, Epoch: 1, Topic: "in", TopicID: id, Start: 8}); err != nil {
			t.Fatal(err)
		}
		newer.Close(false)
		b.successor(t, left)
		time.Sleep(20 * time.Second)
		if have := b.offsets(); have != [2]int64{8, 7} || b.members(t) != 0 {
			t.Errorf("committed %v, %d members; want 8 and 7, and nobody", have, b.members(t))
		}
		if n := len(stateFiles(t, left)); n != 0 {
			t.Errorf("%d files stay", n)
		}
	})
}

// A client has said of one of its memberships where it stands, and not yet of the other: of that
// the former file speaks on, for this sidecar and for the next one.
func TestTheRestOfAFile(t *testing.T) {
	for name, c := range map[string]struct {
		die  func(t *testing.T, b *bubble, m *mortal, left string)
		want [2]int64
	}{
		"the client":         {func(_ *testing.T, _ *bubble, m *mortal, _ string) { m.cancel() }, [2]int64{4, 2}},
		"client and sidecar": {func(t *testing.T, b *bubble, _ *mortal, left string) { b.successor(t, asKilled(t, left)) }, [2]int64{4, 2}},
		"the client, which has left the other group": {func(_ *testing.T, _ *bubble, m *mortal, _ string) {
			m.assigned(&sidecarpb.Assign{Group: "g", Consumer: 2})
			synctest.Wait()
			m.cancel()
		}, [2]int64{4, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, b *bubble, dir string) {
				m, one, _ := twins(t, b)
				left := asKilled(t, dir)
				b.successor(t, left)
				time.Sleep(500 * time.Millisecond)
				before := m.welcome.GetSidecarId()
				m.client = nil
				m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: before})
				id := b.topicID(t)
				m.assigned(&sidecarpb.Assign{Group: "g", MemberId: one.id, Generation: one.gen, Consumer: 1,
					Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", TopicId: id[:], StartOffset: 3, StartIndex: 3}}})
				m.units(from(3)...)
				m.reported(1)
				c.die(t, b, m, left)
				time.Sleep(20 * time.Second)
				if have := b.offsets(); have != c.want {
					t.Errorf("committed %v, want %v", have, c.want)
				}
				if n := len(stateFiles(t, left)); n != 0 && name != "client and sidecar" {
					t.Errorf("%d files stay", n)
				}
			})
		})
	}
}
