package sidecar_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A commit that was sent is awaited, also when the will's time is over (S3): given up, it could
// reach the broker after a later one. What comes after it, is not begun.
func TestWillAwaitsItsCommit(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		h := b.hand(t)
		h.join()
		h.share(map[*hand][]int32{h: {0, 1}})
		b.kafka.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			b.kafka.SleepControl(func() { time.Sleep(3 * time.Second) })
			return nil, nil, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		got, err := b.sc.ExecuteWill(ctx, h.id, h.gen, true, "in", b.topicID(t), []int64{5, 7})
		if took := time.Since(begun); took < 3*time.Second || err == nil || got.Left {
			t.Errorf("%+v after %v, %v; want the commit's answer awaited, and nothing after it", got, took, err)
		}
		if at, _ := b.committed(t); at != 5 {
			t.Errorf("committed %d, want 5", at)
		}
	})
}
