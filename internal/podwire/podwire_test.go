package podwire_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

var now = time.UnixMilli(1795867200123)

func partition(epoch uint64) podstate.Partition {
	return podstate.Partition{
		Epoch: epoch, State: podstate.Halted, Reason: "because",
		Offsets: podstate.Offsets{Start: -1, Committed: 2, AckMark: 3, Handled: 4, Fetched: 5, LogEnd: 6},
		Counts:  podstate.Counts{Read: 1, Inherited: 2, Done: 3, DoneAbove: 4, Pending: 5, PendingBytes: 6, Parked: 7, Lost: 8},
		Done:    []podstate.Run{{First: 7, Last: 8}}, DoneMore: true,
		Oldest: &podstate.Oldest{
			Offset: 3, Since: now.Add(-time.Minute), KeyHash: "0123456789abcdef", Stage: podstate.Retrying, Lane: 2, Attempt: 3, Behind: -1, Error: "e", Next: "n",
			NextAt: now.Add(time.Second),
		},
	}
}

// What goes up is within the bounds of the contract, and is read as it was told.
func TestWhatIsToldIsReadAlike(t *testing.T) {
	r := podstate.Report{Process: podstate.Process{Lanes: 4, Busy: 2, Queued: 7, Finished: 1, Direct: true, Problem: strings.Repeat("ä", 2000), Counters: podstate.Counters{Done: 9, Retries: 3}, Latency: &podstate.Latency{Count: 7, P50: 1, P95: 2, P99: 3, P999: 4},
		Sentinels: podstate.Sentinels{CommitBeyond: 1, OrderInverted: 2, InputSkipped: 3, ClosedAdmitted: 4}}}
	for e := range uint64(10_000) {
		r.Partitions = append(r.Partitions, partition(e+1))
	}
	for i := range 1000 {
		r.Waiting = append(r.Waiting, podstate.Partition{Topic: strings.Repeat("t", 249), Partition: int32(i), Reason: strings.Repeat("r", 5000), Group: "g"})
		r.Incidents = append(r.Incidents, podstate.Incident{Time: now, Kind: podstate.Halt, Topic: "t", Count: 2, Reason: strings.Repeat("r", 5000)})
	}
	var got []podstate.Partition
	messages := podwire.Messages(&r, now)
	for i, m := range messages {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && len(b) > 64<<10 {
			t.Errorf("a message of %d bytes: units wait for it", len(b))
		}
		read := new(sidecarpb.DeliveryStreamRequest)
		if err := wire.Decode(b, read); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if (read.GetState().GetProcess() != nil) != (i == 0) {
			t.Errorf("message %d: process %v", i, read.GetState().GetProcess())
		}
		for _, p := range read.GetState().GetPartitions() {
			x, err := podwire.ReadPartition(p, 0)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x)
		}
		for _, x := range read.GetState().GetIncidents() {
			if in, err := podwire.ReadIncident(x, time.Hour); err != nil || !in.Time.Equal(now.Add(time.Hour)) {
				t.Fatalf("%+v, %v", in, err)
			}
		}
	}
	if d := cmp.Diff(r.Partitions, got); d != "" {
		t.Error(d)
	}
	if len(messages) != 40 {
		t.Errorf("%d messages", len(messages))
	}
}

// A status of 500 sessions with 10,000 partitions becomes one shape, in order.
func TestPodOfManySessions(t *testing.T) {
	s := &sidecarpb.StatusResponse{NowMs: now.UnixMilli(), UptimeMs: 1000, BrokerConnections: 4}
	for i := range 500 {
		x := &sidecarpb.SessionStatus{App: fmt.Sprintf("app-%d", i%7), SessionId: fmt.Sprintf("%03d", i), Group: "old", Groups: []string{"g"}, State: "attached"}
		for k := range 20 {
			p := partition(uint64(k + 1))
			held := &sidecarpb.SessionPartition{Topic: fmt.Sprintf("topic.%d", k%3), Partition: int32(500*k + i), Epoch: uint64(k + 1), Group: "g", AckMark: 9, Pending: 3}
			if k%2 == 0 {
				held.State = podwire.Partition(&p)
			}
			x.Partitions = append(x.Partitions, held)
		}
		s.Sessions = append(s.Sessions, x)
	}
	pod := podwire.Pod(s)
	if len(pod.Sessions) != 500 || len(pod.Partitions) != 10_000 || pod.Sidecar.ConnectionsWithout != 2000 || !pod.Sidecar.Since.Equal(now.Add(-time.Second)) {
		t.Fatalf("%d sessions, %d partitions, %+v", len(pod.Sessions), len(pod.Partitions), pod.Sidecar)
	}
	untold := 0
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		if i > 0 && p.Topic < pod.Partitions[i-1].Topic {
			t.Fatal("out of order")
		}
		if p.State == podstate.Untold {
			untold++
			if p.Oldest == nil || p.Oldest.Offset != 9 || p.Oldest.Stage != podstate.Held || p.Lag() != -1 {
				t.Fatalf("%+v", p)
			}
		}
	}
	if untold != 5000 {
		t.Errorf("%d untold", untold)
	}
}

// A latency is read as it was told; what cannot be one is left out, and takes nothing else along.
func TestLatencyOfAPod(t *testing.T) {
	good := &podstate.Latency{Count: 7, P50: 1, P95: 2, P99: 3, P999: 4}
	for _, x := range []struct {
		told *sidecarpb.Latency
		want *podstate.Latency
	}{
		{podwire.Latency(good), good}, {podwire.Latency(nil), nil}, {new(sidecarpb.Latency), new(podstate.Latency)},
		{&sidecarpb.Latency{Count: math.MaxUint64}, nil}, {&sidecarpb.Latency{Count: 1, P50Us: 9, P95Us: 8, P99Us: 10, P999Us: 11}, nil},
		{&sidecarpb.Latency{Count: 1, P99Us: 9, P999Us: math.MaxUint64}, nil}, {&sidecarpb.Latency{Count: 1, P99Us: 9, P999Us: 8}, nil},
	} {
		pod := podwire.Pod(&sidecarpb.StatusResponse{Latency: x.told, Sessions: []*sidecarpb.SessionStatus{{Process: &sidecarpb.ProcessSummary{Lanes: 3, Latency: x.told}}}})
		if d := cmp.Diff([]*podstate.Latency{x.want, x.want}, []*podstate.Latency{pod.Latency, pod.Sessions[0].Process.Latency}); d != "" || pod.Sessions[0].Process.Lanes != 3 {
			t.Errorf("told %v: %s", x.told, d)
		}
	}
}

// What a sidecar says of routes is in the words in which it was said to it.
func TestRoutesOfAPod(t *testing.T) {
	pod := podwire.Pod(&sidecarpb.StatusResponse{
		Sessions: []*sidecarpb.SessionStatus{{FollowsRoutes: true}, {}},
		Routes:   []*sidecarpb.AppRoute{{App: "billing", Topic: "invoices", SidecarPercent: 10, Fallback: true, Configured: true}, {App: "*", Topic: "*"}},
	})
	want := []podstate.Route{{App: "billing", Topic: "invoices", By: "fallback:10", From: "file"}, {App: "*", Topic: "*", By: "direct", From: "set"}}
	if d := cmp.Diff(want, pod.Routes); d != "" || !pod.Sessions[0].FollowsRoutes || pod.Sessions[1].FollowsRoutes {
		t.Errorf("%s, %+v", d, pod.Sessions)
	}
}

// A sidecar of before has neither clock nor states.
func TestPodOfAnOlderSidecar(t *testing.T) {
	pod := podwire.Pod(&sidecarpb.StatusResponse{Sessions: []*sidecarpb.SessionStatus{{
		App: "a", Group: "g", State: "will", Partitions: []*sidecarpb.SessionPartition{{Topic: "t", AckMark: 4}},
	}}})
	p := pod.Partitions[0]
	if pod.Time.IsZero() || p.Group != "g" || p.State != podstate.Leaving || p.Oldest != nil || p.Offsets.AckMark != 4 || pod.Sessions[0].Groups[0] != "g" {
		t.Errorf("%+v", pod)
	}
}

// The pod's sentinels are the sidecar's and those that its processes tell; what a process claims
// cannot hide the others'. A sidecar of before them is not taken for one that counts 0.
func TestSentinelsOfAPodAreAdded(t *testing.T) {
	told := podwire.Messages(&podstate.Report{Process: podstate.Process{Sentinels: podstate.Sentinels{CommitBeyond: 1, OrderInverted: 2, InputSkipped: 3}}}, now)
	status := &sidecarpb.StatusResponse{
		Sentinels: &sidecarpb.Sentinels{CommitBeyond: 10, ClosedAdmitted: 20},
		Sessions: []*sidecarpb.SessionStatus{
			{SessionId: "a", Process: told[0].GetState().GetProcess()},
			{SessionId: "b", Process: &sidecarpb.ProcessSummary{Sentinels: &sidecarpb.Sentinels{InputSkipped: math.MaxUint64}}},
			{SessionId: "c"},
		},
	}
	want := podstate.Sentinels{CommitBeyond: 11, OrderInverted: 2, InputSkipped: math.MaxInt64, ClosedAdmitted: 20}
	if got := podwire.Pod(status).Sentinels; got == nil || *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if status.Sentinels = nil; podwire.Pod(status).Sentinels != nil {
		t.Error("nobody counts, and the pod says how much")
	}
}
