package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// commitSupport is what was learned of how the brokers take commits.
type commitSupport struct {
	noDoneSets    atomic.Bool  // they take no metadata of that length
	commitVersion atomic.Int32 // of OffsetCommit, in the last answer; 0: none yet
}

// commitsByID is the first version of OffsetCommit that names topics by id (Kafka 4.1).
const commitsByID = 10

// topicsTimeout bounds the look at the topics' ids: a commit waits for it.
const topicsTimeout = 5 * time.Second

// sameTopics keeps the points whose topic is the one that was read, where a broker would take a
// commit by name: a topic that was deleted and created again would get the offset of another log,
// and what is below it would never be read (S11). The brokers are asked right before each such
// commit. What remains is a topic that is created again between that answer and the commit, or of
// which the answering broker has not heard.
//
// A topic that is not there may be about to come: its points wait.
func (c *committer) sameTopics(d due) (due, error) {
	if c.commitVersion.Load() >= commitsByID {
		return d, nil
	}
	ids, err := c.topicIDs(d.points)
	if err != nil {
		return due{}, err
	}
	var kept due
	for i, pt := range d.points {
		id, known := ids[pt.Topic]
		switch {
		case pt.TopicID == ([16]byte{}) || known && (id == pt.TopicID || id == ([16]byte{})):
			kept.add(pt, d.of[i])
		case !known:
			err = fmt.Errorf("committing %s partition %d at %d: %w", pt.Topic, pt.Partition, pt.Offset, kerr.UnknownTopicOrPartition)
		default:
			err = c.answer(&pt, d.of[i], kerr.InconsistentTopicID)
		}
	}
	return kept, err
}

// certain asks the brokers what the topic is now before a coordinator's UNKNOWN_TOPIC_ID counts: so
// answers, too, a broker that has not heard of a new topic yet, or has just started. That passes,
// and the commit is made again; so is that of a topic which nobody knows, see sameTopics.
func (c *committer) certain(points []groupcommit.Point, answers iter.Seq2[int, error]) iter.Seq2[int, error] {
	ask := sync.OnceValues(func() (map[string][16]byte, error) { return c.topicIDs(points) })
	return func(yield func(int, error) bool) {
		for i, err := range answers {
			if errors.Is(err, kerr.UnknownTopicID) {
				pt := &points[i]
				ids, failed := ask()
				id, known := ids[pt.Topic]
				switch {
				case failed != nil:
					err = failed
				case !known || id == pt.TopicID:
					err = kerr.UnknownTopicOrPartition
				}
			}
			if !yield(i, err) {
				return
			}
		}
	}
}

// topicIDs asks the brokers what the topics are now.
func (c *committer) topicIDs(points []groupcommit.Point) (map[string][16]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), topicsTimeout)
	defer cancel()
	names := map[string]bool{}
	for i := range points {
		names[points[i].Topic] = true
	}
	resp, err := metadataOf(maps.Keys(names)).RequestWith(ctx, c.brokers.client.Load())
	if err != nil {
		return nil, fmt.Errorf("looking whether the topics are still those that were read: %w", err)
	}
	ids := map[string][16]byte{}
	for _, t := range resp.Topics {
		if t.Topic != nil && t.ErrorCode == 0 {
			ids[*t.Topic] = t.TopicID
		}
	}
	return ids, nil
}
