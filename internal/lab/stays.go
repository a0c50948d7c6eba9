package lab

import (
	"sync"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/verify"
)

// stays follows who holds what, from the consumers' hooks, to tell the checker what may repeat (S6) and why.
type stays struct {
	mu   sync.Mutex
	now  map[verify.Partition]*stay
	lost map[orphan]bool
}

// stay is one assignment epoch of a partition.
type stay struct {
	a       *App
	epoch   uint64
	start   int64
	orderly bool // it ended with Revoking, and nothing is in the way of its last commit
}

// orphan is a stay that another one has replaced without its app knowing.
type orphan struct {
	a     *App
	epoch uint64
}

func partitionOf(as *consumer.Assignment) verify.Partition {
	return verify.Partition{Topic: as.Topic, Partition: as.Partition}
}

// begin is told before the first input of a stay is handed out. Where the one before did not end in order, its inputs come again.
func (s *stays) begin(a *App, added []*consumer.Assignment) {
	if a.dead.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, as := range added {
		p := partitionOf(as)
		if before := s.now[p]; before != nil && !before.orderly {
			s.lost[orphan{before.a, before.epoch}] = true
			a.l.Checker.Incident(a.Name+" takes over from "+before.a.Name, p)
		}
		s.now[p] = &stay{a: a, epoch: as.Epoch, start: as.Start}
	}
}

// letGo is told when what ran is drained and the last commit comes next. What finished above the ack mark comes again, and so does all since
// the last commit if that one cannot get through.
func (s *stays) letGo(a *App, leaving []*consumer.Assignment) {
	if a.dead.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state := a.State().Consumer
	for _, as := range leaving {
		p := partitionOf(as)
		st := s.now[p]
		if st == nil || st.a != a || st.epoch != as.Epoch {
			continue // taken over long ago
		}
		st.orderly = !a.host.link(toBrokers).impaired() && !a.l.commitsFail()
		for _, ps := range state.Partitions {
			if ps.Topic == p.Topic && ps.Partition == p.Partition && ps.Pending > 0 {
				a.l.Checker.Incident(a.Name+" lets go with inputs pending", p)
			}
		}
	}
}

// handedOut lets an input repeat that an app works on without knowing that somebody else holds its partition.
func (s *stays) handedOut(a *App, p verify.Partition, epoch uint64, value []byte) {
	s.mu.Lock()
	stale := s.lost[orphan{a, epoch}]
	s.mu.Unlock()
	if stale {
		a.l.Checker.MayRepeat(a.Name+" works on a partition that was taken over", p, value)
	}
}

// reconnected is told before anything is sent again to a sidecar. What was taken over meanwhile, without this app knowing, is sent again whatever
// the new holder has committed by now.
func (s *stays) reconnected(a *App) {
	for _, ps := range a.State().Consumer.Partitions {
		p := verify.Partition{Topic: ps.Topic, Partition: ps.Partition}
		s.mu.Lock()
		stale := s.lost[orphan{a, ps.Epoch}]
		s.mu.Unlock()
		if stale {
			a.l.Checker.IncidentFrom(a.Name+" connects again and holds what was taken over", p, ps.AckMark)
			continue
		}
		a.l.Checker.Incident(a.Name+" connects to a sidecar again", p)
	}
}

// CommitsAreLost tells that commits do not get through from now on although the links are good, a fault of the broker for example: whatever
// is not committed may repeat once more. Call it again at the end of that time.
func (l *Lab) CommitsAreLost() {
	l.watch.Settle()
	l.Checker.Incident("commits are lost")
}
