package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The more partitions there are, the less of each a fetch brings, unless records are large; what
// the user has set stays.
func TestFetchesAreShared(t *testing.T) {
	for _, c := range []struct {
		name       string
		options    []kgo.Opt
		partitions int
		meanSize   int64
		want       int32
	}{
		{"none yet", nil, 0, 0, 128 << 10},
		{"one", nil, 1, 0, 1 << 20},
		{"six", nil, 6, 0, (1 << 20) / 6},
		{"many", nil, 1000, 0, 128 << 10},
		{"many, small records", nil, 1000, 300, 128 << 10},
		{"many, of a kilobyte", nil, 1000, 1300, 512 << 10},
		{"many, of megabytes", nil, 1000, 5 << 20, 1 << 20},
		{"six, of which none was read", nil, 6, 1, (1 << 20) / 6},
		{"the user's", []kgo.Opt{kgo.FetchMaxPartitionBytes(512 << 10)}, 6, 0, 512 << 10},
		{"the user's, what a client begins with", []kgo.Opt{kgo.FetchMaxPartitionBytes(128 << 10)}, 1, 5 << 20, 128 << 10},
		{"the user's fetches are larger", []kgo.Opt{kgo.FetchMaxBytes(50 << 20)}, 6, 5 << 20, 1 << 20},
		{"the user's fetches are smaller", []kgo.Opt{kgo.FetchMaxBytes(50 << 10)}, 6, 5 << 20, 50 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Brokers: []string{"b:1"}, Group: "g", Topics: []string{"in"}, MaxBytes: 64 << 20, Options: c.options}
			if err := cfg.adopt(); err != nil {
				t.Fatal(err)
			}
			opts := append([]kgo.Opt{kgo.FetchMaxBytes(cfg.fetchMaxBytes()), kgo.FetchMaxPartitionBytes(cfg.firstPiece())}, c.options...)
			cl, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			whole := cl.OptValue(kgo.FetchMaxBytes)
			rd := reader{cfg: &cfg, parts: newHeld(), meanSize: c.meanSize}
			rd.shareFetches(cl)
			for i := range c.partitions {
				rd.parts.add(&partition{assignment: &Assignment{Topic: "in", Partition: int32(i)}})
				rd.shareFetches(cl) // as they come
			}
			if got := cl.OptValue(kgo.FetchMaxPartitionBytes); got != any(c.want) {
				t.Errorf("a fetch brings %v bytes of a partition, want %d", got, c.want)
			}
			if got := cl.OptValue(kgo.FetchMaxBytes); got != whole {
				t.Errorf("a fetch brings %v bytes, want %v", got, whole)
			}
		})
	}
}

// With a budget of nothing much a piece is still something.
func TestASmallBudgetHasPieces(t *testing.T) {
	cfg := Config{MaxBytes: 1}
	for _, meanSize := range []int64{0, 1, 1 << 40, 1 << 62} {
		if piece := cfg.fetchPiece(1000, meanSize); piece < 1 || piece > cfg.fetchMaxPartitionBytes() {
			t.Errorf("records of %d bytes: a piece of %d", meanSize, piece)
		}
	}
}

// A piece has room for two batches as large as those that came lately, with CommitElsewhere for
// one: a broker gives a larger one of one partition only.
func TestAPieceHasRoomForBatches(t *testing.T) {
	cfg := Config{MaxBytes: 64 << 20}
	cl, err := kgo.NewClient(kgo.FetchMaxBytes(cfg.fetchMaxBytes()), kgo.FetchMaxPartitionBytes(cfg.firstPiece()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	rd := reader{cfg: &cfg, parts: newHeld(), meanSize: 300}
	for i := range 100 {
		rd.parts.add(&partition{assignment: &Assignment{Topic: "in", Partition: int32(i)}})
	}
	for _, c := range []struct {
		batch, times    int
		want, elsewhere int32
	}{
		{20 << 10, 1, 128 << 10, 128 << 10}, {120 << 10, 1, 256 << 10, 192 << 10}, {400 << 10, 1, 832 << 10, 512 << 10}, {5 << 20, 1, 1 << 20, 1 << 20},
		{100, 10, 1 << 20, 1 << 20}, {100, 200, 384 << 10, 256 << 10}, {100, 1000, 128 << 10, 128 << 10},
	} {
		for range c.times {
			rd.largest.OnFetchBatchRead(kgo.BrokerMetadata{}, "in", 0, kgo.FetchBatchMetrics{CompressedBytes: c.batch})
		}
		cfg.CommitElsewhere = true
		rd.shareFetches(cl)
		if got := cl.OptValue(kgo.FetchMaxPartitionBytes); got != any(c.elsewhere) {
			t.Errorf("with CommitElsewhere, after %d batches of %d bytes a fetch brings %v bytes of a partition, want %d", c.times, c.batch, got, c.elsewhere)
		}
		cfg.CommitElsewhere = false
		rd.shareFetches(cl)
		if got := cl.OptValue(kgo.FetchMaxPartitionBytes); got != any(c.want) {
			t.Errorf("after %d batches of %d bytes a fetch brings %v bytes of a partition, want %d", c.times, c.batch, got, c.want)
		}
	}
}
