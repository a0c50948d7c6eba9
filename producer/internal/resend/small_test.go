package resend

import (
	"runtime"
	"testing"

	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Units that are sent one by one, as Emit's are, and that wait for Kafka cost about what they
// weigh: their frames do not keep the room of full ones (S9).
func TestMemoryOfFramesOfOneUnit(t *testing.T) {
	const n, most = 10_000, 1024
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	q := newQueue(64<<10, func(result) {})
	data := make([]byte, 200)
	before := heap()
	for i := range n {
		f := q.Open()
		f.Data = append(f.Data, data...)
		q.Add(1, len(data), 1, call{ID: 1}, i)
		if q.Send(unit.Cost{Bytes: 1 << 40, Records: 1 << 30}, 0) == nil {
			t.Fatal("nothing is sent")
		}
	}
	each := (heap() - before) / n
	t.Logf("a unit of %d bytes takes %d", len(data), each)
	if each > most {
		t.Errorf("a unit of %d bytes takes %d, at most %d are allowed", len(data), each, most)
	}
	q.Report(1, n, nil)
	if q.taken != (unit.Cost{}) || q.Pinned() != 0 {
		t.Errorf("at the end: taken %+v, %d bytes held", q.taken, q.Pinned())
	}
}
