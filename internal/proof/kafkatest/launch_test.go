package kafkatest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// Brokers of a program run until it stops them, and leave nothing.
func TestLaunch(t *testing.T) {
	kafkatest.Require(t)
	if testing.Short() {
		t.Skip("real brokers are not started with -short")
	}
	r, err := kafkatest.Launch(t.Context(), kafkatest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	err = cl.Ping(t.Context())
	cl.Close()
	dir := kafkatest.DataDir(kafkatest.ClusterOf(r))
	if n := len(r.PIDs()); err != nil || n != 1 || r.Version() == "" {
		t.Errorf("%d brokers of version %q, ping: %v", n, r.Version(), err)
	}
	if logs := r.Stop(false); logs != "" || len(r.PIDs()) != 0 {
		t.Errorf("after Stop: logs %q, processes %v", logs, r.PIDs())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestLaunchRefusesWhatNoClusterIs(t *testing.T) {
	if _, err := kafkatest.Launch(t.Context(), kafkatest.Config{Brokers: 2}); err == nil || !strings.Contains(err.Error(), "use 1 or 3") {
		t.Errorf("two brokers: %v", err)
	}
}
