package txn

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// offsetsByID is the first version of TxnOffsetCommit that names topics by id (Kafka 4.4).
const offsetsByID = 6

// idsWait bounds the wait for an answer: one broker is asked, and if it hangs, the next one.
const idsWait = 500 * time.Millisecond

// inputs are what a lane knows of its input topics, where a coordinator takes offsets by name.
type inputs struct {
	named atomic.Int32  // the coordinators answered in this version, the lowest of them; 0: none yet
	turn  chan struct{} // one asks, those that wait for it use its answer
	ids   map[string]knownID
}

type knownID struct {
	id    [16]byte // zero: nobody knows the topic
	asked time.Time
}

func newInputs() *inputs { return &inputs{turn: make(chan struct{}, 1), ids: map[string]knownID{}} }

// answeredIn notes the version of an answer. In a cluster that is being upgraded there are both.
func (in *inputs) answeredIn(version int16) {
	if v := in.named.Load(); v == 0 || int32(version) < v {
		in.named.Store(int32(version))
	}
}

// sameTopics refuses the points whose topic is another one than the one that was read, before a
// coordinator takes them by name: the topic that was created anew would get the offset of another
// log, and what is below it would never be read (S11). What remains is a topic that is created
// between the answer and the commit, or of which the answering broker has not heard. A topic that
// is not there is left to the coordinator.
func (l *Lane) sameTopics(ctx context.Context, cl *kgo.Client, points []groupcommit.Point) error {
	in := l.topics.inputs
	if in.named.Load() >= offsetsByID {
		return nil
	}
	var refused *answerError
	for range topicTries { // a broker that lags may know the one before ours
		ids, err := in.ask(ctx, cl, points)
		if err != nil {
			return err
		}
		refused = nil
		for i := range points {
			pt := &points[i]
			id := ids[pt.Topic]
			if id == pt.TopicID || id == ([16]byte{}) || pt.TopicID == ([16]byte{}) {
				continue
			}
			if refused == nil {
				refused = &answerError{err: fmt.Errorf("offset of topic %q partition %d: it was created anew: %w", pt.Topic, pt.Partition, kerr.UnknownTopicID)}
			}
			refused.places = append(refused.places, place{pt.Topic, pt.Partition})
		}
		if refused == nil {
			return nil
		}
		if !l.sleep(ctx, topicPause) {
			return context.Cause(ctx)
		}
	}
	return refused
}

// ask returns what the topics of these points are now: by a question that was asked since it was
// called. The requests of a window, which come at the same time, share it.
func (in *inputs) ask(ctx context.Context, cl *kgo.Client, points []groupcommit.Point) (map[string][16]byte, error) {
	called := time.Now()
	select {
	case in.turn <- struct{}{}:
		defer func() { <-in.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	ids := map[string][16]byte{}
	for i := range points {
		name := points[i].Topic
		if _, seen := ids[name]; seen {
			continue
		}
		known := in.ids[name]
		ids[name] = known.id
		if known.asked.Before(called) {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &name
			req.Topics = append(req.Topics, t)
		}
	}
	if len(req.Topics) == 0 {
		return ids, nil
	}
	ctx, cancel := context.WithTimeout(ctx, idsWait)
	defer cancel()
	asked := time.Now()
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	for _, t := range req.Topics {
		ids[*t.Topic] = [16]byte{}
		delete(in.ids, *t.Topic)
	}
	for _, t := range resp.Topics {
		if t.Topic != nil && t.ErrorCode == 0 {
			ids[*t.Topic] = t.TopicID
			in.ids[*t.Topic] = knownID{t.TopicID, asked}
		}
	}
	return ids, nil
}
