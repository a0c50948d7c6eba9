package txn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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

	// Of the window that closes:
	since  time.Time // when its offsets went out
	topics []string  // of all its parts
}

type knownID struct {
	id    [16]byte // zero: nobody knows the topic
	asked time.Time
}

func newInputs() *inputs { return &inputs{turn: make(chan struct{}, 1), ids: map[string]knownID{}} }

// answeredIn notes the version of an answer. In a cluster that is being upgraded there are both,
// and the answers of several groups come at once: the lower one must stay.
func (in *inputs) answeredIn(version int16) {
	for {
		v := in.named.Load()
		if v != 0 && v <= int32(version) || in.named.CompareAndSwap(v, int32(version)) {
			return
		}
	}
}

// begin notes which topics a window commits offsets of. One question is for all of them, and for
// all who wait for its answer.
func (in *inputs) begin(parts []part) {
	in.since, in.topics = time.Now(), nil
	clear(in.ids)
	seen := map[string]bool{}
	for i := range parts {
		for j := range parts[i].points {
			if name := parts[i].points[j].Topic; !seen[name] {
				seen[name] = true
				in.topics = append(in.topics, name)
			}
		}
	}
}

// askError is why it is not known what topics are. No group is to blame for it.
type askError struct{ err error }

func (e *askError) Error() string { return "what the input topics are by now: " + e.err.Error() }
func (e *askError) Unwrap() error { return e.err }

func isAsk(err error) bool {
	_, is := errors.AsType[*askError](err)
	return is
}

// learn waits until it is known what the topics of a part are, as long as the window does: a
// group's own time begins after that.
func (o *offsets) learn(ctx context.Context, cl *kgo.Client, p *part) *refusal {
	in := o.inputs
	for in.named.Load() < offsetsByID {
		_, err := in.ask(ctx, cl, p.points, in.since)
		if err == nil {
			break
		}
		if !isRetryable(err) || !o.sleep(ctx, topicPause) {
			return &refusal{claims: p.claims, blame: o.blameOffsets(err), err: err}
		}
	}
	return nil
}

// sameTopics refuses the points whose topic is another one than the one that was read, before a
// coordinator takes them by name: the topic that was created anew would get the offset of another
// log, and what is below it would never be read (S11). What remains is a topic that is created
// between the answer and the commit, or of which the answering broker has not heard. A topic that
// is not there is left to the coordinator. An answer counts that was asked for since then.
func (o *offsets) sameTopics(ctx context.Context, cl *kgo.Client, points []groupcommit.Point, since time.Time) error {
	in := o.inputs
	if in.named.Load() >= offsetsByID {
		return nil
	}
	var refused *answerError
	for range topicTries { // a broker that lags may know the one before ours
		ids, err := in.ask(ctx, cl, points, since)
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
			anew := fmt.Errorf("it was created anew: %w", kerr.UnknownTopicID)
			if refused == nil {
				refused = &answerError{fmt.Errorf("offset of topic %q partition %d: %w", pt.Topic, pt.Partition, anew), map[place]error{}}
			}
			refused.places[place{pt.Topic, pt.Partition}] = anew
		}
		if refused == nil {
			return nil
		}
		if !o.sleep(ctx, topicPause) {
			return &askError{context.Cause(ctx)}
		}
		since = time.Now()
	}
	return refused
}

// ask returns what the topics of these points are, by a question that was asked since then. The one
// that is asked first in a window is about all its topics.
func (in *inputs) ask(ctx context.Context, cl *kgo.Client, points []groupcommit.Point, since time.Time) (map[string][16]byte, error) {
	select {
	case in.turn <- struct{}{}:
		defer func() { <-in.turn }()
	case <-ctx.Done():
		return nil, &askError{context.Cause(ctx)}
	}
	ids := map[string][16]byte{}
	stale := false
	for i := range points {
		known := in.ids[points[i].Topic]
		ids[points[i].Topic] = known.id
		stale = stale || known.asked.Before(since)
	}
	if !stale {
		return ids, nil
	}
	names := in.topics
	if since.After(in.since) {
		names = slices.Collect(maps.Keys(ids))
	}
	if err := in.askBroker(ctx, cl, names); err != nil {
		return nil, &askError{err}
	}
	for name := range ids {
		ids[name] = in.ids[name].id
	}
	return ids, nil
}

// askBroker asks one broker what these topics are.
func (in *inputs) askBroker(ctx context.Context, cl *kgo.Client, names []string) error {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	ctx, cancel := context.WithTimeout(ctx, idsWait)
	defer cancel()
	asked := time.Now()
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, name := range names {
		in.ids[name] = knownID{asked: asked}
	}
	for _, t := range resp.Topics {
		if t.Topic != nil && t.ErrorCode == 0 {
			in.ids[*t.Topic] = knownID{t.TopicID, asked}
		}
	}
	return nil
}
