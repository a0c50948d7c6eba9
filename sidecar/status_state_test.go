package sidecar_test

import (
	"testing"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func tell(s *sidecarpb.ProcessState) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_State{State: s}}
}

// What a process tells is in the status that asks for it: of the partitions that the session holds,
// and of no others. What cannot be true is passed over, and the stream goes on.
func TestWhatAProcessTellsIsInStatus(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "session")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", Partition: 3, StartOffset: 7}, &sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", Partition: 4})
	told := &sidecarpb.PartitionState{Epoch: 1, State: "halted", Reason: "no", AckMark: 8, LogEnd: 20, Committed: 8, Handled: 8, Fetched: 12}
	c.send(tell(&sidecarpb.ProcessState{
		NowMs: 1, Process: &sidecarpb.ProcessSummary{Lanes: 8, Busy: 3},
		Partitions: []*sidecarpb.PartitionState{told, {Epoch: 2, State: "\x1b[2J"}, {Epoch: 77, State: "reading"}},
		Waiting:    []*sidecarpb.WaitingPartition{{Topic: "in", Partition: 5, Reason: "no leader", Group: "g"}},
		Incidents:  []*sidecarpb.Incident{{TimeMs: 1, Kind: "halt", Topic: "in", Partition: 3, Reason: "no", App: "somebody else"}},
	}))
	c.release(1, 99) // answered behind what was told
	if err := c.until(func() bool { return c.released[1] }); err != nil {
		t.Fatal(err)
	}
	status := func(state bool) *podstate.Pod {
		t.Helper()
		seen, err := sidecarpb.NewSidecarClient(dial(t, sc.Target)).Status(t.Context(), &sidecarpb.StatusRequest{State: state})
		if err != nil {
			t.Fatal(err)
		}
		return podwire.Pod(seen)
	}
	pod := status(true)
	if len(pod.Sessions) != 1 || pod.Sessions[0].Process == nil || pod.Sessions[0].Process.Busy != 3 || pod.Sessions[0].Told.IsZero() || pod.Sidecar.PID == 0 {
		t.Fatalf("%+v", pod.Sessions)
	}
	if len(pod.Partitions) != 3 {
		t.Fatalf("%+v", pod.Partitions)
	}
	halted, untold, waiting := pod.Partitions[0], pod.Partitions[1], pod.Partitions[2]
	if halted.State != podstate.Halted || halted.Reason != "no" || halted.Topic != "in" || halted.Partition != 3 || halted.Group != "g" || halted.Lag() != 12 {
		t.Errorf("%+v", halted)
	}
	if untold.State != podstate.Untold || untold.Partition != 4 || waiting.State != podstate.Waiting || waiting.Partition != 5 {
		t.Errorf("%+v, %+v", untold, waiting)
	}
	if len(pod.Incidents) != 1 || pod.Incidents[0].App != "app" || pod.Incidents[0].Session != pod.Sessions[0].ID {
		t.Errorf("%+v", pod.Incidents)
	}
	if bare := status(false); len(bare.Incidents) != 0 || bare.Partitions[0].State != podstate.Untold {
		t.Errorf("without being asked: %+v", bare)
	}
	c.units(plain("out", 3)...)
	if err := c.until(func() bool { return len(c.acked) == 3 }); err != nil {
		t.Errorf("the stream does not go on: %v", err)
	}
}

// A storm of reports is dropped undecoded, and units between them go on.
func TestAStormOfReports(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "session")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	for i := range int64(500) {
		c.send(tell(&sidecarpb.ProcessState{Partitions: []*sidecarpb.PartitionState{{Epoch: 1, State: "reading", AckMark: i}}}))
		c.units(plain("out", 1)...)
	}
	if err := c.until(func() bool { return len(c.acked) == 500 }); err != nil {
		t.Fatal(err)
	}
	own, err := sc.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if mark := own.GetSessions()[0].GetPartitions()[0].GetState().GetAckMark(); mark < 63 || mark == 499 {
		t.Errorf("told last: %d; 64 are taken at once, and 32 a second", mark)
	}
}
