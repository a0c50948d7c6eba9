package sidecar

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/credits"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/routes"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// statuses answers Status.
type statuses struct {
	identity *identity
	drain    *draining
	limits   credits.Cost
	apps     *apps.Apps
	sink     *sink
	brokers  *brokers.Brokers
	sessions *table
	wills    *wills
	routes   *routes.Table

	transactions *transactions // nil: there are none
}

// Status tells what the sidecar is doing.
func (s *statuses) Status(ctx context.Context, req *sidecarpb.StatusRequest) (*sidecarpb.StatusResponse, error) {
	out := &sidecarpb.StatusResponse{
		Version: s.identity.version, SidecarId: s.identity.id, UptimeMs: time.Since(s.identity.started).Milliseconds(), State: s.stateName(),
		BrokerConnections: s.brokers.Connections(), ProduceRequests: s.brokers.ProduceRequests(),
		RecordsAcked: s.sink.flows.Acked(), RecordsFailed: s.sink.recordsFailed.Load(),
		Wills: s.wills.stats.status(), Sentinels: sentinelStatus(s.sink.watch.Counts()), Pid: int64(os.Getpid()), NowMs: time.Now().UnixMilli(),
		Latency:      podwire.Latency(s.sink.flows.Latency(time.Now())),
		Transactions: s.transactions.status(),
		Queue:        &sidecarpb.QueueStatus{LimitBytes: uint64(s.limits.Bytes), LimitRecords: uint64(s.limits.Records)},
	}
	if err := public(s.brokers.Err()); err != nil {
		out.KafkaError = err.Error()
	}
	var err error
	if out.Topics, err = s.checkTopics(ctx, req); err != nil {
		return nil, err
	}
	out.Refusals = s.apps.Refusals.Status()
	out.Routes = s.routes.Status()
	who, err := s.reader(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, sess := range s.sessions.all() {
		st := sess.status(s.wills.noWill)
		if req.GetState() {
			sess.told.Show(st, who.may(sess))
		}
		if peer.OverWire(ctx) {
			st.SessionId, st.MemberId = alias(st.GetSessionId()), ""
		}
		out.Sessions = append(out.Sessions, st)
	}
	if req.GetState() {
		out.Incidents = s.incidents(who)
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

func sentinelStatus(n ackmark.Sentinels) *sidecarpb.Sentinels {
	return &sidecarpb.Sentinels{CommitBeyond: n.CommitBeyond, ClosedAdmitted: n.ClosedAdmitted}
}
