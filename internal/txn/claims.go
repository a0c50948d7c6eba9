package txn

import (
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Holder names one consumer's place in a group. Two of a process may be members of one group.
type Holder struct {
	Group    string
	Consumer uint64
}

// Added is an assignment that begins.
type Added struct {
	Epoch     uint64
	Topic     string
	TopicID   [16]byte
	Partition int32
	// Core follows its inputs. It is the Claims' from here on.
	Core *assignment.Assignment
	// Committed are runs of offsets, in order, that the group has already, and whose units may come
	// all the same: see [Lane.Standing].
	Committed []donemeta.Run
}

// Claims are the assignments of one process, and the memberships that they are held under. All
// methods are safe for concurrent use.
type Claims struct {
	gone func(Holder, error)

	mu      sync.Mutex
	live    map[uint64]*Claim
	at      map[partitionOf]*Claim // the newest of live: the others of its partition are given up
	members map[Holder]*groupcommit.Member
	holds   map[Holder]int // how many of live are whose
	highest uint64
	changes uint64 // of memberships, and of what is held
	closed  bool
}

// partitionOf is a partition as a group has it.
type partitionOf struct {
	group, topic string
	partition    int32
}

// NewClaims are none. Gone is told each time that a group does not know a member any more, and what
// its consumer holds as that was given up with it. It must not block. Nil: nobody hears of it.
func NewClaims(gone func(Holder, error)) *Claims {
	return &Claims{gone: gone, live: map[uint64]*Claim{}, at: map[partitionOf]*Claim{}, members: map[Holder]*groupcommit.Member{}, holds: map[Holder]int{}}
}

// Count is how many assignments there are, those that are released and not over with them.
func (s *Claims) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// Claim is one assignment of one partition, from when it is announced until its last unit is
// decided.
type Claim struct {
	Epoch     uint64
	Topic     string
	TopicID   [16]byte
	Partition int32

	of     *Claims
	holder Holder
	window uint64 // the last one that has units of it; the goroutine's of the lane that they go to

	// Under of.mu:
	core    *assignment.Assignment
	had     []donemeta.Run // committed before it was announced here, see Added
	state   claimState
	under   groupcommit.Member // once it is released: what it was held under then
	open    int                // units entered and not decided
	crossed int64              // to where its reader has passed while they were; 0: nothing to do
	leaving []*Leaving         // of its releases
}

// claimState is what may still happen to a claim.
type claimState uint8

const (
	held      claimState = iota // units come, and are committed under its holder's latest membership
	released                    // none come any more; what is there is committed under the membership of its release
	abandoned                   // nothing is committed any more
)

// Assign takes the latest membership of a consumer, and the assignments added under it. An empty
// MemberID: it has left its group.
//
// Under another member id than before, what the consumer still holds is abandoned: the group took
// it for a new member, and others may have had its partitions meanwhile. So is an older claim of a
// partition that begins anew, since the new one began from what was committed before.
func (s *Claims) Assign(of Holder, m groupcommit.Member, added []Added) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	before := s.members[of]
	if m.MemberID == "" {
		delete(s.members, of)
	} else {
		s.members[of] = &m
	}
	if before != nil && before.MemberID != m.MemberID {
		for _, st := range s.live {
			if st.holder == of && st.state == held {
				st.abandon()
			}
		}
	}
	for _, a := range added {
		if _, known := s.live[a.Epoch]; known || a.Epoch == 0 {
			continue
		}
		at := partitionOf{of.Group, a.Topic, a.Partition}
		if before := s.at[at]; before != nil {
			before.abandon()
		}
		s.highest = max(s.highest, a.Epoch)
		s.holds[of]++
		st := &Claim{Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, of: s, holder: of, core: a.Core, had: a.Committed}
		s.live[a.Epoch], s.at[at] = st, st
	}
}

// Crossed tells that a reader has passed everything below an offset, and has no open input left:
// behind its last one there are only control records, or gaps. True: there is something to commit,
// by pushing the run.
func (s *Claims) Crossed(epoch uint64, offset int64) (Run, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.live[epoch]
	if st == nil {
		return Run{}, false
	}
	return st.cross(offset)
}

// cross is Crossed of a claim. While units are open it is put off. Under of.mu.
func (st *Claim) cross(offset int64) (Run, bool) {
	st.crossed = 0
	switch {
	case st.state != held, st.core.Mark() >= offset:
		return Run{}, false
	case st.open > 0:
		st.crossed = offset
		return Run{}, false
	case st.core.Pending() > 0:
		return Run{}, false
	}
	st.core.Pass(offset-1, false)
	st.open++
	return Run{crossing{st}, 0, 1}, true
}

// putOff is what was put off until the claim's units were decided.
func (st *Claim) putOff() (Run, bool) {
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	if st.crossed == 0 || st.open > 0 {
		return Run{}, false
	}
	return st.cross(st.crossed)
}

// Release lets assignments go, in order: what was entered is still committed, under the membership
// of now. One that is leaving already is waited for as well. The second result lists the others.
func (s *Claims) Release(epochs []uint64) (*Leaving, []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &Leaving{left: 1, done: make(chan struct{})}
	var gone []uint64
	for _, epoch := range epochs {
		st := s.live[epoch]
		if st == nil || slices.Contains(st.leaving, l) {
			continue
		}
		if len(st.leaving) == 0 {
			gone = append(gone, epoch)
		}
		if st.state == held {
			st.state = released
			s.changes++
			if m := s.members[st.holder]; m != nil {
				st.under = *m
			}
		}
		st.leaving = append(st.leaving, l)
		l.left++
		st.leave()
	}
	l.leave()
	return l, gone
}

// Forgotten forgets who waits for assignments that were let go: their Leavings do not end. They ask
// again, as often as they like, and nothing adds up.
func (s *Claims) Forgotten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.live {
		if len(st.leaving) > 1 {
			clear(st.leaving[1:])
			st.leaving = st.leaving[:1]
		}
	}
}

// Abandon gives assignments up: what of them is not committed never is.
func (s *Claims) Abandon(epochs []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, epoch := range epochs {
		if st := s.live[epoch]; st != nil {
			st.abandon()
		}
	}
}

// AbandonAll gives up all that a consumer holds.
func (s *Claims) AbandonAll(of Holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.live {
		if st.holder == of {
			st.abandon()
		}
	}
}

// abandonMember gives up all that a consumer holds as this member, and tells whether it still is.
func (s *Claims) abandonMember(of Holder, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.members[of]; m != nil && m.MemberID != id {
		return false
	}
	for _, st := range s.live {
		if st.holder == of && (st.state == held || st.under.MemberID == id) {
			st.abandon()
		}
	}
	return true
}

func (s *Claims) abandonOne(st *Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.state != abandoned {
		st.abandon()
	}
}

// GiveUp gives up what is claimed of partitions of a group that begin anew elsewhere: in the hands
// of another process, or of this one under other claims. Not what is held under a later generation
// than theirs: there it is the one who begins them that is over, and does not know it yet.
func (s *Claims) GiveUp(group string, under int32, begins func(topic string, partition int32) bool) (some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.live {
		if st.holder.Group == group && begins(st.Topic, st.Partition) && st.member().Generation <= under {
			st.abandon()
			some = true
		}
	}
	return some
}

// Close gives up all of it: its process is gone, or goes on under other claims.
func (s *Claims) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, st := range s.live {
		st.abandon()
	}
}

// holdsNothing tells that nothing is left of a holder that could be committed, or refused.
func (s *Claims) holdsNothing(of Holder) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.holds[of] == 0
}

// version tells whether something has changed since it was asked before.
func (s *Claims) version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// Has tells whether an assignment is announced and not decided.
func (s *Claims) Has(epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.live[epoch]
	return known
}

// Fit has an assignment give back the memory that it does not need now.
func (s *Claims) Fit(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.live[epoch]; st != nil {
		st.core.Fit()
	}
}

// IsAbandoned tells whether an assignment that nobody has let go was given up.
func (s *Claims) IsAbandoned(epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.live[epoch]
	return st != nil && st.state == abandoned && len(st.leaving) == 0
}

// Live lists the assignments that are announced and not decided.
func (s *Claims) Live() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]uint64, 0, len(s.live))
	for epoch := range s.live {
		list = append(list, epoch)
	}
	return list
}

func (st *Claim) abandon() {
	st.of.changes++
	st.state = abandoned
	st.core.Happen(assignment.Fence)
}

// leave forgets a released claim when its last unit is decided.
func (st *Claim) leave() {
	if len(st.leaving) == 0 || st.open > 0 {
		return
	}
	delete(st.of.live, st.Epoch)
	if at := (partitionOf{st.holder.Group, st.Topic, st.Partition}); st.of.at[at] == st {
		delete(st.of.at, at)
	}
	if st.of.holds[st.holder]--; st.of.holds[st.holder] <= 0 {
		delete(st.of.holds, st.holder)
	}
	for _, l := range st.leaving {
		l.leave()
	}
}

// decided counts n units as decided.
func (st *Claim) decided(n int) {
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	st.open -= n
	st.leave()
}

// member is what the claim is held under. Under of.mu.
func (st *Claim) member() groupcommit.Member {
	if st.state == held {
		if m := st.of.members[st.holder]; m != nil {
			return *m
		}
		return groupcommit.Member{Group: st.holder.Group, Generation: -1}
	}
	return st.under
}

// isAbandoned tells whether the claim was given up.
func (st *Claim) isAbandoned() bool {
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	return st.state == abandoned
}
