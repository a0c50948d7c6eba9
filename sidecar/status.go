package sidecar

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// statuses answers Status.
type statuses struct {
	identity *identity
	drain    *draining
	limits   credit
	apps     *apps.Apps
	sink     *sink
	brokers  *brokers.Brokers
	sessions *table
	wills    *wills
}

// Status tells what the sidecar is doing.
func (s *statuses) Status(ctx context.Context, req *sidecarpb.StatusRequest) (*sidecarpb.StatusResponse, error) {
	out := &sidecarpb.StatusResponse{
		Version: s.identity.version, SidecarId: s.identity.id, UptimeMs: time.Since(s.identity.started).Milliseconds(), State: s.stateName(),
		BrokerConnections: s.brokers.Connections(), ProduceRequests: s.brokers.ProduceRequests(),
		RecordsAcked: s.sink.recordsAcked.Load(), RecordsFailed: s.sink.recordsFailed.Load(),
		Wills: s.wills.stats.status(),
		Queue: &sidecarpb.QueueStatus{LimitBytes: uint64(s.limits.bytes), LimitRecords: uint64(s.limits.records)},
	}
	if err := public(s.brokers.Err()); err != nil {
		out.KafkaError = err.Error()
	}
	var err error
	if out.Topics, err = s.checkTopics(ctx, req); err != nil {
		return nil, err
	}
	out.Refusals = s.apps.Refusals.Status()
	for _, sess := range s.sessions.all() {
		st := sess.status(s.wills.noWill)
		if peer.OverWire(ctx) {
			st.SessionId, st.MemberId = alias(st.GetSessionId()), ""
		}
		out.Sessions = append(out.Sessions, st)
	}
	for _, t := range s.sink.topics.All() {
		queueStatus(t, out)
	}
	for _, a := range s.apps.All() {
		used, oldest, newest := a.Ring.Status()
		out.Apps = append(out.Apps, &sidecarpb.AppStatus{App: a.Name, RingUsed: uint64(used), RingSize: uint64(a.Ring.Size), OldestReport: oldest, NewestReport: newest})
	}
	slices.SortFunc(out.Sessions, func(a, b *sidecarpb.SessionStatus) int { return cmp.Compare(a.GetSessionId(), b.GetSessionId()) })
	slices.SortFunc(out.Apps, func(a, b *sidecarpb.AppStatus) int { return cmp.Compare(a.GetApp(), b.GetApp()) })
	slices.SortFunc(out.Partitions, func(a, b *sidecarpb.PartitionQueue) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return out, nil
}

func (s *statuses) stateName() string {
	switch {
	case s.drain.begun.Load():
		return "draining"
	case s.brokers.Err() == brokers.ErrNotChecked: //nolint:errorlint // identity is meant
		return "starting"
	}
	return "serving"
}

func queueStatus(t *topics.Topic, out *sidecarpb.StatusResponse) {
	for q := range t.Queued() {
		bytes, records := q.Held()
		out.Queue.Bytes += uint64(bytes)
		out.Queue.Records += uint64(records)
		if records > 0 {
			out.Partitions = append(out.Partitions, &sidecarpb.PartitionQueue{Topic: t.Name, Partition: q.Partition, Bytes: uint64(bytes), Records: uint64(records), Full: q.Over()})
		}
	}
}
