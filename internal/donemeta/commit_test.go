package donemeta_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// Requests hold everything, in order, once; none is above the limit, and none could take what begins the next.
func TestCommits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		sizes := make([]int, r.IntN(400))
		for i := range sizes {
			sizes[i] = 1 + r.IntN(1<<(1+r.IntN(20)))
		}
		var back []int
		var last int
		for part := range donemeta.Commits(sizes, func(n *int) int { return *n }) {
			sum := 0
			for _, n := range part {
				sum += n
			}
			if len(part) == 0 || len(part) > 1 && sum > 512<<10 {
				t.Fatalf("a request of %d bytes in %d partitions", sum, len(part))
			}
			if len(back) > 0 && last+part[0] <= 512<<10 {
				t.Fatalf("cut too early: %d and %d", last, part[0])
			}
			back, last = append(back, part...), sum
		}
		if !slices.Equal(back, sizes) {
			t.Fatal("something is missing, or out of order")
		}
	}
}

func TestCommitSize(t *testing.T) {
	if got := donemeta.CommitSize("group", "topic", "metadata"); got < 5+5+8+60 {
		t.Errorf("%d bytes: less than Kafka's record takes", got)
	}
}
