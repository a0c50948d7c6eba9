package topicread

import (
	"encoding/binary"
	"testing"
)

// Offsets without a record are counted once each, in whatever pieces and however often batches
// come.
func TestHoles(t *testing.T) {
	batch := func(first, last int64, records int) []byte {
		b := make([]byte, batchHeader+3)
		binary.BigEndian.PutUint64(b, uint64(first))
		binary.BigEndian.PutUint32(b[batchLength:], uint32(len(b)-batchLength-4))
		b[batchMagic] = 2
		binary.BigEndian.PutUint32(b[batchLastDelta:], uint32(last-first))
		binary.BigEndian.PutUint32(b[batchRecords:], uint32(records))
		return b
	}
	join := func(all ...[]byte) (joined []byte) {
		for _, b := range all {
			joined = append(joined, b...)
		}
		return joined
	}
	old := batch(0, 0, 1)
	old[batchMagic] = 1
	for name, tc := range map[string]struct {
		start     int64
		responses [][]byte
		want      int64
	}{
		"none":                            {0, [][]byte{join(batch(0, 4, 5), batch(5, 5, 1))}, 0},
		"between batches":                 {0, [][]byte{join(batch(0, 4, 5), batch(7, 7, 1))}, 2},
		"before the first":                {3, [][]byte{batch(5, 5, 1)}, 2},
		"within a batch":                  {0, [][]byte{batch(0, 9, 4)}, 6},
		"an empty batch":                  {0, [][]byte{batch(0, 9, 0)}, 10},
		"the start is within a batch":     {3, [][]byte{batch(0, 9, 10)}, 0},
		"a batch that comes twice":        {0, [][]byte{batch(0, 9, 4), batch(0, 9, 4)}, 6},
		"cut off, and whole the next":     {0, [][]byte{join(batch(0, 4, 5), batch(5, 9, 1)[:62]), batch(5, 9, 1)}, 4},
		"behind the end":                  {0, [][]byte{join(batch(0, 99, 100), batch(150, 150, 1))}, 0},
		"an old format that says nothing": {0, [][]byte{old}, 1},
	} {
		task := Task{unseen: tc.start, End: 100}
		for _, response := range tc.responses {
			task.count(response)
		}
		if task.holes != tc.want {
			t.Errorf("%s: %d holes, want %d", name, task.holes, tc.want)
		}
	}
}
