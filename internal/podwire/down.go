package podwire

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// latest is the last millisecond that JSON has a form for. One process that told of a later one
// would take the whole pod's state from whoever looks.
const latest = 253_402_300_799_999

// at is a time that was told in milliseconds, moved by the difference of two clocks; zero for what
// is none.
func at(ms int64, shift time.Duration) time.Time {
	if ms <= 0 || ms > latest {
		return time.Time{}
	}
	t := time.UnixMilli(ms).Add(shift)
	if moved := t.UnixMilli(); moved <= 0 || moved > latest-int64(24*time.Hour/time.Millisecond) { // in any time zone
		return time.Time{}
	}
	return t
}

// count is a number that was told as unsigned; what is no count becomes -1, which Validate refuses.
func count(n uint64) int64 {
	if n >= math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// ReadPartition is what was told of a partition. The error names what cannot be true.
func ReadPartition(m *sidecarpb.PartitionState, shift time.Duration) (podstate.Partition, error) {
	p := podstate.Partition{
		Epoch: m.GetEpoch(), State: podstate.PartitionState(m.GetState()), Reason: m.GetReason(), DoneMore: m.GetMoreRuns(),
		Offsets: podstate.Offsets{
			Start: m.GetStart(), Committed: m.GetCommitted(), AckMark: m.GetAckMark(), Handled: m.GetHandled(), Fetched: m.GetFetched(), LogEnd: m.GetLogEnd(),
		},
		Counts: podstate.Counts{
			Read: count(m.GetRead()), Inherited: count(m.GetInherited()), Done: count(m.GetDone()), DoneAbove: count(m.GetDoneAbove()), Pending: count(m.GetPending()),
			PendingBytes: count(m.GetPendingBytes()), Parked: count(m.GetParked()), Lost: count(m.GetLost()),
		},
		Done: []podstate.Run{},
	}
	for _, r := range m.GetDoneRuns() {
		p.Done = append(p.Done, podstate.Run{First: r.GetFirst(), Last: r.GetLast()})
	}
	if x := m.GetOldest(); x != nil {
		p.Oldest = &podstate.Oldest{
			Offset: x.GetOffset(), Since: at(x.GetSinceMs(), shift), KeyHash: x.GetKeyHash(), Stage: podstate.Stage(x.GetStage()), Lane: int(x.GetLane()),
			Attempt: int(x.GetAttempt()), Behind: x.GetBehind(), Error: x.GetError(), Next: x.GetNext(), NextAt: at(x.GetNextMs(), shift),
		}
	}
	return p, p.Validate()
}

// ReadIncident is what was told of an incident.
func ReadIncident(m *sidecarpb.Incident, shift time.Duration) (podstate.Incident, error) {
	in := podstate.Incident{
		Time: at(m.GetTimeMs(), shift), Kind: podstate.Kind(m.GetKind()), App: m.GetApp(), Session: m.GetSessionId(), Topic: m.GetTopic(), Partition: m.GetPartition(),
		Count: int64(m.GetCount()), Reason: m.GetReason(),
	}
	return in, in.Validate()
}

func readSummary(m *sidecarpb.ProcessSummary) *podstate.Process {
	if m == nil {
		return nil
	}
	return &podstate.Process{
		Lanes: int(m.GetLanes()), Busy: int(m.GetBusy()), Queued: int(count(m.GetQueued())), Finished: int(count(m.GetFinished())), Direct: m.GetDirect(), Problem: m.GetProblem(),
		Counters: podstate.Counters{
			Done: count(m.GetDone()), DeadLetters: count(m.GetDeadLetters()), Retries: count(m.GetRetries()), Timeouts: count(m.GetTimeouts()),
			Rejected: count(m.GetRejected()), Redelivered: count(m.GetRedelivered()),
		},
		Sentinels: readSentinels(m.GetSentinels()), Latency: readLatency(m.GetLatency()),
	}
}

// readLatency leaves out what cannot be true.
func readLatency(m *sidecarpb.Latency) *podstate.Latency {
	if m == nil {
		return nil
	}
	l := &podstate.Latency{Count: count(m.GetCount()), P50: count(m.GetP50Us()), P95: count(m.GetP95Us()), P99: count(m.GetP99Us()), P999: count(m.GetP999Us())}
	if l.Count < 0 || l.P50 < 0 || l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.P999 {
		return nil
	}
	return l
}

func readTransactions(m *sidecarpb.TransactionStatus, now time.Time) *podstate.Transactions {
	if m == nil {
		return nil
	}
	t := &podstate.Transactions{
		ID: m.GetTransactionalId(), State: m.GetState(),
		Committed: count(m.GetCommitted()), Aborted: count(m.GetAborted()), Unknown: count(m.GetUnknown()), Renewals: count(m.GetTakenAnew()),
	}
	if age := m.GetAgeMs(); age > 0 {
		t.UncommittedSince = at(now.UnixMilli()-age, 0)
	}
	return t
}

// readSentinels takes any claim for a large one: what is said to be broken is not refused.
func readSentinels(m *sidecarpb.Sentinels) podstate.Sentinels {
	most := func(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
	return podstate.Sentinels{
		CommitBeyond: most(m.GetCommitBeyond()), OrderInverted: most(m.GetOrderInverted()), InputSkipped: most(m.GetInputSkipped()), ClosedAdmitted: most(m.GetClosedAdmitted()),
	}
}

// Pod is what a status says, as one shape. A sidecar of before feature "state" says less: then the
// partitions are untold.
func Pod(s *sidecarpb.StatusResponse) *podstate.Pod {
	now := at(s.GetNowMs(), 0)
	if now.IsZero() {
		now = time.Now()
	}
	q, w := s.GetQueue(), s.GetWills()
	pod := &podstate.Pod{
		Time: now,
		Sidecar: &podstate.Sidecar{
			ID: s.GetSidecarId(), Version: s.GetVersion(), PID: int(s.GetPid()), Since: now.Add(-time.Duration(s.GetUptimeMs()) * time.Millisecond).Truncate(time.Millisecond),
			State: s.GetState(), KafkaError: s.GetKafkaError(), Connections: int(s.GetBrokerConnections()),
			Queue:      podstate.Amount{Records: count(q.GetRecords()), Bytes: count(q.GetBytes())},
			QueueLimit: podstate.Amount{Records: count(q.GetLimitRecords()), Bytes: count(q.GetLimitBytes())},
		},
		Sessions: []podstate.Session{}, Partitions: []podstate.Partition{}, Queues: []podstate.Queue{}, Incidents: []podstate.Incident{},
		Wills: podstate.Wills{
			Running: int(w.GetRunning()), Executed: count(w.GetExecuted()), Complete: count(w.GetComplete()), Superseded: count(w.GetSuperseded()), Refused: count(w.GetRefused()),
			Partitions: count(w.GetPartitions()), Units: count(w.GetUnits()), Fenced: count(w.GetFenced()), Resumed: count(w.GetResumed()),
		},
		Counters: podstate.Counters{Acked: count(s.GetRecordsAcked()), Failed: count(s.GetRecordsFailed()), ProduceRequests: count(s.GetProduceRequests())},
	}
	pod.Latency = readLatency(s.GetLatency())
	pod.Sidecar.Transactions = readTransactions(s.GetTransactions(), now)
	if m := s.GetSentinels(); m != nil { // a sidecar of before them has none
		all := readSentinels(m)
		pod.Sentinels = &all
	}
	for _, x := range s.GetSessions() {
		readSession(pod, x)
		if n := len(pod.Sessions); pod.Sentinels != nil && pod.Sessions[n-1].Process != nil {
			pod.Sentinels.Add(pod.Sessions[n-1].Process.Sentinels)
		}
	}
	pod.Sidecar.ConnectionsWithout = pod.Sidecar.Connections * max(len(pod.Sessions), 1)
	for _, x := range s.GetPartitions() {
		pod.Queues = append(pod.Queues, podstate.Queue{
			Topic: x.GetTopic(), Partition: x.GetPartition(), Amount: podstate.Amount{Records: count(x.GetRecords()), Bytes: count(x.GetBytes())}, Full: x.GetFull(),
		})
	}
	for _, x := range s.GetRoutes() {
		from := "set"
		if x.GetConfigured() {
			from = "file"
		}
		by := route.Route{Share: int(x.GetSidecarPercent()), Detour: x.GetFallback()}
		pod.Routes = append(pod.Routes, podstate.Route{App: x.GetApp(), Topic: x.GetTopic(), By: by.String(), From: from})
	}
	for _, x := range s.GetIncidents() {
		if in, err := ReadIncident(x, 0); err == nil {
			pod.Incidents = append(pod.Incidents, in)
		}
	}
	slices.SortStableFunc(pod.Partitions, func(a, b podstate.Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Session, b.Session))
	})
	slices.SortStableFunc(pod.Sessions, func(a, b podstate.Session) int { return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.ID, b.ID)) })
	return pod
}

func readSession(pod *podstate.Pod, x *sidecarpb.SessionStatus) {
	s := podstate.Session{
		ID: x.GetSessionId(), App: x.GetApp(), PID: int(x.GetPeerPid()), State: x.GetState(), Groups: append([]string{}, x.GetGroups()...),
		Credit:      podstate.Amount{Records: count(x.GetCreditRecords()), Bytes: count(x.GetCreditBytes())},
		Outstanding: podstate.Amount{Records: count(x.GetOutstandingUnits()), Bytes: count(x.GetOutstandingBytes())},
		NoWill:      x.GetNoWill(), FollowsRoutes: x.GetFollowsRoutes(), ExactlyOnce: x.GetExactlyOnce(), Partitions: len(x.GetPartitions()), Told: at(x.GetToldMs(), 0), Process: readSummary(x.GetProcess()),
	}
	if len(s.Groups) == 0 && x.GetGroup() != "" {
		s.Groups = append(s.Groups, x.GetGroup())
	}
	for _, held := range x.GetPartitions() {
		pod.Partitions = append(pod.Partitions, readHeld(&s, held, cmp.Or(held.GetGroup(), x.GetGroup())))
	}
	for _, w := range x.GetWaiting() {
		pod.Partitions = append(pod.Partitions, podstate.Partition{
			Session: s.ID, App: s.App, Group: w.GetGroup(), Topic: w.GetTopic(), Partition: w.GetPartition(), State: podstate.Waiting, Reason: w.GetReason(),
			Offsets: podstate.Offsets{Start: -1, Committed: -1, AckMark: -1, Handled: -1, Fetched: -1, LogEnd: -1}, Done: []podstate.Run{},
		})
	}
	pod.Sessions = append(pod.Sessions, s)
}

// readHeld joins what the sidecar sees of an assignment and what its process told of it.
func readHeld(s *podstate.Session, x *sidecarpb.SessionPartition, group string) podstate.Partition {
	p, err := ReadPartition(x.GetState(), 0)
	if x.GetState() == nil || err != nil {
		p = podstate.Partition{
			State:   podstate.Untold,
			Offsets: podstate.Offsets{Start: -1, Committed: -1, AckMark: x.GetAckMark(), Handled: -1, Fetched: -1, LogEnd: -1},
			Counts:  podstate.Counts{Pending: count(x.GetPending())}, Done: []podstate.Run{},
		}
		if x.GetPending() > 0 {
			p.Oldest = &podstate.Oldest{Offset: x.GetAckMark(), Stage: podstate.Held, Lane: -1, Behind: -1, Next: "its app does not tell where it is"}
		}
	}
	if s.State == "will" {
		p.State = podstate.Leaving
	}
	p.Session, p.App, p.Group, p.Topic, p.Partition, p.Epoch = s.ID, s.App, group, x.GetTopic(), x.GetPartition(), x.GetEpoch()
	return p
}
