package txn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topics are what a lane knows of its output topics: a record of one that does not exist would
// abort its window, and with it the units of others. Where a client creates topics, none is asked
// for.
type topics struct {
	*life
	plain  *kgo.Client // asks
	shared bool        // what is written to was asked for before it was pushed
	create bool

	unhosted unhosted // the lane's goroutine's

	mu      sync.Mutex
	exist   map[string]bool
	refused map[string]refusedTopic
}

type refusedTopic struct {
	err   error
	until time.Time
}

const (
	topicTries    = 4 // a topic that was created just now is not known to every broker
	topicPause    = 50 * time.Millisecond
	topicPatience = 2 * time.Second
	topicRefused  = 5 * time.Second // before it is asked for again
)

func newTopics(of *life, cl *kgo.Client, shared bool) *topics {
	create, _ := cl.OptValue(kgo.AllowAutoTopicCreation).(bool)
	return &topics{life: of, plain: cl, shared: shared, exist: map[string]bool{}, refused: map[string]refusedTopic{}, create: create, unhosted: unhosted{}}
}

// whyNot is why a record must not be written to a topic.
func (t *topics) whyNot(name string) error { return t.errorOf(t.ctx, name, t.shared) }

// Learn has the lane know whether a topic exists, and tells why it must not be written to, so that
// who pushes to a lane that is shared waits for the answer alone. Not told: no broker has answered.
func (l *Lane) Learn(ctx context.Context, topic string) (told bool, refused error) {
	if err := l.topics.errorOf(ctx, topic, false); err != nil {
		return true, err
	}
	told, _ = l.topics.known(topic, false)
	return told, nil
}

// errorOf tells why a topic must not be written to. Learned: what was said before its units were
// pushed holds a little longer.
func (t *topics) errorOf(ctx context.Context, name string, learned bool) error {
	if known, err := t.known(name, learned); known {
		return err
	}
	err := t.ask(ctx, name)
	if err != nil && ctx.Err() != nil {
		return nil // who asks has gone between two tries, and others would be told of the first one
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, kerr.LeaderNotAvailable): // there is one to come
		t.exists(name)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.TopicAuthorizationFailed):
		if len(t.refused) >= maxRefused {
			clear(t.refused)
		}
		t.refused[name] = refusedTopic{err, time.Now().Add(topicRefused)}
		return err
	}
	return nil // nobody has told: its records will
}

// exists notes that there is a topic. Of too many all are asked for again. Under mu.
func (t *topics) exists(name string) {
	if len(t.exist) >= maxExist {
		clear(t.exist)
	}
	t.exist[name] = true
}

const (
	// maxRefused bounds the names that are kept of topics that do not exist.
	maxRefused = 1000
	// maxExist bounds those that do: more than anybody writes to, and no more over the years.
	maxExist = 10_000
)

func (t *topics) known(name string, learned bool) (bool, error) {
	if t.create {
		return true, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exist[name] {
		return true, nil
	}
	was, refused := t.refused[name]
	if learned {
		was.until = was.until.Add(topicRefused)
	}
	return refused && time.Now().Before(was.until), was.err
}

// ask asks for a topic's metadata, some times if it is said not to exist.
func (t *topics) ask(ctx context.Context, name string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, topicPatience)
	defer cancel()
	for range topicTries {
		req := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
		var resp *kmsg.MetadataResponse
		if resp, err = req.RequestWith(ctx, t.plain); err != nil {
			return err
		}
		if len(resp.Topics) != 1 {
			return errNoAnswer
		}
		if err = kerr.ErrorForCode(resp.Topics[0].ErrorCode); err == nil || !kerr.IsRetriable(err) || !t.sleep(ctx, topicPause) {
			return err
		}
	}
	return err
}

// forget has a topic asked for again that a record has failed by.
func (t *topics) forget(err error) {
	if of, is := errors.AsType[*RecordError](err); is && !isOfBatch(err) {
		t.unlearn(of.Topic)
	}
}
