package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/proof/judge"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// seqDigits begin each value: the input's number.
const seqDigits = 12

// removeTimeout bounds the removal of topics: it happens after an interrupt, too, perhaps of a
// cluster that is gone.
const removeTimeout = 5 * time.Second

// keys is how many keys the inputs have.
const keys = 5003

// cluster is the parent's view of the broker: topics, inputs, and the counts that must add up.
type cluster struct {
	client *kgo.Client
	admin  *kadm.Client
	unique string // in every name, so that runs do not meet
	next   int
}

func connect(brokers []string, kafka map[string]string) (*cluster, error) {
	opts, err := settings.KafkaOptions(kafka)
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.SeedBrokers(brokers...), kgo.ClientID("ackmark-bench"), kgo.MetadataMinAge(50*time.Millisecond))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &cluster{client: cl, admin: kadm.NewClient(cl), unique: strconv.FormatUint(rand.Uint64()>>32, 36)}, nil
}

func (c *cluster) name(what string) string {
	c.next++
	return fmt.Sprintf("ackmark-bench-%s-%s-%d", c.unique, what, c.next)
}

func (c *cluster) createTopic(ctx context.Context, what string, partitions int) (string, error) {
	name := c.name(what)
	created, err := c.admin.CreateTopic(ctx, int32(partitions), -1, nil, name)
	if err == nil {
		err = created.Err
	}
	if err != nil {
		return "", fmt.Errorf("bench: create topic %s: %w", name, err)
	}
	// Real brokers elect leaders a little later: a contestant would measure that.
	for deadline := time.Now().Add(10 * time.Second); ; {
		ends, err := c.admin.ListEndOffsets(ctx, name)
		if err == nil && ends.Error() == nil && len(ends.Offsets()[name]) == partitions {
			return name, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("bench: topic %s has no leaders after 10 s: %w", name, errors.Join(err, ends.Error()))
		}
	}
}

// remove deletes topics and groups; the names are unique, so what cannot be deleted does no harm.
func (c *cluster) remove(ctx context.Context, group string, topics ...string) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	if group != "" {
		_, _ = c.admin.DeleteGroups(ctx, group)
	}
	_, _ = c.admin.DeleteTopics(ctx, topics...)
}

// key of an input by its number.
func key(seq int) []byte { return fmt.Appendf(nil, "key-%04d", seq%keys) }

// fill writes the inputs.
func (c *cluster) fill(ctx context.Context, topic string, records, size int) error {
	return fill(ctx, c.client, topic, 0, records, size)
}

// fill writes inputs whose numbers begin with first.
func fill(ctx context.Context, client *kgo.Client, topic string, first, records, size int) error {
	var failed error
	text := make([]byte, 4096+size) // lower-case words: upper-casing has something to do, compression not too much
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = 'a' + byte(random.IntN(26))
	}
	for i := first; i < first+records && ctx.Err() == nil; i++ {
		at := random.IntN(4096)
		value := append(fmt.Appendf(make([]byte, 0, size), "%0*d", seqDigits, i), text[at:at+size-seqDigits]...)
		client.Produce(ctx, &kgo.Record{Topic: topic, Key: key(i), Value: value}, func(_ *kgo.Record, err error) {
			if failed == nil && err != nil { // promises come one at a time
				failed = err
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// count is the number of records in a topic that nobody deleted from.
func (c *cluster) count(ctx context.Context, topic string) (int, error) {
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	return total, err
}

// committed sums the group's offsets, and compares each with the end of its partition: that is
// where the ack mark has to be. So many markers of transactions at the end are no inputs.
func (c *cluster) committed(ctx context.Context, group, topic string, markers int64) (sum int, wrong []string, err error) {
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, nil, err
	}
	offsets, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, nil, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		at, ok := offsets.Lookup(topic, end.Partition)
		switch {
		case ok && at.At <= end.Offset && at.At >= end.Offset-markers:
			sum += int(at.At)
		case !ok && end.Offset == 0:
		case !ok:
			wrong = append(wrong, fmt.Sprintf("partition %d has no committed offset, its end is %d", end.Partition, end.Offset))
		default:
			sum += int(at.At)
			wrong = append(wrong, fmt.Sprintf("partition %d is committed at %d, its end is %d", end.Partition, at.At, end.Offset))
		}
	})
	return sum, wrong, nil
}

// verify reads a topic back: each of the inputs, upper-cased, exactly once, in the order of its
// key.
func (c *cluster) verify(ctx context.Context, topic string, brokers []string, kafka map[string]string, records int) (wrong []string, err error) {
	opts, err := settings.KafkaOptions(kafka)
	if err != nil {
		return nil, err
	}
	j := judge.New(judge.Config{Inputs: uint64(records)})
	if err := reader.Topic(ctx, append(opts, kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted())), topic, func(r *kgo.Record) { observe(j, r) }); err != nil {
		return nil, err
	}
	return wrongOutputs(j), nil
}

// observe tells a judge of an output.
func observe(j *judge.Judge, r *kgo.Record) {
	seq, ok := sequence(r.Value)
	if !ok {
		j.Stray()
		return
	}
	lower := func(b byte) bool { return b < 'A' || b > 'Z' }
	j.Add(judge.Output{
		Input: uint64(seq), Key: uint32(seq % keys), Seq: uint64(seq), Partition: r.Partition, Altered: slices.ContainsFunc(r.Value[seqDigits:], lower),
	})
}

func wrongOutputs(j *judge.Judge) (all []string) {
	n := j.Counts()
	for _, kind := range []struct {
		what string
		n    uint64
	}{{"lost", j.Lost(nil)}, {"repeated", n.Repeated}, {"reordered", n.Reordered}, {"not of this bench", n.Unknown}, {"not upper-cased", n.Altered}} {
		if kind.n > 0 {
			all = append(all, fmt.Sprintf("%d outputs %s", kind.n, kind.what))
		}
	}
	return all
}

// sequence reads the number that a value begins with.
func sequence(value []byte) (int, bool) {
	if len(value) < seqDigits {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(value[:seqDigits]), 10, 32)
	return int(seq), err == nil
}
