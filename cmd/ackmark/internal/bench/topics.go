package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
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

// fill writes the inputs.
func (c *cluster) fill(ctx context.Context, topic string, records, size int) error {
	var failed error
	text := make([]byte, 4096+size) // lower-case words: upper-casing has something to do, compression not too much
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = 'a' + byte(random.IntN(26))
	}
	for i := 0; i < records && ctx.Err() == nil; i++ {
		at := random.IntN(4096)
		value := append(fmt.Appendf(make([]byte, 0, size), "%0*d", seqDigits, i), text[at:at+size-seqDigits]...)
		key := fmt.Appendf(nil, "key-%04d", i%keys)
		c.client.Produce(ctx, &kgo.Record{Topic: topic, Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if failed == nil && err != nil { // promises come one at a time
				failed = err
			}
		})
	}
	if err := c.client.Flush(ctx); err != nil {
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
// where the ack mark has to be.
func (c *cluster) committed(ctx context.Context, group, topic string) (sum int, wrong []string, err error) {
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
		case ok && at.At == end.Offset:
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

// verify reads a topic back: each of the inputs, upper-cased, exactly once.
func (c *cluster) verify(ctx context.Context, topic string, brokers []string, kafka map[string]string, records int) (wrong []string, err error) {
	opts, err := settings.KafkaOptions(kafka)
	if err != nil {
		return nil, err
	}
	total, err := c.count(ctx, topic)
	if err != nil {
		return nil, err
	}
	reader, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	check := newOutputCheck(records)
	for read := 0; read < total; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil && !errors.Is(err, kerr.NotLeaderForPartition) {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			check.add(r.Value)
		})
	}
	return check.wrong(), nil
}

// outputCheck counts how often each input came out.
type outputCheck struct {
	seen              []uint8
	foreign, notUpper int
}

func newOutputCheck(records int) *outputCheck { return &outputCheck{seen: make([]uint8, records)} }

func (o *outputCheck) add(value []byte) {
	seq, ok := sequence(value)
	if !ok || seq >= len(o.seen) {
		o.foreign++
		return
	}
	for _, b := range value[seqDigits:] {
		if b < 'A' || b > 'Z' {
			o.notUpper++
			break
		}
	}
	o.seen[seq] = min(o.seen[seq], 254) + 1
}

func (o *outputCheck) wrong() (all []string) {
	lost, repeated := 0, 0
	for _, n := range o.seen {
		switch {
		case n == 0:
			lost++
		case n > 1:
			repeated++
		}
	}
	for what, n := range map[string]int{"lost": lost, "repeated": repeated, "not of this bench": o.foreign, "not upper-cased": o.notUpper} {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d outputs %s", n, what))
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
