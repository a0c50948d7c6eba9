package sidecar

import (
	"fmt"
	"math/bits"

	"github.com/ackmark/ackmark/internal/ackmark"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxEpochs = 16 << 10 // per session
	// maxSpan is how far above the ack mark of its partition an input may be and still be followed.
	maxSpan = 1 << 20
	// trackedPerRecord is the number of tracker entries in the whole process for each of Config.MaxRecords; one takes about 17 bytes.
	trackedPerRecord = 16
)

// epoch is one stay of a partition with the session's process. All fields belong to session.mu.
type epoch struct {
	id        uint64
	topic     string
	partition int32
	tracker   *ackmark.Tracker // S4: a fresh one for each epoch
	capacity  uint64           // entries that are counted in server.tracked
	open      int              // units received and not finished
	released  bool
	releases  []*release // that wait for open to be 0
}

// release is a Release that is not answered yet.
type release struct {
	id   uint64
	left int // epochs with open units
}

// assign takes over an Assign message.
func (s *session) assign(a *sidecarpb.Assign) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.epochs)+len(a.GetPartitions()) > maxEpochs {
		return fmt.Errorf("%w: more than %d assigned partitions", errViolation, maxEpochs)
	}
	s.group, s.member, s.generation = a.GetGroup(), a.GetMemberId(), a.GetGeneration()
	for _, p := range a.GetPartitions() {
		if len(p.GetTopic()) > maxTopicName {
			return fmt.Errorf("%w: the topic of assignment epoch %d has %d characters, Kafka takes %d", errViolation, p.GetEpoch(), len(p.GetTopic()), maxTopicName)
		}
		if p.GetEpoch() == 0 || s.epochs[p.GetEpoch()] != nil {
			return fmt.Errorf("%w: assignment epoch %d: epochs are not 0, and each is assigned once", errViolation, p.GetEpoch())
		}
		s.epochs[p.GetEpoch()] = &epoch{id: p.GetEpoch(), topic: p.GetTopic(), partition: p.GetPartition(), tracker: ackmark.New(p.GetStartOffset(), maxSpan)}
	}
	return nil
}

// release answers at once, or when the last unit of these epochs is finished. Units of them that come later are refused.
func (s *session) release(r *sidecarpb.Release) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rel := &release{id: r.GetRequestId()}
	for _, id := range r.GetEpochs() {
		e := s.epochs[id]
		if e == nil || e.released {
			continue // named twice, or never assigned: nothing to wait for
		}
		e.released = true
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
}

// released is called with mu held. The reports of the released units are taken before it is sent (see take).
func (s *session) released(rel *release) {
	s.queue(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Released{Released: &sidecarpb.Released{RequestId: rel.id}}})
}

// source finds the epoch of a unit and enters its input, or returns the reason to refuse it. mu is held.
func (s *session) source(u *unit, last *epoch) (*epoch, *sidecarpb.UnitFailure) {
	e := last
	if e == nil || e.id != u.src.Epoch {
		e = s.epochs[u.src.Epoch]
	}
	if e == nil || e.released {
		s.unknownAssignments++
		return nil, failure(0, "", -1, wire.CodeUnknownAssignment,
			fmt.Sprintf("assignment epoch %d is not held by this session: announce it by Assign before its first unit, and send no units after its Release", u.src.Epoch))
	}
	// An input beyond what is followed holds the mark below it: the mark may lag, never lie (S1). One whose first unit failed is in the tracker already.
	if e.reserve(u.src.Index, s.server.tracked) {
		e.tracker.Put(u.src.Index, u.src.Offset, int(u.size))
	}
	e.open++
	return e, nil
}

// reserve counts the memory that an entry at index may take: a hostile index must not make a large ring for nothing.
func (e *epoch) reserve(index uint64, tracked *meter) bool {
	mark := e.tracker.MarkIndex()
	if index < mark || index-mark >= maxSpan {
		return false
	}
	if index-mark < e.capacity {
		return true
	}
	want := uint64(1) << bits.Len64(max(index-mark, 63))
	if !tracked.tryAdd(0, int64(want-e.capacity)) {
		return false
	}
	e.capacity = want
	return true
}

// finished ends a unit of the epoch. mu is held.
func (s *session) finished(u *unit, acked bool) {
	e := u.epoch
	if acked {
		e.tracker.Done(u.src.Index)
	}
	e.open--
	if !e.released || e.open > 0 {
		return
	}
	for _, rel := range e.releases {
		if rel.left--; rel.left == 0 {
			s.released(rel)
		}
	}
	s.forget(e)
}

func (s *session) forget(e *epoch) {
	s.server.tracked.sub(0, int64(e.capacity))
	delete(s.epochs, e.id)
}

// refused returns how many units came for assignments that the session did not hold.
func (s *session) refused() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknownAssignments
}
