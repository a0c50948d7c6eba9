package sidecar_test

import (
	"testing"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Who names no app is held against no list: Status tells everybody that may connect whether a topic
// exists, one that no app may write to, too. SECURITY.md says so.
func TestEverybodySeesWhetherATopicExists(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Token: "right", Topics: []string{"mine"}}}
	})
	client := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	seen, err := client.Status(t.Context(), &sidecarpb.StatusRequest{CheckTopics: []string{"out", "nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range seen.GetTopics() {
		got[c.GetTopic()] = c.GetError()
	}
	if there, known := got["out"]; !known || there != "" || got["nowhere"] != "UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("topics %v: want out to be there and nowhere not to be", got)
	}
}
