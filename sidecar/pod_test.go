package sidecar_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// What the admin port shows has no id by which a session could be gone on with; partitions are
// joined to their session by the alias.
func TestPodStateHidesSessionIDs(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	c := hello(t, dial(t, sc.Target), "secret-id")
	c.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", StartOffset: 7})
	c.release(9, 1)
	if err := c.until(func() bool { return c.released[9] }); err != nil {
		t.Fatal(err)
	}
	c.assign(&sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", StartOffset: 7})
	c.release(10, 1)
	if err := c.until(func() bool { return c.released[10] }); err != nil {
		t.Fatal(err)
	}
	pod := sc.Pod()
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "secret-id") {
		t.Errorf("the session's id is shown: %s", text)
	}
	if len(pod.Sessions) != 1 || len(pod.Partitions) != 1 {
		t.Fatalf("%s", text)
	}
	s, p := pod.Sessions[0], pod.Partitions[0]
	if s.ID == "" || s.ID != p.Session || p.Topic != "in" || p.Offsets.AckMark != 7 || p.State != podstate.Untold || pod.Sidecar.State != "serving" {
		t.Errorf("%s", text)
	}
	again := sc.Pod()
	if again.Sessions[0].ID != s.ID {
		t.Error("a session's alias changes")
	}
}
