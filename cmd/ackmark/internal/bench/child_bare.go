package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

// bareValueMallocs is what transform allocates: the handler's own share in the loop.
const bareValueMallocs = 1

// runBare is the loop that a careful franz-go user writes for at-least-once: marks are made in the
// promise, commits follow the marks. Its settings are kgo's, except for the commit interval, which
// is Ackmark's default of one second.
func (c *child) runBare(ctx context.Context) error {
	opts, err := c.clientOptions(append(c.lingerOptions(),
		kgo.SeedBrokers(c.spec.Brokers...),
		kgo.ConsumerGroup(c.spec.Group),
		kgo.ConsumeTopics(c.spec.Input),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			if len(added) > 0 {
				c.begin()
			}
		}),
	)...)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for handled := 0; c.spec.Inputs == 0 || handled < c.spec.Inputs; {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(in *kgo.Record) {
			handled++
			c.bareHandle(cl, in)
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		return err
	}
	if err := cl.CommitMarkedOffsets(context.Background()); err != nil {
		return err
	}
	c.done(bareValueMallocs)
	return nil
}

func (c *child) bareHandle(cl *kgo.Client, in *kgo.Record) {
	if !c.emits() {
		cl.MarkCommitRecords(in)
		return
	}
	out := &kgo.Record{Topic: c.spec.Output, Key: in.Key, Value: transform(in.Value)}
	if c.spec.SourceHeaders {
		out.Headers = []kgo.RecordHeader{{Key: pipeline.HeaderSource, Value: c.bareSource(in)}}
	}
	cl.Produce(context.Background(), out, func(_ *kgo.Record, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare: produce:", err)
			os.Exit(1)
		}
		cl.MarkCommitRecords(in)
	})
}

// bareSource is what docs/migrating.md tells a loop like this to write, so that its outputs can be
// audited, too.
func (c *child) bareSource(in *kgo.Record) []byte {
	text := make([]byte, 0, len(in.Topic)+len(c.spec.Group)+40)
	text = append(append(text, in.Topic...), '/')
	text = append(strconv.AppendInt(text, int64(in.Partition), 10), '/')
	text = append(strconv.AppendInt(text, in.Offset, 10), "/0/1//"...)
	return append(text, c.spec.Group...)
}
