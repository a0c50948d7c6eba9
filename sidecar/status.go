package sidecar

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Status tells what the sidecar is doing.
func (s *Server) Status(ctx context.Context, req *sidecarpb.StatusRequest) (*sidecarpb.StatusResponse, error) {
	out := &sidecarpb.StatusResponse{
		Version: s.cfg.Version, SidecarId: s.id, UptimeMs: time.Since(s.started).Milliseconds(), State: s.stateName(),
		BrokerConnections: uint32(max(s.hooks.connections.Load(), 0)), ProduceRequests: uint64(s.hooks.produceRequests.Load()),
		RecordsAcked: s.recordsAcked.Load(), RecordsFailed: s.recordsFailed.Load(),
		Wills: s.wills.status(),
		Queue: &sidecarpb.QueueStatus{LimitBytes: uint64(s.cfg.MaxBytes), LimitRecords: uint64(s.cfg.MaxRecords)},
	}
	if err := s.kafka.err(); err != nil {
		out.KafkaError = err.Error()
	}
	var err error
	if out.Topics, err = s.checkTopics(ctx, req); err != nil {
		return nil, err
	}
	out.Refusals = s.apps.refusals.status()
	for _, sess := range s.snapshot() {
		st := sess.status()
		if peer.OverWire(ctx) {
			st.SessionId, st.MemberId = alias(st.GetSessionId()), ""
		}
		out.Sessions = append(out.Sessions, st)
	}
	for _, t := range s.topics.all() {
		t.status(out)
	}
	for _, a := range s.apps.all() {
		used, oldest, newest := a.ring.Status()
		out.Apps = append(out.Apps, &sidecarpb.AppStatus{App: a.Name, RingUsed: uint64(used), RingSize: uint64(a.ring.Size), OldestReport: oldest, NewestReport: newest})
	}
	slices.SortFunc(out.Sessions, func(a, b *sidecarpb.SessionStatus) int { return cmp.Compare(a.GetSessionId(), b.GetSessionId()) })
	slices.SortFunc(out.Apps, func(a, b *sidecarpb.AppStatus) int { return cmp.Compare(a.GetApp(), b.GetApp()) })
	slices.SortFunc(out.Partitions, func(a, b *sidecarpb.PartitionQueue) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return out, nil
}

func (s *Server) stateName() string {
	switch {
	case s.draining.Load():
		return "draining"
	case s.kafka.err() == errNotChecked: //nolint:errorlint // identity is meant
		return "starting"
	}
	return "serving"
}

func (s *Server) snapshot() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, sess := range s.sessions {
		out = append(out, sess)
	}
	return out
}

func (s *session) status() *sidecarpb.SessionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &sidecarpb.SessionStatus{
		App: s.app.Name, SessionId: s.id, PeerPid: int64(s.peer.PID), State: s.state.word(),
		OutstandingUnits: uint64(s.ledger.Outstanding().Units), OutstandingBytes: uint64(s.ledger.Outstanding().Bytes),
		HighestSequence: s.ledger.Received(),
	}
	for _, m := range s.memberships() { // nearly always one
		out.Group, out.MemberId, out.Generation = m.group, m.member, m.generation
		if why := s.server.noWill(m); why != nil {
			out.NoWill = why.Error()
		}
	}
	for _, e := range s.epochs {
		out.Partitions = append(out.Partitions, &sidecarpb.SessionPartition{Topic: e.topic, Partition: e.partition, Epoch: e.id, AckMark: e.core.FollowedMark(), Pending: uint64(e.open)})
	}
	slices.SortFunc(out.Partitions, func(a, b *sidecarpb.SessionPartition) int { return cmp.Compare(a.GetEpoch(), b.GetEpoch()) })
	return out
}

func (t *topic) status(out *sidecarpb.StatusResponse) {
	for _, q := range *t.queues.Load() {
		if q == nil {
			continue
		}
		bytes, records := q.Held()
		out.Queue.Bytes += uint64(bytes)
		out.Queue.Records += uint64(records)
		if records > 0 {
			out.Partitions = append(out.Partitions, &sidecarpb.PartitionQueue{Topic: t.name, Partition: q.partition, Bytes: uint64(bytes), Records: uint64(records), Full: q.Over()})
		}
	}
}
