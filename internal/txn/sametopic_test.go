package txn_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/txn"
)

// The input topic is created anew while units of the old one come in. Its offsets are of another
// log: they are refused, also where the coordinator takes offsets by a topic's name, as before
// Kafka 4.4 (S11).
func TestOffsetsOfATopicCreatedAnew(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"by name": {kfake.MaxVersions(kversion.V4_1_0())}, "by id": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, 10*time.Millisecond, opts...)
			r.push(1, 0, 3, one).allCommitted()
			if err := errors.Join(r.cluster.DeleteTopic("in"), r.cluster.CreateTopic("in", 2, nil)); err != nil {
				t.Fatal(err)
			}
			for i, err := range r.push(1, 3, 3, one).await() {
				if of, ok := errors.AsType[*txn.OffsetError](err); !ok || !errors.Is(of.Err, kerr.UnknownTopicID) {
					t.Errorf("unit %d: %v, want %v", i, err, kerr.UnknownTopicID)
				}
			}
			if got := r.committed()[0]; got > 3 {
				t.Errorf("the new topic's inputs below %d are committed, and nobody has read one", got)
			}
			if got := r.outputs(); len(got) != 3 {
				t.Errorf("outputs: %q", got)
			}
		})
	}
}
