// Package consumer reads a Kafka group's partitions and commits an offset only when every input
// below it is done.
//
// Package pipeline runs handlers on top of it. A loop of one's own is as short:
//
//	c, err := consumer.New(consumer.Config{
//		Brokers: brokers, Group: "audit", Topics: []string{"orders"},
//	})
//	if err != nil {
//		return err
//	}
//	for m, err := range c.Messages(ctx) {
//		if err != nil {
//			return err
//		}
//		m.Done(m.Retry(func(ctx context.Context) error { return save(ctx, m.Record) }))
//	}
//
// # Reading
//
// [Consumer.Messages] yields inputs one by one, [Consumer.Batches] in batches, and [Consumer.Run]
// hands batches to a function. Each partition is read in the order of its offsets, whatever is done
// with the inputs. What was fetched and is not done is bounded in bytes and in records
// ([Config.MaxBytes]): a partition that is slow is paused, the others read on.
//
// # Done
//
// [Message.Done] ends an input, in any order, from any goroutine. What is committed is the ack mark
// of each partition: the first offset that is not done. What is done above it goes along as the
// commit's metadata (a done-set), and the next member that holds the partition does not hand it out
// again.
//
// An input that cannot be done, Done(err), halts its partition: nothing behind it is committed,
// nothing is skipped, and the other partitions go on. [Config.OnHalt], [Consumer.State] and
// [Consumer.Check] tell why, and [Consumer.Resume] takes it up again.
//
// # Rebalances
//
// An [Assignment] is the time for which this member holds a partition. When the group takes it
// away, the inputs that were started are finished first, within [Config.DrainTimeout], and what is
// done is committed. [Assignment.Context] ends, with the reason as its cause; what is done after
// that counts no more, and is done again by whoever has the partition then.
package consumer
