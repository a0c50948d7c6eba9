package sidecar_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// What an app's list allows is told to who has its token; one that has not is refused and counted.
// Kafka is not asked about a topic that is forbidden.
func TestTopicsAreCheckedForTheApp(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Token: "right", Topics: []string{"mine*"}}}
	})
	client := sidecarpb.NewSidecarClient(dial(t, sc.Target))
	ask := func(app, token string) (*sidecarpb.StatusResponse, error) {
		return client.Status(t.Context(), &sidecarpb.StatusRequest{CheckTopics: []string{"mine.too", "nowhere"}, App: app, Token: token})
	}
	seen, err := ask("app", "right")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range seen.GetTopics() {
		got[c.GetTopic()] = c.GetError()
	}
	if len(got) != 2 || got["nowhere"] != "TOPIC_NOT_ALLOWED" || got["mine.too"] != "UNKNOWN_TOPIC_OR_PARTITION" || len(seen.GetRefusals()) != 0 {
		t.Errorf("topics %v, refusals %v", got, seen.GetRefusals())
	}
	for _, x := range [][2]string{{"app", "wrong"}, {"app", ""}, {"stranger", "right"}} {
		if seen, err := ask(x[0], x[1]); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v is told %v, %v", x, seen.GetTopics(), err)
		}
	}
	if seen, err = ask("", ""); err != nil || len(seen.GetRefusals()) != 1 || seen.GetRefusals()[0].GetReason() != "app or token" || seen.GetRefusals()[0].GetCount() != 3 {
		t.Errorf("refusals %v, %v", seen.GetRefusals(), err)
	}
}
