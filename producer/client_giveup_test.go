package producer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a Release did not wait for is given up, if the sidecar commits: at once where its context
// had ended before, and when it ends. At-least-once it is not, for a repeat is no harm.
func TestClientGivesUp(t *testing.T) {
	for name, commits := range map[string]bool{"exactly-once": true, "at-least-once": false} {
		t.Run(name, func(t *testing.T) {
			var given, plain atomic.Int32
			bubble(t, func(x *script) {
				committing(x, commits)
				x.units = func(*session, *sidecarpb.Units) error { return nil }
				x.control = func(_ *session, m *sidecarpb.DeliveryStreamRequest) error {
					switch r := m.GetRelease(); {
					case r.GetGivenUp():
						given.Add(1)
					case r != nil:
						plain.Add(1)
					}
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				if commits {
					commitUnits(t, p)
				}
				m := producer.Membership{Group: "g", MemberID: "m", Generation: 7}
				if err := p.Assign(t.Context(), m, []producer.Assignment{{Epoch: 1, TopicID: [16]byte{1}}, {Epoch: 2, TopicID: [16]byte{1}}}); err != nil {
					t.Fatal(err)
				}
				for epoch := uint64(1); epoch <= 2; epoch++ {
					deliver(t, p, producer.Unit{Source: producer.Source{Epoch: epoch}, Outputs: []producer.Record{record1("k", "0")}})
				}
				synctest.Wait()
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				if err := p.Release(ended, []uint64{1}); !errors.Is(err, context.Canceled) {
					t.Fatalf("Release: %v", err)
				}
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := p.Release(soon, []uint64{2}); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("Release: %v", err)
				}
				synctest.Wait()
				if got := given.Load(); commits != (got >= 2) || !commits && got > 0 {
					t.Errorf("%d Releases say that their epochs are given up, %d do not", got, plain.Load())
				}
				x.session(0).acked(1, 2)
			})
		})
	}
}
