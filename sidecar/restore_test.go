//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// inPod runs a test with a sidecar that has a state directory.
func inPod(t *testing.T, f func(t *testing.T, b *bubble, dir string)) {
	dir := t.TempDir()
	inDeath(t, func(c *sidecar.Config) { c.StateDir = dir }, func(t *testing.T, b *bubble) { f(t, b, dir) })
}

// asKilled is a copy of a state directory: what a SIGKILL of the sidecar leaves at this moment.
func asKilled(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range stateFiles(t, to) {
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.ackmark-session"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// successor is the sidecar that comes after one that was killed: from here on b is with it.
func (b *bubble) successor(t *testing.T, dir string) {
	t.Helper()
	b.successorAs(t, func(c *sidecar.Config) { c.StateDir = dir })
}

func (b *bubble) successorAs(t *testing.T, change func(*sidecar.Config)) {
	t.Helper()
	lis, conn := sidecartest.Bufconn(t)
	b.conn = conn
	b.sc = sidecartest.Start(t, b.kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Listener = lis
		c.Options = []kgo.Opt{kgo.Dialer(b.net.DialContext)}
		c.Logger = slog.New(slog.DiscardHandler)
		change(c)
	})
}

// working is a member with units done, one of them out of order, whose sidecar is killed then; the
// sidecar that it leaves takes nothing any more.
func (b *bubble) working(t *testing.T, dir string) (m *mortal, left string) {
	t.Helper()
	m = b.mortal(t, "s", "")
	id := b.topicID(t)
	m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]}, &sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", Partition: 1, TopicId: id[:], StartOffset: 7})
	m.units(from(0, 1, 2, 3, 4, 6, 7, 9)...)
	m.reported(8)
	slow := b.slow(500 * time.Millisecond)
	m.units(from(5)...) // is with Kafka, which has not answered
	synctest.Wait()
	left = asKilled(t, dir)
	slow.Store(0)
	return m, left
}

// App and sidecar are killed together: the next sidecar finds the will, and executes it.
func TestAPodDies(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m, left := b.working(t, dir)
		b.successor(t, left)
		time.Sleep(14 * time.Second)
		if at, _ := b.committed(t); at != -1 {
			t.Errorf("committed %d while a client that went directly may come back", at)
		}
		time.Sleep(3 * time.Second)
		at, runs := b.committed(t)
		if at != 5 || len(runs) != 2 || runs[0] != (donemeta.Run{First: 6, Last: 7}) || runs[1] != (donemeta.Run{First: 9, Last: 9}) {
			t.Errorf("committed %d with %v, want 5 with 6 to 7 and 9", at, runs)
		}
		if n := b.members(t); n != 0 {
			t.Errorf("%d members, want the dead one to have left", n)
		}
		if names := stateFiles(t, left); len(names) != 0 {
			t.Errorf("the file of an executed will stays: %v", names)
		}
		late := openStream(t, b.conn)
		late.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, PreviousSidecarId: m.welcome.GetSidecarId()}))
		late.ends(codes.Aborted, "SESSION_FENCED")
	})
}

// The client lives and comes back in time: there is no will, and what it says from then on counts.
func TestAClientComesBackToASuccessor(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m, left := b.working(t, dir)
		b.successor(t, left)
		time.Sleep(500 * time.Millisecond)
		before := m.welcome.GetSidecarId()
		m.client = nil
		m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: before})
		m.assignAs()
		time.Sleep(3 * time.Second)
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d for a living client, %d members", at, b.members(t))
		}
		if n := len(stateFiles(t, left)); n != 1 {
			t.Errorf("%d files, want the new session's", n)
		}
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:], StartOffset: 5, StartIndex: 5})
		m.units(from(5)...)
		m.reported(1)
		left = asKilled(t, left)
		b.successor(t, left)
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); at != 6 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members; want 6, and nobody", at, b.members(t))
		}
	})
}

// Two sidecars begin at once, and each finds a copy of the file: no harm is done.
func TestTwoSuccessors(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		_, left := b.working(t, dir)
		again := asKilled(t, left)
		b.successor(t, left)
		b.successor(t, again)
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); at != 5 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members; want 5, and nobody", at, b.members(t))
		}
	})
}

// A session file lives as long as somebody may need it.
func TestHowLongASessionFileLives(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, b *bubble, m *mortal)
		want int
	}{
		"a stream":     {func(*testing.T, *bubble, *mortal) {}, 1},
		"Goodbye":      {func(_ *testing.T, _ *bubble, m *mortal) { m.goodbye() }, 0},
		"will":         {func(_ *testing.T, _ *bubble, m *mortal) { m.cancel(); time.Sleep(3 * time.Second) }, 0},
		"sidecar ends": {func(_ *testing.T, b *bubble, _ *mortal) { _ = b.sc.Stop() }, 1},
		"sidecar ends, Goodbye": {func(_ *testing.T, b *bubble, m *mortal) {
			m.goodbye()
			synctest.Wait() // it is read
			_ = b.sc.Stop()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, b *bubble, dir string) {
				m, _ := b.working(t, dir)
				m.reported(9)
				c.do(t, b, m)
				synctest.Wait()
				if n := len(stateFiles(t, dir)); n != c.want {
					t.Errorf("%d files, want %d", n, c.want)
				}
			})
		})
	}
}

// What a group has is never set back by what a file says.
func TestAnOldFileSetsNothingBack(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m, left := b.working(t, dir)
		m.units(from(8, 10)...)
		m.reported(11)
		m.cancel()
		time.Sleep(3 * time.Second) // its own sidecar's will
		if at, _ := b.committed(t); at != 11 {
			t.Fatalf("committed %d", at)
		}
		b.successor(t, left)
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); at != 11 {
			t.Errorf("an old file set the group to %d", at)
		}
	})
}

// A group in another cluster is nobody's to commit to.
func TestAFileOfAnotherCluster(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: &sidecarpb.Assign{
			Group: "g", MemberId: m.member, Generation: m.gen, ClusterId: "another", Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", TopicId: id[:]}},
		}}})
		m.units(from(0, 1)...)
		m.reported(2)
		b.successor(t, asKilled(t, dir))
		time.Sleep(20 * time.Second)
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d for a group of another cluster, %d members", at, b.members(t))
		}
	})
}

// App and sidecar are killed together, exactly-once: the next sidecar ends the transaction, and
// only leaves the group. What was not committed is its next owner's.
func TestAPodDiesInATransaction(t *testing.T) {
	dir := t.TempDir()
	inTransactions(t, func(c *sidecar.Config) { c.StateDir = dir }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.reported(3)
		committed, _ := b.committed(t)
		commits, let := b.held(kmsg.TxnOffsetCommit)
		m.units(from(3, 4)...)
		for commits.Load() == 0 { // records are written, their offsets are not
			time.Sleep(10 * time.Millisecond)
		}
		left := asKilled(t, dir)
		let()
		b.successorAs(t, func(c *sidecar.Config) { c.StateDir, c.TransactionalID = left, "pod-0" })
		time.Sleep(14 * time.Second)
		if n := b.members(t); n != 1 {
			t.Fatalf("%d members while the client may come back", n)
		}
		time.Sleep(3 * time.Second)
		if n := b.members(t); n != 0 {
			t.Errorf("%d members, want the dead one to have left", n)
		}
		if at, runs := b.committed(t); at < committed || at > 5 || len(runs) != 0 {
			t.Errorf("committed %d with %v, want %d to 5, as the transactions have it", at, runs, committed)
		}
		if names := stateFiles(t, left); len(names) != 0 {
			t.Errorf("the file of an executed will stays: %v", names)
		}
	})
}
