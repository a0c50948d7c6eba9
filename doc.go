// Package ackmark is a framework for consume-transform-produce services on Apache Kafka. This page
// is the promise and a tour of the packages; of code it has only the error and
// the counts that they share.
//
// # The promise
//
// An input's offset is committed only when every output made from it is durable in Kafka:
// acknowledged with acks=all. Nothing is committed by a timer that does not know what was
// processed, so a process that is killed loses nothing. What is repeated after a crash is bounded:
// the inputs that were in flight, and those acknowledged since the last commit (one second by
// default). Outputs of one key are never reordered. Nothing is skipped silently: an input that
// cannot be processed goes to a dead-letter topic, acknowledged like any output, or halts its
// partition with an error that names it.
//
// # The tour
//
// A whole service, with the producer sidecar of its pod ("ackmark sidecar", one Kafka producer for
// all the processes of a pod):
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
//		defer stop()
//		err := pipeline.Run(ctx, pipeline.Config{
//			Consumer: consumer.Config{Brokers: []string{"localhost:9092"}, Group: "upper", Topics: []string{"orders"}},
//			Producer: producer.Dial("unix:///run/ackmark/sidecar.sock"),
//			Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
//				return []producer.Record{{Topic: "orders.upper", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
//			}),
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Without a sidecar, one line changes: Producer: producer.Direct(producer.DirectConfig{Brokers:
// brokers}).
//
// The packages:
//
//   - [github.com/ackmark/ackmark/pipeline] joins reading and writing: handlers, order, retries,
//     dead letters, shutdown. Its pipelinetest tests them against an embedded broker.
//   - [github.com/ackmark/ackmark/consumer] reads a group and commits ack marks. Alone it replaces
//     an auto-commit loop; its consumertest tests such a loop without a broker.
//   - [github.com/ackmark/ackmark/producer] delivers outputs and learns their fate: through the
//     sidecar, directly, or into a fake. Its producertest has what every producer must pass.
//   - [github.com/ackmark/ackmark/sidecar] is the server, which can be embedded; its wire contract
//     is in sidecarpb.
//
// The words used everywhere: an input is a record consumed, an output a record that a handler made
// from it, a unit one input with all its outputs. An input is done when all its outputs are
// acknowledged. The ack mark of a partition is the first offset that is not done: it is what gets
// committed.
//
// docs/examples.md lists an example for each feature; they stand beside what they show.
package ackmark
