package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// With CommitElsewhere the more partitions there are, the less of each a fetch brings; what the
// user has set stays.
func TestFetchesAreShared(t *testing.T) {
	for _, c := range []struct {
		name       string
		elsewhere  bool
		options    []kgo.Opt
		partitions int
		want       int32
	}{
		{"none yet", true, nil, 0, 1 << 20},
		{"one", true, nil, 1, 1 << 20},
		{"six", true, nil, 6, (1 << 20) / 6},
		{"many", true, nil, 1000, 128 << 10},
		{"the user's", true, []kgo.Opt{kgo.FetchMaxPartitionBytes(512 << 10)}, 6, 512 << 10},
		{"committed here", false, nil, 6, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{MaxBytes: 64 << 20, CommitElsewhere: c.elsewhere}
			opts := append([]kgo.Opt{kgo.FetchMaxBytes(cfg.fetchMaxBytes()), kgo.FetchMaxPartitionBytes(cfg.fetchMaxPartitionBytes())}, c.options...)
			cl, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			rd := reader{cfg: &cfg, parts: newHeld()}
			rd.shareFetches(cl)
			for i := range c.partitions {
				rd.parts.add(&partition{assignment: &Assignment{Topic: "in", Partition: int32(i)}})
				rd.shareFetches(cl) // as they come
			}
			if got := cl.OptValue(kgo.FetchMaxPartitionBytes); got != any(c.want) {
				t.Errorf("a fetch brings %v bytes of a partition, want %d", got, c.want)
			}
			if got := cl.OptValue(kgo.FetchMaxBytes); got != any(cfg.fetchMaxBytes()) {
				t.Errorf("a fetch brings %v bytes", got)
			}
		})
	}
}
