package lab

import (
	"slices"
	"sync"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// stays follows who holds what, from the consumers' hooks, to tell the checker what may repeat (S6)
// and why. A hand-over in order repeats nothing but what is on its way when the drain deadline
// passes, and the death of an app nothing at all if its will was carried out.
type stays struct {
	mu    sync.Mutex
	now   map[verify.Partition]*stay
	lost  map[orphan]bool
	count Incidents
}

// Incidents is what stays ended by, and what that may have cost.
type Incidents struct {
	Willed   int // stays of the dead whose will was carried out: nothing may repeat
	Taken    int // stays taken over from somebody who had not let go in order, and had no will
	InFlight int // W of those: inputs handed out and not done
	Done     int // C of those: inputs done since the last commit, and not in its done-set
	LetGo    int // inputs that were on their way when a stay ended in order
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

// begin is told before the first input of a stay is handed out. Where the one before did not end in
// order, and no will ended it, its inputs come again. Who was stopped (SIGSTOP) while it let go,
// and stands still, has not made its last commit.
func (s *stays) begin(a *App, added []*consumer.Assignment) {
	if a.dead.Load() {
		return
	}
	a.job.watch.Settle() // what made room for these stays may be a will's leave
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, as := range added {
		p := partitionOf(as)
		before := s.now[p]
		s.now[p] = &stay{a: a, epoch: as.Epoch, start: as.Start}
		if before == nil || before.orderly && !before.a.host.stopped.Load() && !a.job.checker.LastCommitRefused(before.a.Name, before.epoch) {
			continue
		}
		s.lost[orphan{before.a, before.epoch}] = true
		if a.job.checker.Willed(before.a.Name, before.epoch) {
			s.count.Willed++
			continue
		}
		b := a.job.checker.Incident(a.Name+" takes over from "+before.a.Name, p)
		a.l.Note("%v %v", p, b)
		s.count.Taken++
		s.count.InFlight += b.Unacked
		s.count.Done += b.Done
	}
}

// letGo is told when what ran is drained and the last commit comes next. What the producer still
// has comes again, and so does all since the last commit if that one cannot get through.
func (s *stays) letGo(a *App, leaving []*consumer.Assignment) {
	if a.dead.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, as := range leaving {
		p := partitionOf(as)
		st := s.now[p]
		if st == nil || st.a != a || st.epoch != as.Epoch {
			continue // taken over long ago
		}
		st.orderly = !a.host.link(toBrokers).impaired() && !a.l.commitsFail()
		s.count.LetGo += a.job.checker.Unreported(a.Name+" lets go with it on its way", a.Name, p)
	}
}

// died is told when a process is dead: it may have been about to commit for the last time.
func (s *stays) died(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.now {
		if st.a == a && st.orderly && a.job.checker.Holds(a.Name, st.epoch) {
			st.orderly = false
		}
	}
}

// handedOut lets an input repeat that an app works on without knowing that somebody else holds its
// partition.
func (s *stays) handedOut(a *App, p verify.Partition, epoch uint64, value []byte) {
	s.mu.Lock()
	stale := s.lost[orphan{a, epoch}]
	s.mu.Unlock()
	if stale {
		a.job.checker.MayRepeat(a.Name+" works on a partition that was taken over", p, value)
	}
}

// ousted tells that an app holds a stay that another one has replaced without its knowing: the
// group goes on without it, so that its last commit is refused, and its error says so. The embedded
// broker does that to a member whose join it has forgotten (see joinTakesAtMost).
func (s *stays) ousted(a *App) bool {
	parts := a.State().Consumer.Partitions
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(parts, func(p consumer.PartitionState) bool { return s.lost[orphan{a, p.Epoch}] })
}

// Incidents tells how stays ended so far.
func (l *Lab) Incidents() Incidents {
	s := &l.jobs[0].stays
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// CommitsAreLost tells that commits do not get through from now on although the links are good, a
// fault of the broker for example: whatever is not committed may repeat once more. Call it again at
// the end of that time.
func (l *Lab) CommitsAreLost() {
	for _, j := range l.jobs {
		j.watch.Settle()
		j.checker.Incident("commits are lost")
	}
}

// alive tells whether so many partitions are with apps that live and run.
func (s *stays) alive(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.now {
		if !st.a.dead.Load() && !st.a.host.stopped.Load() && !st.orderly {
			n--
		}
	}
	return n <= 0
}
