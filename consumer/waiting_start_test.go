package consumer

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Where to start in a partition is refused again and again: nothing of it is read meanwhile, and
// then from the start. The client, not told to stand still, would have gone on, and what it has
// passed would be taken for a gap (S1).
func TestWhereToStartIsRefusedAgain(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		refused := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.StaleMemberEpoch, Count: -1})
		l.feed(0, 50)
		var mu sync.Mutex
		var all []int64
		m := l.start(l.epochs(), func(b *Batch) {
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Messages {
				all = append(all, b.Messages[i].Offset)
				b.Messages[i].Done(nil)
			}
		})
		for range 40 {
			time.Sleep(100 * time.Millisecond)
			l.feed(0, 5)
		}
		refused.Remove()
		l.untilCommitted(0, 250)
		mu.Lock()
		defer mu.Unlock()
		for i, o := range all {
			if int64(i) != o {
				t.Fatalf("input %d is that of offset %d", i, o)
			}
		}
		wantNil(t, m.stop())
	})
}
