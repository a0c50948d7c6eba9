package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// claims are what a session has of the transactions: its assignments, as who commits their offsets
// follows them. Nil: its process commits itself (at-least-once). Its units are in the lane's hands
// from when they were pushed until they are decided.
type claims struct {
	*txn.Claims

	in      *transactions
	hand    inHand                  // in the lane's hands
	topics  map[string]bool         // that exist; the receiver's own
	leaving map[uint64]*txn.Leaving // by the request of a Release that is not answered; under the session's mu
}

// claim makes a new session one whose offsets are committed with its outputs.
func (t *transactions) claim(s *session) {
	s.claims = &claims{Claims: txn.NewClaims(s.memberGone), in: t, topics: map[string]bool{}, leaving: map[uint64]*txn.Leaving{}}
	s.held.Claimed(s.claims.Fit)
}

// bound ends transactions when three quarters of a credit wait for them: the larger they are, the
// fewer, and the rest fills meanwhile.
func (c *claims) bound(records int64) {
	if c != nil {
		c.hand.credit.Store(records)
	}
}

// end gives up what is not committed: the session is over. What its transaction decides is decided
// as before, and told nobody.
func (c *claims) end() {
	if c != nil {
		c.Close()
		c.in.forget()
	}
}

// letGo has what was received of a dead process committed under the memberships of now, or given
// up: it names no newer ones.
func (c *claims) letGo() {
	c.Release(c.Live())
	c.in.lane.Flush()
}

// forget drops what was given up, and gives its memory back.
func (t *transactions) forget() { t.lane.Forget() }

// release lets assignments go: what was received of them is committed first, at once, or never if
// they are given up. Under the session's mu.
func (c *claims) release(r *sidecarpb.Release) {
	if c == nil {
		return
	}
	l, _ := c.Release(r.GetEpochs())
	c.leaving[r.GetRequestId()] = l
	if r.GetGivenUp() {
		c.Abandon(r.GetEpochs())
		c.in.forget()
		return
	}
	if !l.Over() { // or anybody could end the others' transactions before they are due
		c.in.lane.Flush()
	}
}

// resume forgets the Releases of the stream before. Under the session's mu.
func (c *claims) resume() {
	if c != nil {
		clear(c.leaving)
		c.Forgotten()
	}
}

// let answers a Release whose units are finished, at once or when the transaction has ended that
// has what lies behind the last of them. The client asks again on another stream. Under the
// session's mu.
func (c *claims) let(s *session, request uint64, answer *sidecarpb.DeliveryStreamResponse) {
	l := c.leaving[request]
	delete(c.leaving, request)
	if l == nil || l.Over() { // nil: it named another Release's request
		s.queue(answer)
		return
	}
	d := s.stream
	if d == nil {
		return
	}
	go func() {
		select {
		case <-l.Done():
			s.answer(d, answer)
		case <-d.replaced:
		case <-s.ctx.Done():
		}
	}()
}

// cross commits what lies behind the last input of an assignment.
func (c *claims) cross(m *sidecarpb.Crossed) {
	if c == nil {
		return
	}
	if run, due := c.Crossed(m.GetEpoch(), m.GetOffset()); due {
		c.in.lane.Push(run)
	}
}

// claim takes over, for the transactions, what an Assign message said that the session has taken
// over. Of assignments whose units may be committed already it asks the group first.
func (s *streams) claim(d *stream, m assigned.Membership, list []*sidecarpb.AssignedPartition) error {
	sess := d.session
	s.sessions.giveUp(sess, m, list)
	had, err := s.standing(d, m, list)
	if err != nil {
		return err
	}
	added, err := sess.claimable(d, list, had)
	if err != nil {
		return err
	}
	sess.claims.Assign(txn.Holder{Group: m.Group, Consumer: m.Consumer},
		groupcommit.Member{Group: m.Group, MemberID: m.ID, InstanceID: m.Instance, Generation: m.Generation, Protocol: m.Protocol}, added)
	sess.claims.in.lane.Wake()
	return nil
}

// giveUp has former sessions of a process commit nothing any more of partitions that begin anew in
// one. In order they have released them before. Of sessions of others a partition's new owner need
// not be believed: their group refuses what they commit under a generation that is over.
func (t *table) giveUp(heir *session, m assigned.Membership, list []*sidecarpb.AssignedPartition) {
	type place struct {
		topic     string
		partition int32
	}
	begin := make(map[place]bool, len(list))
	for _, p := range list {
		if !heir.claims.Has(p.GetEpoch()) {
			begin[place{p.GetTopic(), p.GetPartition()}] = true
		}
	}
	if len(begin) == 0 {
		return
	}
	p := heir.from()
	for _, other := range t.all() {
		if other == heir || other.claims == nil || other.app != heir.app || !other.givesWayTo(p) {
			continue
		}
		if other.claims.GiveUp(m.Group, m.Generation, func(topic string, partition int32) bool { return begin[place{topic, partition}] }) {
			t.cfg.Logger.Warn("a session commits nothing any more of partitions that another one has", "session", other.id, "heir", heir.id, "group", m.Group)
			heir.claims.in.lane.Wake()
		}
	}
}

// standing asks what the group has of assignments that are told again. Nobody commits for them
// meanwhile: the session that had them has given them up, and a former sidecar is fenced. It gives
// up when the session goes on with another stream, on which they are told once more.
func (s *streams) standing(d *stream, m assigned.Membership, list []*sidecarpb.AssignedPartition) (map[uint64][]donemeta.Run, error) {
	sess := d.session
	var epochs []uint64
	var places []txn.Place
	for _, p := range list {
		if p.GetResumed() && !sess.claims.Has(p.GetEpoch()) {
			at := txn.Place{Topic: p.GetTopic(), Partition: p.GetPartition(), Offset: p.GetStartOffset()}
			copy(at.TopicID[:], p.GetTopicId())
			places, epochs = append(places, at), append(epochs, p.GetEpoch())
		}
	}
	if len(places) == 0 {
		return nil, nil
	}
	begun := time.Now()
	ctx, cancel := context.WithCancel(sess.ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-d.replaced:
		case <-ctx.Done():
		}
	}()
	runs, err := sess.claims.in.lane.Standing(ctx, m.Group, places)
	if err != nil {
		if err := sess.goesOn(d); err != nil {
			return nil, err
		}
		if errors.Is(err, kerr.GroupAuthorizationFailed) {
			return nil, status.Errorf(codes.PermissionDenied, "%s: the sidecar's principal may not read group %.255q: %v; grant it READ on the group", wire.CodeGroupNotAllowed, m.Group, err)
		}
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	s.log.Info("assignments go on where their group stands", "app", sess.app.Name, "session", sess.id, "group", m.Group, "partitions", len(places), "took", time.Since(begun))
	had := make(map[uint64][]donemeta.Run, len(epochs))
	for i, epoch := range epochs {
		had[epoch] = runs[i]
	}
	return had, nil
}

// claimable are the assignments that the session holds.
func (s *session) claimable(d *stream, list []*sidecarpb.AssignedPartition, had map[uint64][]donemeta.Run) ([]txn.Added, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return nil, err
	}
	var added []txn.Added
	for _, p := range list {
		if s.claims.Has(p.GetEpoch()) {
			s.tellAgain(p.GetEpoch())
			continue
		}
		core, err := s.held.Claim(p, had[p.GetEpoch()])
		if err != nil {
			return nil, violation(err)
		}
		if core == nil {
			continue
		}
		e := s.held.Partition(p.GetEpoch())
		added = append(added, txn.Added{Epoch: e.Epoch, Topic: e.Topic, TopicID: e.TopicID, Partition: e.Index, Core: core, Committed: had[e.Epoch]})
	}
	return added, nil
}

// mayCommit tells why a member's offsets cannot be in the transactions: its group is in another
// cluster, or a topic has no id. A done-set is bound to that, and without one what is done above
// the ack mark would repeat.
func (s *streams) mayCommit(sess *session, m assigned.Membership, list []*sidecarpb.AssignedPartition) error {
	if sess.claims == nil {
		return nil
	}
	if m.Group == "" {
		return fmt.Errorf("%w: no group in Assign, with feature %s", errViolation, featureExactlyOnce)
	}
	for _, p := range list {
		if id := p.GetTopicId(); len(id) != topicIDBytes || [topicIDBytes]byte(id) == [topicIDBytes]byte{} {
			return fmt.Errorf("%w: AssignedPartition.topic_id of topic %.255q is empty: feature %s needs the %d bytes of Kafka's topic id (Metadata has it)",
				errViolation, p.GetTopic(), featureExactlyOnce, topicIDBytes)
		}
	}
	if why := s.wills.sameCluster(sess.ctx, m); why != nil {
		return status.Errorf(codes.PermissionDenied, "%s: %v; exactly-once needs inputs and outputs in one cluster: send to the sidecar of the group's cluster, or take at-least-once", wire.CodeGroupNotAllowed, why)
	}
	return nil
}

const topicIDBytes = 16

// memberGone tells the client that the group does not know a member any more: what it holds as that
// was given up. A consumer that is another member by now has heard it from the group.
func (s *session) memberGone(of txn.Holder, err error) {
	why, ok := errors.AsType[*txn.MemberError](err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.held.Membership(assigned.MemberKey{Group: of.Group, Consumer: of.Consumer}); ok && m.ID == why.MemberID && !s.state.ended() {
		s.tellFenced(m, why.Error())
	}
}

// tellAgain tells the client once more that an assignment which it takes for its own was given up
// here: what said so was lost with its stream. mu is held.
func (s *session) tellAgain(epoch uint64) {
	if e := s.held.Partition(epoch); e != nil && s.claims.IsAbandoned(epoch) {
		s.tellFenced(s.held.Membership(e.Of), "assignments that it holds were given up while its process was not connected")
	}
}

func (s *session) tellFenced(m assigned.Membership, why string) {
	s.queue(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_MemberFenced{
		MemberFenced: &sidecarpb.MemberFenced{Group: m.Group, Consumer: m.Consumer, MemberId: m.ID, Reason: why},
	}})
}

// follow fails the units for which there is no room above their ack marks, which move meanwhile:
// under the session's mu. Not for good: their partitions are taken up anew.
func (s *session) follow(f *frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range f.units {
		u := &f.units[i]
		switch {
		case u.failure != nil || !u.source:
		case u.of.Beyond(u.src.Index):
			u.failure = mismatch()
		case !u.of.Admits(u.src.Index):
			u.failure = noRoom(u)
		}
	}
}

func mismatch() *sidecarpb.UnitFailure {
	return failure(0, "", -1, wire.CodeDelivery, "the input's index or offset contradicts those of its assignment")
}

func noRoom(u *unit) *sidecarpb.UnitFailure {
	return failure(0, "", -1, wire.CodeNoRoom, fmt.Sprintf("input %d of assignment epoch %d is further above the partition's ack mark than this session has room for: if it happens often, raise the sidecar's MaxRecords (limits.records), or lower MaxRecords of the consumers", u.src.Index, u.src.Epoch))
}

// enter enters a unit for a transaction. False: it has its fate already, in its failure or done.
func (c *claims) enter(f *frame, i int) (in txn.Unit, goesIn bool) {
	u := &f.units[i]
	if u.failure != nil || !u.source {
		return txn.Unit{}, u.failure == nil
	}
	claim, e := c.Enter(u.src.Epoch, u.src.Index, u.src.Offset, f.Cost(i).Bytes)
	switch e {
	case txn.Entered:
		return txn.Unit{Claim: claim, Index: u.src.Index}, true
	case txn.Known: // acknowledged
		eachFlow(f.recordsOf(i), func(flow *flows.Flow, n uint64) { flow.Known.Add(n) })
	case txn.Released, txn.Unheld:
		u.failure = givenUp(u.src.Epoch)
	default:
		u.failure = mismatch()
	}
	return txn.Unit{}, false
}

func givenUp(epoch uint64) *sidecarpb.UnitFailure {
	return failure(0, "", -1, wire.CodeReleased, fmt.Sprintf("assignment epoch %d was given up before this unit was committed: its partition has left this process", epoch))
}

// ofUnit tells that an error is about a unit, and not that there are no transactions any more.
func ofUnit(err error) bool {
	if _, ofRecord := errors.AsType[*txn.RecordError](err); ofRecord {
		return true
	}
	_, ofOffset := errors.AsType[*txn.OffsetError](err)
	return ofOffset || errors.Is(err, txn.ErrMemberGone) || errors.Is(err, txn.ErrNotOpen)
}
