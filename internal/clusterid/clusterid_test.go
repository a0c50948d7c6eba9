package clusterid_test

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/clusterid"
)

func TestClusterID(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("one"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if id, err := clusterid.Of(t.Context(), cl.Request); id != "one" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	var asked atomic.Int32
	c.ControlKey(-1, func(kmsg.Request) (kmsg.Response, error, bool) {
		asked.Add(1)
		return nil, nil, false
	})
	if id := clusterid.Known(t.Context(), cl); id != "one" || asked.Load() > 0 {
		t.Errorf("%q after %d requests, want the id and none", id, asked.Load())
	}
}

func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"a", "b", true}, {"a", "a", false}, {"", "b", false}, {"a", "", false}, {"", "", false}} {
		if clusterid.Differ(c.a, c.b) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
