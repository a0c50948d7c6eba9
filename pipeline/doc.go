// Package pipeline joins a consumer and a producer: it reads inputs, calls your handler, delivers
// the outputs, and lets an input's offset be committed only when every output made from it is
// acknowledged.
//
//	err := pipeline.Run(ctx, pipeline.Config{
//		Consumer: consumer.Config{Brokers: brokers, Group: "upper", Topics: []string{"orders"}},
//		Producer: producer.Dial("unix:///run/ackmark/sidecar.sock"),
//		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
//			return []producer.Record{{Topic: "orders.upper", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
//		}),
//	})
//
// # Outcomes
//
// A handler ends an input in one of these ways:
//
//   - outputs and a nil error: the input is done when all of them are in Kafka with acks=all;
//   - no output and a nil error: the input is filtered, and done;
//   - a plain error: it is called again after a backoff, [Config.MaxAttempts] times in all; then
//     the input is rejected;
//   - [Retry]: it is called again after the time that it asks for, as often as it asks;
//   - [Reject]: the input is rejected at once;
//   - [Fatal]: the whole pipeline stops, and Run returns the error;
//   - a panic: a plain error that carries the stack ([PanicError]).
//
// An output without a topic rejects its input: no retry cures it, and nothing of the input is
// delivered.
//
// A rejected input goes to the dead-letter topic with its bytes, headers and coordinates, and is
// done when that letter is acknowledged. Without a dead-letter topic, or when the letter cannot be
// written, the input's partition halts there and shows why (State, Check, the error of Run): it
// never disappears. [Pipeline.Resume] takes it up again when the cause is gone.
//
// A handler may change its input: every attempt, and the letter, get it as it came.
//
// What the producer cannot write is decided by its error: a record's own fault (too large, unknown
// topic, refused content) rejects the input; a fault that may pass (a sidecar that stops, a request
// that timed out) has the outputs delivered again, before anything else of the lane, for as long as
// the partition stays; missing rights stop the pipeline; anything else halts the partition.
//
// Shutdown, revocation and loss are never outcomes. When the context that a handler runs under
// ended by one of them, whatever the handler returns is dropped: the input stays uncommitted, and
// the next member that holds its partition gets it. A time-out of the handler's own is an ordinary
// error.
//
// # Order and lanes
//
// [Config.Concurrency] lanes run handlers. A lane is a queue: by default all inputs of a key share
// one ([PerKey]), so their handlers run one after the other in fetch order, and their outputs are
// delivered in that order, also through retries: an input in backoff holds up its key. A key
// belongs to a lane only while that has something of it in hand: a lane with nothing to do takes
// half of the keys that wait in one that is behind. Lanes have no limit of their own; the
// consumer's budget bounds what is fetched and not done. A batch handler's keys do not move, nor do
// those of a pipeline with more than 4,096 lanes.
//
// One thing is not held back: without a dead-letter topic, an output that Kafka refuses halts its
// partition, and later outputs of its key that were on their way then stay written. When the
// partition is taken up again, the refused one comes behind them.
//
// A [BatchHandler] gets the inputs of one partition, up to [Config.MaxBatch] while so many wait,
// also past inputs of other partitions: between partitions there is no order.
//
// # One attempt
//
// From the outside in, always in this order: dead letter, retry, time-out, recover, and in a typed
// handler decode. Your middleware sits at two named places, see [Middleware].
package pipeline
