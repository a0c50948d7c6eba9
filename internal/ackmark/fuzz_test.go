package ackmark

import (
	"encoding/binary"
	"testing"
)

// FuzzOffsetGaps feeds a sequence of gaps, however wide, and ends the inputs in an order that the
// same bytes choose. Whatever they are: the mark is never above an input that is not done, and
// reaches the end when all are.
func FuzzOffsetGaps(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 3, 255})
	f.Add([]byte{200, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, 255, 255, 255, 255, 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 300)] // the check below is quadratic
		tr := New(0, 1+len(data))
		var offsets []int64
		for rest := data; len(rest) > 0; {
			gap, n := binary.Uvarint(rest)
			if n <= 0 {
				break
			}
			rest = rest[n:]
			if offset := tr.Next() + int64(gap%(1<<50)); gap%4 == 3 {
				tr.Skip(offset)
			} else if _, ok := tr.Add(offset, 1); ok {
				offsets = append(offsets, offset)
			}
		}
		open := make(map[int]bool, len(offsets))
		for i := range offsets {
			open[i] = true
		}
		for i := 0; len(open) > 0; i++ {
			pick := (i*7 + int(data[i%len(data)])) % len(offsets)
			for !open[pick] {
				pick = (pick + 1) % len(offsets)
			}
			if !tr.Done(uint64(pick)) || tr.Done(uint64(pick)) {
				t.Fatalf("Done(%d) must win exactly once", pick)
			}
			delete(open, pick)
			for j := range open {
				if tr.Mark() > offsets[j] {
					t.Fatalf("mark %d above offset %d, which is not done", tr.Mark(), offsets[j])
				}
			}
		}
		if tr.Mark() != tr.Next() {
			t.Fatalf("all done, mark %d, want %d", tr.Mark(), tr.Next())
		}
	})
}
