//go:build (linux || darwin) && !portable

package consumer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// wire is a consumer's way to the brokers, until it is cut.
type wire struct {
	dial  dialFunc
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (w *wire) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errors.New("cut")
	}
	c, err := w.dial(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = cut; cut {
		for _, c := range w.conns {
			_ = c.Close()
		}
	}
}

// mortal is a consumer with a state directory that can be killed.
type mortal struct {
	*member
	wire *wire
	dir  string
}

// mortal starts one that commits only what a session file would.
func (l *lab) mortal(cfg Config, deliver func(*Batch)) *mortal {
	l.t.Helper()
	m := &mortal{wire: &wire{dial: l.net.DialContext}, dir: cfg.StateDir}
	if m.dir == "" {
		m.dir = l.t.TempDir()
	}
	cfg.StateDir = m.dir
	cfg.Options = append(cfg.Options, kgo.Dialer(m.wire.Dial))
	m.member = l.start(cfg, deliver)
	return m
}

// kill leaves of a consumer what a SIGKILL would leave: the bytes of its file, which nobody has
// locked, in the directory that is returned. Nothing of it reaches a broker any more.
func (m *mortal) kill() (dir string) {
	m.l.t.Helper()
	defer m.wire.setCut(true) // it would notice, and let go of what it has
	dir = m.l.t.TempDir()
	for _, from := range stateFiles(m.l.t, m.dir) {
		copyFile(m.l.t, from, filepath.Join(dir, filepath.Base(from)))
	}
	return dir
}

func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.ackmark-session"))
	wantNil(t, err)
	return names
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	wantNil(t, err)
	wantNil(t, os.WriteFile(to, b, 0o600))
}

// slow is a configuration whose consumers do not commit by time.
func (l *lab) slow(dir string) Config {
	cfg := l.config()
	cfg.CommitEvery, cfg.StateDir = time.Hour, dir
	return cfg
}

// takenNames are the requests in which a dead member's name is used.
type takenNames struct {
	mu             sync.Mutex
	commits, leave map[string]int
	offsets        []int64 // committed of partition 0, in order
}

func (l *lab) takenNames() *takenNames {
	n := &takenNames{commits: map[string]int{}, leave: map[string]int{}}
	l.cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		n.mu.Lock()
		defer n.mu.Unlock()
		switch req := req.(type) {
		case *kmsg.OffsetCommitRequest:
			n.commits[req.MemberID]++
			for _, t := range req.Topics {
				for _, p := range t.Partitions {
					if p.Partition == 0 {
						n.offsets = append(n.offsets, p.Offset)
					}
				}
			}
		case *kmsg.LeaveGroupRequest:
			for _, m := range req.Members {
				n.leave[m.MemberID]++
			}
		}
		return nil, nil, false
	})
	return n
}

func (n *takenNames) of(member string) (commits, leaves int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.commits[member], n.leave[member]
}

// unfinished does all inputs of partition 0 but those from 60 on, of which it does every tenth.
func unfinished(b *Batch) {
	for i := range b.Messages {
		if m := &b.Messages[i]; m.Start() && (m.Offset < 60 || m.Offset%10 == 0) {
			m.Done(nil)
		}
	}
}

// left is what unfinished leaves of 100 inputs.
func left() (all []int64) {
	for o := int64(60); o < 100; o++ {
		if o%10 != 0 {
			all = append(all, o)
		}
	}
	return all
}

// work is done once each, and returns what was handed out, in order.
func (s *seen) offsets(partition int32) (all []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, n := range s.done[partition] {
		for range n {
			all = append(all, o)
		}
	}
	slices.Sort(all)
	return all
}

// A consumer is killed and started again. What it had done is not done again, and nobody waits for
// its session: a dynamic member is left for, a static one's place is taken.
func TestAKilledConsumerLeavesAWill(t *testing.T) {
	classicOnly(t)
	for name, instance := range map[string]string{"dynamic": "", "static": "i-1"} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 100)
				names := l.takenNames()
				cfg := l.slow("")
				cfg.InstanceID = instance
				m := l.mortal(cfg, unfinished)
				l.until("done as far as it goes", func() bool { return doneInputs(m.member) == 64 })
				dead := m.State().Membership.MemberID
				dir := m.kill()

				meter := measured.New()
				cfg = l.slow(dir)
				cfg.InstanceID, cfg.MeterProvider, cfg.CommitEvery = instance, meter, time.Second
				begun := time.Now()
				var s seen
				next := l.start(cfg, s.deliver)
				l.untilCommitted(0, 100)
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("it took %s", took)
				}
				if got := s.offsets(0); !slices.Equal(got, left()) {
					t.Errorf("handed out again: %v, want %v", got, left())
				}
				commits, leaves := names.of(dead)
				if want := 1; commits < want || leaves != map[string]int{"": 1}[instance] {
					t.Errorf("in the dead member's name: %d commits, %d leaves", commits, leaves)
				}
				meter.Collect(t).Want(t, 1, telemetry.ConsumerWills, telemetry.Outcome.String(willComplete))
				if log := l.logs.String(); strings.Count(log, "will executed") != 1 || !strings.Contains(log, "outcome=complete") {
					t.Error("the log does not say so")
				}
				if n := len(stateFiles(t, dir)); n != 1 {
					t.Errorf("%d files, want the living one's", n)
				}
				wantNil(t, next.stop())
				if n := len(stateFiles(t, dir)); n != 0 {
					t.Errorf("%d files are left by a consumer that ended in order", n)
				}
			})
		})
	}
}

func doneInputs(m *member) (n int64) {
	for _, p := range m.State().Partitions {
		n += p.Done
	}
	return n
}

// Two successors have one file each, the same one: as if the first had died before it could remove
// it, or both had begun at once. Nothing is taken back, nothing lost, nothing done again.
func TestAWillIsExecutedTwice(t *testing.T) {
	for name, atOnce := range map[string]bool{"at once": true, "one after the other": false} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 100)
				m := l.mortal(l.slow(""), unfinished)
				l.until("done as far as it goes", func() bool { return doneInputs(m.member) == 64 })
				dirs := []string{m.kill(), t.TempDir()}
				for _, f := range stateFiles(t, dirs[0]) {
					copyFile(t, f, filepath.Join(dirs[1], filepath.Base(f)))
				}
				names := l.takenNames()
				var s seen
				for _, dir := range dirs {
					cfg := l.slow(dir)
					cfg.CommitEvery = time.Second
					l.start(cfg, s.deliver)
					if !atOnce {
						l.untilCommitted(0, 100)
					}
				}
				l.untilCommitted(0, 100)
				l.until("two wills", func() bool { return strings.Count(l.logs.String(), "will executed") == 2 })
				time.Sleep(time.Minute)
				if got := s.offsets(0); !slices.Equal(got, left()) {
					t.Errorf("handed out: %v, want %v", got, left())
				}
				if !slices.IsSorted(names.offsets) {
					t.Errorf("the group's offset went back: %v", names.offsets)
				}
			})
		})
	}
}

// A second consumer of the same directory leaves the file of a living one alone.
func TestNoWillOfALivingConsumer(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		names := l.takenNames()
		var lost atomic.Int32
		cfg := l.slow(t.TempDir())
		cfg.Hooks.Lost = func([]*Assignment) { lost.Add(1) }
		first := l.start(cfg, unfinished)
		l.until("done as far as it goes", func() bool { return doneInputs(first) == 64 })
		id := first.State().Membership.MemberID
		second := l.start(cfg, unfinished)
		l.untilSpread(first, second)
		if n := len(stateFiles(t, cfg.StateDir)); n != 2 {
			t.Errorf("%d files, want one for each", n)
		}
		if _, leaves := names.of(id); leaves != 0 || lost.Load() != 0 || first.State().Membership.MemberID != id {
			t.Errorf("%d leaves for a living member, lost %d times", leaves, lost.Load())
		}
		if strings.Contains(l.logs.String(), "will executed") {
			t.Error("a living process's will was executed")
		}
	})
}

// What is another's stays where it is: of another group, of another cluster, of a sidecar. Nobody
// speaks for their members here.
func TestNoWillOfOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		m := l.mortal(l.slow(""), unfinished)
		l.until("done as far as it goes", func() bool { return doneInputs(m.member) == 64 })
		dead := m.State().Membership
		dir := m.kill()
		elsewhere, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9192), kfake.ListenFn(l.net.Listen), kfake.SeedTopics(1, topic), kfake.ClusterID("elsewhere"))
		wantNil(t, err)
		t.Cleanup(elsewhere.Close)
		var foreign atomic.Int32
		elsewhere.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
			elsewhere.KeepControl()
			switch req := req.(type) {
			case *kmsg.LeaveGroupRequest:
				if req.Members[0].MemberID == dead.MemberID {
					foreign.Add(1)
				}
			case *kmsg.OffsetCommitRequest:
				if req.MemberID == dead.MemberID {
					foreign.Add(1)
				}
			}
			return nil, nil, false
		})
		cfg := l.slow(dir)
		cfg.Brokers = []string{"localhost:9192"}
		next := l.start(cfg, nil)
		l.until("joined", func() bool { return next.State().Joined })
		wantNil(t, next.stop())
		if n := foreign.Load(); n > 0 {
			t.Errorf("%d requests in the name of another cluster's member", n)
		}
		if log := l.logs.String(); !strings.Contains(log, "outcome=other_cluster") || !strings.Contains(log, `\"elsewhere\"`) {
			t.Error("the log does not say why there is no will")
		}

		names := l.takenNames()
		cfg = l.slow(dir)
		cfg.Group = "another"
		next = l.start(cfg, nil)
		l.until("joined", func() bool { return next.State().Joined })
		wantNil(t, next.stop())

		sidecars := t.TempDir()
		leaveAFile(t, sidecars, sessionfile.Session{App: "orders", ID: "s-1"}, dead)
		next = l.start(l.slow(sidecars), nil)
		l.until("joined", func() bool { return next.State().Joined })
		wantNil(t, next.stop())

		if commits, leaves := names.of(dead.MemberID); commits+leaves > 0 {
			t.Errorf("%d commits and %d leaves in the name of another's member", commits, leaves)
		}
		if len(stateFiles(t, dir)) != 1 || len(stateFiles(t, sidecars)) != 1 {
			t.Errorf("files: %v and %v", stateFiles(t, dir), stateFiles(t, sidecars))
		}
	})
}

// leaveAFile leaves a file behind whose writer has ended.
func leaveAFile(t *testing.T, path string, s sessionfile.Session, m Membership) {
	t.Helper()
	d, err := sessionfile.Open(path, sessionfile.DefaultLimit)
	wantNil(t, err)
	f, err := d.Create(s)
	wantNil(t, err)
	wantNil(t, f.SetMembership(sessionfile.Membership{Group: m.Group, Consumer: 1, ID: m.MemberID, Generation: m.Generation}))
	f.Close(false)
}

// Brokers that do not answer hold up nobody's start for longer than a will may take, and the file
// waits for them.
func TestAWillWaitsForBrokers(t *testing.T) {
	classicOnly(t)
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		m := l.mortal(l.slow(""), unfinished)
		l.until("done as far as it goes", func() bool { return doneInputs(m.member) == 64 })
		dir := m.kill()
		cfg := l.slow(dir)
		begun := time.Now()
		next := l.mortal(cfg, nil)
		next.wire.setCut(true)
		l.until("it goes on", func() bool { return strings.Contains(l.logs.String(), "outcome=late") })
		if took := time.Since(begun); took > willTime+time.Second {
			t.Errorf("it took %s", took)
		}
		l.until("its own file", func() bool { return len(stateFiles(t, dir)) == 2 })
		_ = next.stop()
		if n := len(stateFiles(t, dir)); n != 1 {
			t.Errorf("%d files, want the dead one's", n)
		}
		var s seen
		l.start(cfg, s.deliver)
		l.until("all is done", func() bool { return len(s.offsets(0)) >= len(left()) })
		if got := s.offsets(0); !slices.Equal(got, left()) {
			t.Errorf("handed out again: %v, want %v", got, left())
		}
	})
}

// A process that dies while it waits in a join holds nothing yet, but the group would wait for it.
func TestADeathInAJoin(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		var h holder
		cfg := l.config()
		cfg.HeartbeatInterval = 10 * time.Second // until then it does not hear that somebody joins
		l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 100 })
		names := l.takenNames()
		m := l.mortal(l.slow(""), nil)
		var dead string
		l.until("it waits in the join", func() bool {
			dead, _ = memberInFile(t, m.dir)
			return dead != ""
		})
		if m.State().Joined {
			t.Fatal("it has joined: nothing is proven")
		}
		dir := m.kill()
		next := l.start(l.slow(dir), nil)
		l.until("the group was left for it", func() bool { _, leaves := names.of(dead); return leaves == 1 })
		h.letGo()
		begun := time.Now()
		l.until("joined", func() bool { return next.State().Joined && len(next.State().Partitions) == 1 })
		if took := time.Since(begun); took > 25*time.Second {
			t.Errorf("it took %s: the group waited for the dead one", took)
		}
	})
}

// memberInFile reads a copy of the one file of a directory.
func memberInFile(t *testing.T, dir string) (id string, assigned []int32) {
	t.Helper()
	files := stateFiles(t, dir)
	if len(files) != 1 {
		return "", nil
	}
	path := t.TempDir()
	copyFile(t, files[0], filepath.Join(path, filepath.Base(files[0])))
	d, err := sessionfile.Open(path, sessionfile.DefaultLimit)
	wantNil(t, err)
	all, err := d.Orphans(func(string, error) {})
	wantNil(t, err)
	for _, o := range all {
		defer o.Keep()
		for _, m := range o.Memberships {
			id = m.ID
		}
		for _, a := range o.Assignments {
			assigned = append(assigned, a.Partition)
		}
	}
	slices.Sort(assigned)
	return id, assigned
}

func numbers(m *member) (ids []int32) {
	for _, p := range m.State().Partitions {
		ids = append(ids, p.Partition)
	}
	return ids
}

// The file has what the consumer holds, and nothing else: partitions that were revoked, lost or
// given to another membership are out of it.
func TestTheFileFollowsTheGroup(t *testing.T) {
	classicOnly(t)
	inLab(t, 6, func(t *testing.T, l *lab) {
		same := func(what string, m *mortal) {
			t.Helper()
			l.until(what, func() bool {
				id, assigned := memberInFile(t, m.dir)
				s := m.State()
				return s.Joined && id == s.Membership.MemberID && len(assigned) > 0 && slices.Equal(assigned, numbers(m.member))
			})
		}
		cfg := l.slow(t.TempDir())
		lost := make(chan []int32, 10)
		cfg.Hooks.Lost = func([]*Assignment) {
			_, assigned := memberInFile(t, cfg.StateDir)
			lost <- assigned
		}
		m := l.mortal(cfg, nil)
		l.until("all", func() bool { return len(numbers(m.member)) == 6 })
		same("of all", m)
		other := l.start(l.config(), nil)
		l.untilSpread(m.member, other)
		same("after a revoke", m)
		if _, assigned := memberInFile(t, m.dir); len(assigned) != 3 {
			t.Errorf("%v are written down after a revoke", assigned)
		}
		wantNil(t, other.stop())
		l.until("all again", func() bool { return len(numbers(m.member)) == 6 })
		same("of all again", m)
		m.Fence(errors.New("taken for dead"))
		if assigned := <-lost; len(assigned) != 0 {
			t.Errorf("%v are written down after a fence", assigned)
		}
		same("after a fence", m)
		before := m.State().Membership.MemberID
		forget := kmsg.NewPtrLeaveGroupRequest()
		forget.Group, forget.MemberID = groupName, before
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = before
		forget.Members = append(forget.Members, one)
		_, err := forget.RequestWith(t.Context(), l.feeder)
		wantNil(t, err)
		l.until("another member", func() bool {
			s := m.State()
			return s.Joined && s.Membership.MemberID != before && len(s.Partitions) == 6
		})
		same("as another member", m)
	})
}

// A last commit that failed is made by the successor of a static member, which holds its partitions
// still.
func TestAFailedEndKeepsTheFile(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.slow(t.TempDir())
		cfg.InstanceID, cfg.DrainTimeout = "i-1", time.Second
		m := l.start(cfg, unfinished)
		l.untilCommitted(0, 0) // the commit of the start is not to say what is done
		l.feed(0, 100)
		l.until("done as far as it goes", func() bool { return doneInputs(m) == 64 })
		var refuse atomic.Bool
		refuse.Store(true)
		l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			if !refuse.Load() {
				return nil, nil, false
			}
			return refuseAll(req.(*kmsg.OffsetCommitRequest), kerr.CoordinatorLoadInProgress), nil, true
		})
		wantAs[*UncommittedError](t, m.stop())
		refuse.Store(false)
		if n := len(stateFiles(t, cfg.StateDir)); n != 1 {
			t.Fatalf("%d files", n)
		}
		var s seen
		cfg.CommitEvery = time.Second
		l.start(cfg, s.deliver)
		l.untilCommitted(0, 100)
		if got := s.offsets(0); !slices.Equal(got, left()) {
			t.Errorf("handed out again: %v, want %v", got, left())
		}
	})
}

func refuseAll(req *kmsg.OffsetCommitRequest, err *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, err.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// A directory that others may write in is refused before anything is connected to; one that goes
// away before Run says so.
func TestAStateDirectoryThatCannotBeUsed(t *testing.T) {
	cfg := minimal()
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	wantNil(t, os.Mkdir(cfg.StateDir, 0o700))
	wantNil(t, os.Chmod(cfg.StateDir, 0o777))
	_, err := New(cfg)
	if e := wantAs[*ConfigError](t, err); e.Field != "StateDir" || !strings.Contains(e.Reason, "0777") || e.Remedy == "" {
		t.Errorf("got %v", err)
	}
	wantNil(t, os.Chmod(cfg.StateDir, 0o700))
	c, err := New(cfg)
	wantNil(t, err)
	wantNil(t, os.Remove(cfg.StateDir))
	err = c.Run(t.Context(), func(*Batch) {})
	if e := wantAs[*ConfigError](t, err); e.Field != "StateDir" || e.Remedy == "" {
		t.Errorf("got %v", err)
	}
}
