package consumer

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// The last commit of a shutdown arrives with brokers that know no topic ids, for a static member,
// and where the coordinator moves or is still loading.
func TestLastCommitArrives(t *testing.T) {
	classicOnly(t)
	for name, c := range map[string]struct {
		broker []kfake.Opt
		static string
		fault  *kerr.Error
	}{
		"as usual":                    {},
		"by name":                     {broker: []kfake.Opt{kfake.MaxVersions(kversion.V3_9_0())}},
		"of a static member":          {static: "i-1"},
		"of a static member, by name": {broker: []kfake.Opt{kfake.MaxVersions(kversion.V3_9_0())}, static: "i-1"},
		"to a coordinator that moves": {fault: kerr.NotCoordinator},
		"to one that loads":           {fault: kerr.CoordinatorLoadInProgress},
		"to one that is not there":    {fault: kerr.CoordinatorNotAvailable},
		"by name to one that moves":   {broker: []kfake.Opt{kfake.MaxVersions(kversion.V3_9_0())}, fault: kerr.NotCoordinator},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 100)
				cfg := l.config()
				cfg.CommitEvery, cfg.InstanceID = time.Hour, c.static
				m := l.start(cfg, nil)
				l.until("done", func() bool { s := m.State(); return len(s.Partitions) == 1 && s.Partitions[0].Done == 100 })
				if c.fault != nil {
					l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: c.fault, Count: 2})
				}
				begun := time.Now()
				wantNil(t, m.stop())
				if at := l.committed(0); at != 100 {
					t.Errorf("committed %d, want 100", at)
				}
				if took := time.Since(begun); took > finalCommitTimeout {
					t.Errorf("took %s", took)
				}
				if g := l.cluster.GroupInfo(groupName); (len(g.Members) == 1) != (c.static != "") {
					t.Errorf("the group has %d members", len(g.Members))
				}
			}, c.broker...)
		})
	}
}

// A static member whose place another process took, and that has not heard of it, takes nothing
// back with its last commit.
func TestLastCommitOfAReplacedMember(t *testing.T) {
	classicOnly(t)
	for name, broker := range map[string][]kfake.Opt{"": nil, "by name": {kfake.MaxVersions(kversion.V3_9_0())}} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 100)
				cfg := l.config()
				cfg.CommitEvery, cfg.InstanceID = time.Hour, "i-1"
				var h holder
				old := l.start(cfg, h.deliver)
				l.until("handed out", func() bool { return len(h.messages()) == 100 })
				l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorLoadInProgress, Count: 1}) // it does not hear of it now
				cfg.CommitEvery = 10 * time.Millisecond
				successor := l.start(cfg, nil)
				l.untilCommitted(0, 100)
				DoneAll(h.messages()[:50])
				_ = old.stop() // the others are abandoned
				if at := l.committed(0); at != 100 {
					t.Errorf("committed %d, the successor had 100", at)
				}
				l.feed(0, 10)
				l.untilCommitted(0, 110)
				wantNil(t, successor.stop())
			}, broker...)
		})
	}
}

// The broker has the next generation of the member before its callback has run: a commit that goes
// past the client goes out under that one.
func TestCommitPastUsesTheNewestGeneration(t *testing.T) {
	inLab(t, 300, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("all assigned", func() bool { return len(m.State().Partitions) == 300 })
		points := allDue(m.Consumer)
		behind := *m.group.current.Load()
		behind.Generation--
		m.commits.commitMu.Lock()
		err := m.commits.sendPast(behind, points.part(0, 100))
		m.commits.commitMu.Unlock()
		wantNil(t, err)
		for _, at := range points.points[:100] {
			if got := l.committed(at.Partition); got != 1 {
				t.Fatalf("partition %d has %d, want 1", at.Partition, got)
			}
		}
		wantNil(t, m.stop())
	})
}
