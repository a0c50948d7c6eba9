package sidecar

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// BenchmarkSentinelOfClosedSessions is what a message costs whose session may be over: looked at
// when it is entered, and when it goes to kgo.
func BenchmarkSentinelOfClosedSessions(b *testing.B) {
	srv := idle(b)
	s := srv.testSession(b)
	defer s.end(errStreamDone)
	const each = 1000
	b.ReportAllocs()
	began := childproc.OwnCPUTime() // other work on the machine is not ours
	for b.Loop() {
		for range each {
			srv.sink.stillOpen(s, 256)
			srv.sink.stillOpen(s, 256)
		}
	}
	b.ReportMetric(float64(childproc.OwnCPUTime()-began)/float64(b.N)/each, "cpu-ns/message")
	if n := srv.sink.watch.Counts().Sum(); n != 0 {
		b.Fatalf("%d found", n)
	}
}

// BenchmarkSentinelOfWills is what a will costs for each of its partitions, in which of so many
// inputs every second one is done.
func BenchmarkSentinelOfWills(b *testing.B) {
	for _, inputs := range []int{1, 100, 10_000} {
		b.Run("inputs="+strconv.Itoa(inputs), func(b *testing.B) {
			watch := sentinel.NewWatch(slog.New(slog.DiscardHandler))
			core := assignment.New(assignment.Spec{Committed: -1, Limit: 2 * inputs})
			for i := range inputs {
				index, ok := core.Read(int64(i), 1)
				if !ok {
					b.Fatal(i)
				}
				if i%2 != 0 {
					core.Done(index)
				}
			}
			mark, done := core.Standing()
			if len(done) != inputs/2 {
				b.Fatalf("%d runs", len(done))
			}
			b.ReportAllocs()
			began := childproc.OwnCPUTime()
			for b.Loop() {
				if open, known := firstOpen(core); known && sentinel.IsBeyond(mark, open) {
					watch.Found(sentinel.CommitBeyond)
				}
			}
			b.ReportMetric(float64(childproc.OwnCPUTime()-began)/float64(b.N), "cpu-ns/partition")
			if n := watch.Counts().Sum(); n != 0 {
				b.Fatalf("%d found", n)
			}
		})
	}
}
