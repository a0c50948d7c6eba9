package ackmark

import (
	"math/rand/v2"
	"testing"
)

const window = 4096

// BenchmarkInOrder is a partition whose inputs end in the order they came, a window behind. Goal: ≤
// 20 ns a record.
func BenchmarkInOrder(b *testing.B) {
	b.ReportAllocs()
	t := New(0, window)
	var offset int64
	for b.Loop() {
		index, ok := t.Add(offset, 100)
		if offset++; !ok || (index >= window-1 && !t.Done(index-(window-1))) {
			b.Fatal("full, or not done")
		}
	}
}

// BenchmarkRandomWindow is a partition with 4,096 inputs in flight that end in random order. Goal:
// ≤ 30 ns a record.
func BenchmarkRandomWindow(b *testing.B) {
	b.ReportAllocs()
	t := New(0, 4*window)
	order := rand.New(rand.NewPCG(1, 2)).Perm(window)
	var offset int64
	i := 0
	for b.Loop() {
		if i == 0 {
			for range window {
				t.Add(offset, 100)
				offset++
			}
		}
		t.Done(uint64(offset) - window + uint64(order[i]))
		i = (i + 1) % window
	}
}

// BenchmarkDoneRange ends runs of 128, as the producer reports them.
func BenchmarkDoneRange(b *testing.B) {
	b.ReportAllocs()
	t := New(0, window)
	const run = 128
	var offset int64
	for b.Loop() {
		index, ok := t.Add(offset, 100)
		offset++
		if !ok {
			b.Fatal("full")
		}
		if index%run == run-1 && t.DoneRange(index-(run-1), run) != run {
			b.Fatal("not done")
		}
	}
}
