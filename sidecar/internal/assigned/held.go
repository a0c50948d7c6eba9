package assigned

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxEpochs = 16 << 10 // per session
	// epochCost and memberCost are what an assignment and a membership take beside their names,
	// about; runCost is a run of an inherited done-set.
	epochCost    = 640
	memberCost   = 256
	runCost      = 16
	maxTopicName = 249
	// trackedPerRecord is the number of tracker entries in the whole process for each of
	// Config.MaxRecords; one takes about 17 bytes. Up to mostTracked it is four times as many: how
	// far inputs are above their marks does not follow what is outstanding. What is claimed is
	// followed twice, by apps that read twice as far ahead, and has four times as many records.
	trackedPerRecord = 16
	mostTracked      = 16 << 20
)

// restsWith is how many entries a partition may keep that has no unit on its way.
const restsWith = 1024

const (
	// MaxReleases is how many Releases without an answer may name one assignment.
	MaxReleases = 4
	// MaxUnanswered is how many Releases of a session may wait for their answer, or for somebody to
	// read it.
	MaxUnanswered = 256
	// MaxSpan is how far above the ack mark of its partition an input may be and still be followed.
	MaxSpan = 1 << 20
	// MaxGroups is how many memberships a session may have.
	MaxGroups = 64
)

// Commons is what sessions share beside the memory of records.
type Commons struct {
	Entries *limit.Commons // of trackers; one takes about 17 bytes
	Kept    *limit.Commons // bytes of what a session says that costs no credit: assignments, done-sets, names
}

// NewCommons are those of a sidecar with such limits.
func NewCommons(maxBytes int64, maxRecords, maxSessions int) Commons {
	return Commons{
		Entries: limit.NewCommons(tracked(int64(maxRecords)), maxSessions),
		Kept:    limit.NewCommons(maxBytes, maxSessions),
	}
}

func tracked(maxRecords int64) int64 {
	return max(trackedPerRecord*maxRecords, min(4*trackedPerRecord*maxRecords, mostTracked))
}

// Held is what a session's process holds. See [Commons.Held].
type Held struct {
	partitions map[uint64]*Partition // by assignment epoch
	members    map[MemberKey]Membership
	heard      heard

	trackers      int64              // of each assignment: two where it is claimed, too
	fitToo        func(epoch uint64) // the second of them; nil: there is none
	entries, kept limit.Share
	unanswered    int    // Releases whose answer is not sent
	refused       uint64 // units that came for assignments that the session did not hold
	missed        missed

	file    *sessionfile.File // nil: there is none
	problem func(error)       // hears why something is not in it
	// unwritten: there is something that is not in the file, and was to be.
	unwritten bool
	leaves    bool // the file has memberships alone: its will only leaves
}

// Held is nothing yet.
func (c *Commons) Held() Held {
	return Held{
		partitions: make(map[uint64]*Partition), members: make(map[MemberKey]Membership),
		heard:    heard{make(map[MemberKey]Membership), make(map[uint64]*Partition)},
		trackers: 1, entries: c.Entries.Share(), kept: c.Kept.Share(),
	}
}

// Close gives back what was taken. Nothing is held any more.
func (h *Held) Close() {
	h.entries.Close()
	h.kept.Close()
	h.partitions, h.members, h.heard = nil, nil, heard{}
}

// Blank tells that the process has said nothing itself.
func (h *Held) Blank() bool { return len(h.members) == 0 && len(h.partitions) == 0 }

// Kept is the session's share of memory that no credit covers. Its lock is its own.
func (h *Held) Kept() *limit.Share { return &h.kept }

// Refused is how many units came for assignments that the session did not hold.
func (h *Held) Refused() uint64 { return h.refused }

// Partition is the assignment of an epoch, or nil.
func (h *Held) Partition(epoch uint64) *Partition { return h.partitions[epoch] }

// Partitions are the assignments in the order of their epochs, the released ones included, and
// those that the process has not said again.
func (h *Held) Partitions() []*Partition {
	all := slices.AppendSeq(slices.Collect(maps.Values(h.partitions)), maps.Values(h.heard.partitions))
	slices.SortFunc(all, func(a, b *Partition) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return all
}

// Membership is what a consumer is a member as, the zero one if it is none.
func (h *Held) Membership(of MemberKey) Membership { return h.members[of] }

// Memberships are in the order of their groups. What the process has said of one goes before what
// was heard.
func (h *Held) Memberships() []Membership {
	all := maps.Clone(h.heard.members)
	maps.Copy(all, h.members)
	return slices.SortedFunc(maps.Values(all), func(a, b Membership) int { return a.MemberKey.compare(b.MemberKey) })
}

// Speaks tells whether the process has a membership of which that is true.
func (h *Held) Speaks(is func(*Membership) bool) bool {
	for _, m := range h.members {
		if is(&m) {
			return true
		}
	}
	for of, m := range h.heard.members {
		if _, told := h.members[of]; !told && is(&m) {
			return true
		}
	}
	return false
}

// EnterMember takes over the membership of an Assign message, and tells whether its cluster is
// news.
func (h *Held) EnterMember(m Membership) (cluster bool, err error) {
	before, known := h.members[m.MemberKey]
	if heard, is := h.heard.members[m.MemberKey]; is && heard.ID != m.ID {
		h.Told(m.MemberKey) // what another member held is not this one's
	}
	switch {
	case m.ID == "" && !h.holds(m.MemberKey):
		if known {
			h.kept.Give(before.size())
		}
		delete(h.members, m.MemberKey) // it has left
		h.write(m)
		return false, nil
	case !known && len(h.members) == MaxGroups:
		return false, fmt.Errorf("more than %d memberships in one session", MaxGroups)
	}
	if !h.take(m.size()) {
		return false, NoRoom("a membership")
	}
	if known {
		h.kept.Give(before.size())
	}
	h.members[m.MemberKey] = m
	h.write(m)
	return before.Cluster != m.Cluster, nil
}

// holds tells whether a consumer has assignments that it did not release.
func (h *Held) holds(of MemberKey) bool {
	for _, e := range h.partitions {
		if e.Of == of && !e.Released() {
			return true
		}
	}
	return false
}

// NoRoom is said of what does not fit into the session's share.
func NoRoom(what string) error {
	return fmt.Errorf("no room for %s: what this session has told that costs no credit exceeds its share of MaxBytes; raise the sidecar's MaxBytes (limits.bytes)", what)
}

// Enter takes over a partition of an Assign message. A client that connects again says everything
// again: what is known stays as it is.
func (h *Held) Enter(of MemberKey, p *sidecarpb.AssignedPartition) error {
	if e := h.partitions[p.GetEpoch()]; e != nil {
		if e.Of == of && e.Topic == p.GetTopic() && e.Index == p.GetPartition() {
			return nil
		}
		return fmt.Errorf("assignment epoch %d is that of %s partition %d: an epoch is one assignment of one partition", e.Epoch, e.Topic, e.Index)
	}
	switch {
	case p.GetEpoch() == 0:
		return fmt.Errorf("an assignment epoch is not 0")
	case len(h.partitions) == maxEpochs:
		return fmt.Errorf("more than %d assigned partitions", maxEpochs)
	case len(p.GetTopic()) > maxTopicName:
		return fmt.Errorf("the topic of assignment epoch %d has %d characters, Kafka takes %d", p.GetEpoch(), len(p.GetTopic()), maxTopicName)
	}
	e := &Partition{
		Epoch: p.GetEpoch(), Of: of, Topic: p.GetTopic(), Index: p.GetPartition(), kept: h.trackers * int64(epochCost+len(p.GetTopic())), trackers: h.trackers,
	}
	h.unhear(e.Epoch)
	if !h.take(e.kept) {
		return NoRoom("a partition")
	}
	copy(e.TopicID[:], p.GetTopicId())
	spec := assignment.Spec{TopicID: e.TopicID, Start: p.GetStartOffset(), Committed: -1, Base: p.GetStartIndex(), Limit: MaxSpan}
	e.Core = assignment.New(spec)
	h.enterFile(e)
	h.inherit(e, p)
	for _, r := range p.GetDone() {
		h.enterDone(e, r)
	}
	h.partitions[e.Epoch] = e
	return nil
}

// Release lets assignments go: units of them that come later are refused. Now: there is nothing to
// wait for, and it is answered at once. Otherwise Finish says when.
func (h *Held) Release(r *sidecarpb.Release) (now bool, err error) {
	if h.unanswered++; h.unanswered > MaxUnanswered {
		return false, fmt.Errorf("more than %d Releases wait for an answer, or for this client to read it", MaxUnanswered)
	}
	rel := &release{id: r.GetRequestId()}
	for _, epoch := range r.GetEpochs() {
		h.unhear(epoch)
		e := h.partitions[epoch]
		if e == nil || slices.Contains(e.releases, rel) {
			continue // named twice, released before, or never assigned: nothing to wait for
		}
		if len(e.releases) == MaxReleases {
			return false, fmt.Errorf("assignment epoch %d is named in more than %d Releases without an answer", epoch, MaxReleases)
		}
		e.Core.Happen(assignment.Drain)
		e.entry.Release() // no will names it any more
		if e.Open == 0 {
			h.forget(e)
			continue
		}
		e.releases = append(e.releases, rel)
		rel.left++
	}
	return rel.left == 0, nil
}

// Answered counts the Releases whose answer is being sent.
func (h *Held) Answered(sent []*sidecarpb.DeliveryStreamResponse) {
	for _, m := range sent {
		if m.GetReleased() != nil {
			h.unanswered--
		}
	}
}

// Resume forgets the Releases that are not answered: the client says them again.
func (h *Held) Resume() {
	h.unanswered = 0
	for _, e := range h.partitions {
		e.releases = nil
	}
}

// Receive finds the assignment of a unit, and enters its input. It returns nil for one that is not
// held. Last is that of the unit before: most units come in runs.
func (h *Held) Receive(src *wire.Source, size int64, last *Partition) *Partition {
	e := last
	if e == nil || e.Epoch != src.Epoch {
		e = h.partitions[src.Epoch]
	}
	if e == nil || e.Released() {
		h.refused++
		return nil
	}
	// An input beyond what is followed holds the mark below it: the mark may lag, never lie (S1).
	// One whose first unit failed is in the tracker already.
	if h.reserve(e, src.Index) {
		e.Core.Follow(src.Index, src.Offset, size)
	} else if src.Index >= e.Core.MarkIndex() {
		h.miss(e, src.Index, 1)
	}
	e.Open++
	return e
}

// Finish ends a unit of an assignment, and returns the Releases that are answered by that: nearly
// always none.
func (h *Held) Finish(e *Partition, index uint64, acked bool) (released []uint64) {
	if acked && e.Core.Done(index) {
		e.giveBack(&h.entries)
	}
	e.Open--
	if e.Open == 0 && e.capacity > restsWith {
		h.fit(e) // others may need it
	}
	if !e.Released() || e.Open > 0 {
		return nil
	}
	for _, rel := range e.releases {
		if rel.left--; rel.left == 0 {
			released = append(released, rel.id)
		}
	}
	h.forget(e)
	return released
}

func (h *Held) forget(e *Partition) {
	h.entries.Give(e.trackers * int64(e.capacity))
	h.kept.Give(e.kept)
	e.entry.Release()
	delete(h.partitions, e.Epoch)
}

// Unexplained is what is taken of the shares beside what assignments and memberships take, for
// tests: names of topics, or a leak.
func (h *Held) Unexplained() (entries, kept int64) {
	entries, kept = h.entries.Held(), h.kept.Held()
	for _, e := range h.Partitions() {
		entries -= e.trackers * int64(e.capacity)
		kept -= e.kept
	}
	for _, members := range []map[MemberKey]Membership{h.members, h.heard.members} {
		for _, m := range members {
			kept -= m.size()
		}
	}
	return entries, kept
}
