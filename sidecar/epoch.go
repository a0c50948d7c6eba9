package sidecar

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxEpochs = 16 << 10 // per session
	// epochCost and memberCost are what an assignment and a membership take beside their names, about;
	// runCost is a run of an inherited done-set.
	epochCost  = 640
	memberCost = 256
	runCost    = 16
	// maxUnanswered is how many Releases of a session may wait for their answer, or for somebody to
	// read it, and maxReleases how many of them may name one epoch.
	maxUnanswered = 256
	maxReleases   = 4
	// maxSpan is how far above the ack mark of its partition an input may be and still be followed.
	maxSpan = 1 << 20
	// maxGroups is how many memberships a session may have.
	maxGroups = 64
	// trackedPerRecord is the number of tracker entries in the whole process for each of
	// Config.MaxRecords; one takes about 17 bytes.
	trackedPerRecord = 16
)

// epoch is one assignment of a partition to the session's process. All fields belong to session.mu.
type epoch struct {
	id        uint64
	of        memberKey
	topic     string
	topicID   [16]byte
	partition int32
	core      *assignment.Assignment // S4: a fresh one for each epoch; Draining once it is released
	capacity  uint64                 // entries that are taken of the session's share
	kept      int64                  // bytes, the same
	open      int                    // units received and not finished
	releases  []*release             // that wait for open to be 0
}

// released tells that the client gave the partition back: units of it are refused, and no will
// names it.
func (e *epoch) released() bool { return !e.core.State().Reads() }

// release is a Release that is not answered yet.
type release struct {
	id   uint64
	left int // epochs with open units
}

// assignments are what a session's process holds, as it told, and what was taken of the shares for
// that. They know neither streams nor units, and are guarded by session.mu.
type assignments struct {
	epochs  map[uint64]*epoch
	members map[memberKey]membership
	stock   holdings
}

func (c *commonStock) assignments() assignments {
	return assignments{epochs: make(map[uint64]*epoch), members: make(map[memberKey]membership), stock: c.holdings()}
}

// assign takes over an Assign message. A client that connects again says everything again: what is
// known stays as it is.
func (s *streams) assign(d *stream, a *sidecarpb.Assign) error {
	sess, m := d.session, membershipOf(a)
	s.apps.assigning.Lock()
	defer s.apps.assigning.Unlock()
	if err := s.sessions.mayAssign(sess, m); err != nil {
		return err
	}
	cluster, err := sess.assign(d, m, a.GetPartitions())
	if why := s.wills.never(m); cluster && why != nil {
		s.log.Warn("there will be no will for a membership", "app", sess.app.Name, "session", sess.id, "group", m.group, "member", m.member, "reason", why)
	}
	return err
}

// assign enters what a member was assigned, and tells whether the member's cluster is news.
func (s *session) assign(d *stream, m membership, partitions []*sidecarpb.AssignedPartition) (cluster bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return false, err
	}
	if cluster, err = s.enterMember(m); err != nil {
		return false, err
	}
	for _, p := range partitions {
		if err := s.enterEpoch(m.memberKey, p); err != nil {
			return cluster, err
		}
	}
	return cluster, nil
}

func (a *assignments) noRoom(what string) error {
	return fmt.Errorf("%w: no room for %s: what this session has told that costs no credit exceeds its share of MaxBytes; raise the sidecar's MaxBytes (limits.bytes)", errViolation, what)
}

func (a *assignments) enterEpoch(of memberKey, p *sidecarpb.AssignedPartition) error {
	if e := a.epochs[p.GetEpoch()]; e != nil {
		if e.of == of && e.topic == p.GetTopic() && e.partition == p.GetPartition() {
			return nil
		}
		return fmt.Errorf("%w: assignment epoch %d is that of %s partition %d: an epoch is one assignment of one partition", errViolation, e.id, e.topic, e.partition)
	}
	switch {
	case p.GetEpoch() == 0:
		return fmt.Errorf("%w: an assignment epoch is not 0", errViolation)
	case len(a.epochs) == maxEpochs:
		return fmt.Errorf("%w: more than %d assigned partitions", errViolation, maxEpochs)
	case len(p.GetTopic()) > maxTopicName:
		return fmt.Errorf("%w: the topic of assignment epoch %d has %d characters, Kafka takes %d", errViolation, p.GetEpoch(), len(p.GetTopic()), maxTopicName)
	}
	e := &epoch{
		id: p.GetEpoch(), of: of, topic: p.GetTopic(), partition: p.GetPartition(), kept: int64(epochCost + len(p.GetTopic())),
	}
	if !a.stock.kept.Take(e.kept) {
		return a.noRoom("a partition")
	}
	copy(e.topicID[:], p.GetTopicId())
	e.core = assignment.New(assignment.Spec{
		TopicID: e.topicID, Start: p.GetStartOffset(), Committed: -1, Base: p.GetStartIndex(), Limit: maxSpan,
	})
	a.inherit(e, p)
	for _, r := range p.GetDone() {
		a.enterDone(e, r)
	}
	a.epochs[e.id] = e
	return nil
}

// parsed are buffers to read done-sets into: one of 4 KiB of text may take 200 KiB, and most will
// not be kept.
var parsed = sync.Pool{New: func() any { return new([]donemeta.Run) }}

// inherit keeps the done-set that an assignment began from. One that is wrong is none, as is one for which
// there is no room: a repeat, no loss.
func (a *assignments) inherit(e *epoch, p *sidecarpb.AssignedPartition) {
	if p.GetDoneSet() == "" {
		return
	}
	scratch := parsed.Get().(*[]donemeta.Run) //nolint:forcetypeassert // of its New
	defer parsed.Put(scratch)
	runs, err := donemeta.ParseAt(p.GetDoneSet(), e.topicID, p.GetStartOffset(), (*scratch)[:0])
	*scratch = runs[:0]
	if err != nil || len(runs) == 0 {
		return
	}
	if cost := int64(len(runs)) * runCost; a.stock.kept.Take(cost) {
		e.kept += cost
		e.core.Inherit(slices.Clip(slices.Clone(runs)), p.GetDoneSet(), -1)
	}
}

// enterDone enters inputs that were done before this sidecar heard of the assignment. They lie above the
// mark: one that claims to be at it would let the mark, and with it the room above, move on for as
// long as the run says. What does not fit is left out: the mark may lag, never lie.
func (a *assignments) enterDone(e *epoch, r *sidecarpb.DoneRun) {
	first, mark := r.GetIndex(), e.core.MarkIndex()
	if first <= mark || first-mark >= maxSpan {
		return
	}
	n := min(r.GetCount(), maxSpan-(first-mark))
	if n == 0 || !e.reserve(first+n-1, &a.stock.entries) {
		return
	}
	for k := range n {
		if !e.core.Follow(first+k, r.GetOffset()+int64(k), 0) {
			return
		}
		e.core.Done(first + k)
	}
}

// release answers at once, or when the last unit of these epochs is finished. Units of them that
// come later are refused.
func (s *session) release(d *stream, r *sidecarpb.Release) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return err
	}
	if s.stock.unanswered++; s.stock.unanswered > maxUnanswered {
		return fmt.Errorf("%w: more than %d Releases wait for an answer, or for this client to read it", errViolation, maxUnanswered)
	}
	rel := &release{id: r.GetRequestId()}
	for _, id := range r.GetEpochs() {
		e := s.epochs[id]
		if e == nil || slices.Contains(e.releases, rel) {
			continue // named twice, released before, or never assigned: nothing to wait for
		}
		if len(e.releases) == maxReleases {
			return fmt.Errorf("%w: assignment epoch %d is named in more than %d Releases without an answer", errViolation, id, maxReleases)
		}
		e.core.Happen(assignment.Drain)
		if e.open == 0 {
			s.forget(e)
			continue
		}
		e.releases = append(e.releases, rel)
		rel.left++
	}
	if rel.left == 0 {
		s.released(rel)
	}
	return nil
}

// released is called with mu held. The reports of the released units are taken before it is sent
// (see take).
func (s *session) released(rel *release) {
	s.queue(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Released{Released: &sidecarpb.Released{RequestId: rel.id}}})
}

// source finds the epoch of a unit and enters its input, or returns the reason to refuse it. mu is
// held.
func (a *assignments) source(u *unit, size int64, last *epoch) (*epoch, *sidecarpb.UnitFailure) {
	e := last
	if e == nil || e.id != u.src.Epoch {
		e = a.epochs[u.src.Epoch]
	}
	if e == nil || e.released() {
		a.stock.refused++
		return nil, failure(0, "", -1, wire.CodeUnknownAssignment,
			fmt.Sprintf("assignment epoch %d is not held by this session: announce it by Assign before its first unit, and send no units after its Release", u.src.Epoch))
	}
	// An input beyond what is followed holds the mark below it: the mark may lag, never lie (S1).
	// One whose first unit failed is in the tracker already.
	if e.reserve(u.src.Index, &a.stock.entries) {
		e.core.Follow(u.src.Index, u.src.Offset, size)
	}
	e.open++
	return e, nil
}

// reserve counts the memory that an entry at index may take: a hostile index must not make a large
// ring for nothing.
func (e *epoch) reserve(index uint64, entries *limit.Share) bool {
	mark := e.core.MarkIndex()
	if index < mark || index-mark >= maxSpan {
		return false
	}
	if index-mark < e.capacity {
		return true
	}
	want := uint64(1) << bits.Len64(max(index-mark, 63))
	if !entries.Take(int64(want - e.capacity)) {
		return false
	}
	e.capacity = want
	return true
}

// finished ends a unit of the epoch. mu is held.
func (s *session) finished(u *unit, acked bool) {
	e := u.epoch
	if acked {
		e.core.Done(u.src.Index)
	}
	e.open--
	if !e.released() || e.open > 0 {
		return
	}
	for _, rel := range e.releases {
		if rel.left--; rel.left == 0 {
			s.released(rel)
		}
	}
	s.forget(e)
}

func (a *assignments) forget(e *epoch) {
	a.stock.entries.Give(int64(e.capacity))
	a.stock.kept.Give(e.kept)
	delete(a.epochs, e.id)
}

// refused returns how many units came for assignments that the session did not hold.
func (s *session) refused() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stock.refused
}
