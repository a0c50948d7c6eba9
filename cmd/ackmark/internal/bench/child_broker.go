package bench

import (
	"context"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// One broker: what is measured are clients, and fewer brokers leave them more of two cores.
const embeddedBrokers = 1

// runBroker is the embedded broker of the bench. It keeps everything: topics are deleted after each
// run.
func (c *child) runBroker(ctx context.Context) error {
	b, err := devbroker.Start(devbroker.Config{Brokers: embeddedBrokers, Partitions: c.spec.Partitions, RetentionBytes: -1, Logger: c.log})
	if err != nil {
		return err
	}
	defer b.Close()
	c.tell(event{Kind: eventReady, Brokers: b.Addrs()})
	<-ctx.Done()
	return nil
}

// runSynthetic answers fetches from one canned batch, for ever: a backlog of any size in no memory.
func (c *child) runSynthetic(ctx context.Context) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(embeddedBrokers),
		kfake.SeedTopics(int32(c.spec.Partitions), c.spec.Input, c.spec.Output),
		kfake.SyntheticFetch(kfake.SyntheticBatch{RecordBytes: c.spec.Size}), kfake.BlackholeProduce())
	if err != nil {
		return err
	}
	defer cluster.Close()
	c.tell(event{Kind: eventReady, Brokers: cluster.ListenAddrs()})
	<-ctx.Done()
	return nil
}
