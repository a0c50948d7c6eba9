package podwire

import (
	"math"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Feature of Hello: the process tells its state.
const Feature = "state"

// chunk is how many partitions one message holds: small enough that units never wait for it.
const chunk = 256

// Messages are a report, in as many messages as it needs.
func Messages(r *podstate.Report, now time.Time) []*sidecarpb.DeliveryStreamRequest {
	first := &sidecarpb.ProcessState{NowMs: now.UnixMilli(), Process: summary(&r.Process)}
	for i := range r.Waiting[:min(len(r.Waiting), podstate.MaxWaiting)] {
		w := &r.Waiting[i]
		first.Waiting = append(first.Waiting, &sidecarpb.WaitingPartition{Topic: w.Topic, Partition: w.Partition, Reason: podstate.Text(w.Reason), Group: w.Group})
	}
	first.Incidents = Incidents(r.Incidents[:min(len(r.Incidents), podstate.MaxIncidents)])
	all := []*sidecarpb.DeliveryStreamRequest{message(first)}
	last := first
	for i := range r.Partitions {
		if len(last.GetPartitions()) == chunk {
			last = &sidecarpb.ProcessState{NowMs: now.UnixMilli()}
			all = append(all, message(last))
		}
		last.Partitions = append(last.Partitions, Partition(&r.Partitions[i]))
	}
	return all
}

// Happened is what a process tells that has no state to tell.
func Happened(list []podstate.Incident, now time.Time) []*sidecarpb.DeliveryStreamRequest {
	list = list[:min(len(list), podstate.MaxIncidents)]
	return []*sidecarpb.DeliveryStreamRequest{message(&sidecarpb.ProcessState{NowMs: now.UnixMilli(), Incidents: Incidents(list)})}
}

func message(s *sidecarpb.ProcessState) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_State{State: s}}
}

func summary(p *podstate.Process) *sidecarpb.ProcessSummary {
	c := &p.Counters
	return &sidecarpb.ProcessSummary{
		Lanes: uint32(p.Lanes), Busy: uint32(p.Busy), Queued: uint64(p.Queued), Finished: uint64(p.Finished), Direct: p.Direct, Problem: podstate.Text(p.Problem),
		Done: uint64(c.Done), DeadLetters: uint64(c.DeadLetters), Retries: uint64(c.Retries), Timeouts: uint64(c.Timeouts), Rejected: uint64(c.Rejected),
		Redelivered: uint64(c.Redelivered), Sentinels: sentinels(&p.Sentinels), Latency: Latency(p.Latency),
	}
}

// Latency is one as it goes up, and down in a status; nil of nil.
func Latency(l *podstate.Latency) *sidecarpb.Latency {
	if l == nil {
		return nil
	}
	return &sidecarpb.Latency{Count: uint64(l.Count), P50Us: uint64(l.P50), P95Us: uint64(l.P95), P99Us: uint64(l.P99), P999Us: uint64(l.P999)}
}

func sentinels(s *podstate.Sentinels) *sidecarpb.Sentinels {
	return &sidecarpb.Sentinels{
		CommitBeyond: uint64(s.CommitBeyond), OrderInverted: uint64(s.OrderInverted), InputSkipped: uint64(s.InputSkipped), ClosedAdmitted: uint64(s.ClosedAdmitted),
	}
}

// Partition is one as it goes up, and down in a status.
func Partition(p *podstate.Partition) *sidecarpb.PartitionState {
	o, c := &p.Offsets, &p.Counts
	out := &sidecarpb.PartitionState{
		Epoch: p.Epoch, State: string(p.State), Reason: podstate.Text(p.Reason),
		Start: o.Start, Committed: o.Committed, AckMark: o.AckMark, Handled: o.Handled, Fetched: o.Fetched, LogEnd: o.LogEnd,
		Read: uint64(c.Read), Inherited: uint64(c.Inherited), Done: uint64(c.Done), DoneAbove: uint64(c.DoneAbove), Pending: uint64(c.Pending),
		PendingBytes: uint64(c.PendingBytes), Parked: uint64(c.Parked), Lost: uint64(c.Lost), MoreRuns: p.DoneMore,
	}
	for _, r := range p.Done {
		out.DoneRuns = append(out.DoneRuns, &sidecarpb.OffsetRun{First: r.First, Last: r.Last})
	}
	if x := p.Oldest; x != nil {
		out.Oldest = &sidecarpb.OldestInput{
			Offset: x.Offset, SinceMs: millis(x.Since), KeyHash: x.KeyHash, Stage: string(x.Stage), Lane: int32(x.Lane), Attempt: uint32(x.Attempt), Behind: x.Behind,
			Error: podstate.Text(x.Error), Next: podstate.Text(x.Next), NextMs: millis(x.NextAt),
		}
	}
	return out
}

func incident(in *podstate.Incident) *sidecarpb.Incident {
	return &sidecarpb.Incident{
		TimeMs: millis(in.Time), Kind: string(in.Kind), Topic: in.Topic, Partition: in.Partition, Count: uint32(min(in.Count, math.MaxUint32)),
		Reason: podstate.Text(in.Reason), App: in.App, SessionId: in.Session,
	}
}

// Incidents are a list of them, as it goes up, and down in a status.
func Incidents(list []podstate.Incident) (out []*sidecarpb.Incident) {
	for i := range list {
		out = append(out, incident(&list[i]))
	}
	return out
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
