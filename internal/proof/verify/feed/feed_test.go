package feed

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func broker(t *testing.T) (*kgo.Client, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	cl, err := kgo.NewClient(append(opts, kgo.UnknownTopicRetries(0))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl, opts
}

// Every input that Finish counts is in the topic, once, and at the rate that was asked for.
func TestFeed(t *testing.T) {
	cl, opts := broker(t)
	begun := time.Now()
	f := Start(cl, "in", 1, 2000)
	for tick := time.NewTicker(time.Millisecond); f.Made() < 300; <-tick.C {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d inputs in 20 s", f.Made())
		}
	}
	n, err := f.Finish()
	if err != nil || n < 300 {
		t.Fatalf("%d inputs, %v", n, err)
	}
	if least := time.Duration(n-100) * time.Second / 2000; time.Since(begun) < least {
		t.Errorf("%d inputs took %s: that is more than 2,000 a second", n, time.Since(begun))
	}
	if again, err := f.Finish(); again != n || err != nil {
		t.Errorf("finished twice: %d, %v", again, err)
	}
	got, err := reader.Outputs(t.Context(), opts, "in", "in", verify.OutputsConfig{Inputs: n})
	if err != nil || got.Outputs != n || got.Lost+got.Duplicated+got.Reordered+got.Unknown > 0 {
		t.Errorf("%s, %v; want %d", got, err, n)
	}
}

// An input that the brokers refuse is no input: the feed has failed.
func TestFeedFails(t *testing.T) {
	cl, _ := broker(t)
	f := Start(cl, "nowhere", 1, 2000)
	for tick := time.NewTicker(time.Millisecond); f.Made() == 0; <-tick.C {
	}
	if _, err := f.Finish(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("error %v", err)
	}
}
