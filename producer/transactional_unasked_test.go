package producer_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// transactionalBubble runs a test with a transactional producer and a broker that counts who takes
// a transactional id.
func transactionalBubble(t *testing.T, f func(t *testing.T, p producer.Producer, taken *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := new(kfake.VirtualNetwork)
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.ListenFn(net.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var taken atomic.Int64
		c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			taken.Add(1)
			return nil, nil, false
		})
		p := producer.Direct(producer.DirectConfig{TransactionalID: "id", Brokers: c.ListenAddrs(), Options: []kgo.Opt{kgo.Dialer(net.DialContext)}})
		defer p.Close()
		f(t, p, &taken)
	})
}

// A pipeline that is at-least-once by mistake does not take the transactional id: the process that
// commits under it would end.
func TestWhoDoesNotCommitTakesNoID(t *testing.T) {
	transactionalBubble(t, func(t *testing.T, p producer.Producer, taken *atomic.Int64) {
		if err := p.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := p.(producer.TopicChecker).CheckTopics(t.Context(), "t"); err != nil {
			t.Errorf("CheckTopics: %v", err)
		}
		refused := func(what string, err error) {
			if wrong, ok := errors.AsType[*producer.ConfigError](err); !ok || wrong.Field != "TransactionalID" || !strings.Contains(wrong.Remedy, "pipeline.ExactlyOnce") {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("Assign", p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1}, nil))
		unit := producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{record1("k", "v")}}
		refused("Deliver", p.Deliver(t.Context(), []producer.Unit{unit}, producertest.NewRecorder(1)))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := taken.Load(); n > 0 {
			t.Errorf("%d transactional ids were taken", n)
		}
		if _, err := p.Emit(t.Context(), record1("k", "v")); err != nil || taken.Load() == 0 {
			t.Errorf("Emit took %d ids: %v", taken.Load(), err)
		}
	})
}

// Without its topic's id nothing could be kept of what is done above an assignment's ack mark.
func TestExactlyOnceNeedsTopicIDs(t *testing.T) {
	refuses := func(t *testing.T, p producer.Producer) {
		commitUnits(t, p)
		err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1},
			[]producer.Assignment{{Epoch: 1, Topic: "in", TopicID: [16]byte{1}}, {Epoch: 2, Topic: "of an old client"}})
		wrong, ok := errors.AsType[*producer.ConfigError](err)
		if !ok || wrong.Field != "TopicID" || wrong.Remedy == "" || !strings.Contains(wrong.Value, "of an old client") {
			t.Errorf("Assign: %v", err)
		}
	}
	t.Run("direct", func(t *testing.T) {
		transactionalBubble(t, func(t *testing.T, p producer.Producer, _ *atomic.Int64) { refuses(t, p) })
	})
	t.Run("sidecar", func(t *testing.T) {
		bubble(t, func(x *script) { committing(x, true) }, func(t *testing.T, _ *script, p producer.Producer) { refuses(t, p) })
	})
}
