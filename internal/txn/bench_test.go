package txn

import (
	"fmt"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// BenchmarkWindow takes as many units into a window as fit, as many claims have them in turn.
func BenchmarkWindow(b *testing.B) {
	for _, n := range []int{1, 6, 1000, 10_000} {
		b.Run(fmt.Sprint("claims=", n), func(b *testing.B) {
			of := inTurn(n, maxUnits)
			w := newWindow(time.Time{}, nil)
			for b.Loop() {
				next := newWindow(time.Time{}, nil)
				next.first, next.claims = w.first[:0], w.claims[:0]
				w = next
				for i := range maxUnits {
					w.add(Run{of, i, i + 1})
				}
			}
		})
	}
}

// inTurn is a batch of so many units that so many claims have in turn.
func inTurn(claims, units int) *unitsOf {
	all := make([]*Claim, claims)
	for i := range all {
		all[i] = &Claim{of: NewClaims(nil)}
	}
	b := &unitsOf{}
	for i := range units {
		b.claims = append(b.claims, all[i%claims])
	}
	return b
}

// BenchmarkAssign has a process claim so many partitions at once: what one costs does not depend on
// how many there are.
func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint("partitions=", n), func(b *testing.B) {
			core := assignment.New(assignment.Spec{Committed: -1, Limit: 10})
			added := make([]Added, n)
			for i := range added {
				added[i] = Added{Epoch: uint64(i + 1), Topic: "in", Partition: int32(i), Core: core}
			}
			for b.Loop() {
				NewClaims(nil).Assign(Holder{Group: "g"}, groupcommit.Member{Group: "g", MemberID: "m"}, added)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/partition")
		})
	}
}
