package kgoopt

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Reasons and remedies that several options share.
const (
	commitsAreOurs = "commits are Ackmark's: only ack marks are committed, when the outputs are acknowledged"
	noShares       = "share groups have no offsets to commit"
	onlyProduces   = "this client only produces"
	toConsumer     = "give it to the consumer's options only"
	noMember       = "this client only produces: a second member of the group would take partitions away from the consumer"
	givenUp        = "a record given up while others of its key go on would be skipped; produce errors that may pass are retried for ever"
	dropIt         = "drop it"
	aField         = "it is a field of Config"
)

var (
	take   = decision{handling: Taken}
	merge  = decision{handling: Merged}
	ours   = decision{handling: Ours}
	judge  = decision{handling: Judged}
	always = [roles]decision{take, take, take}
)

func refuse(reason, remedy string) decision {
	return decision{handling: Refused, reason: reason, remedy: remedy}
}

func unless(reason, remedy string) decision {
	return decision{handling: RefusedIfChanged, reason: reason, remedy: remedy}
}

func judged(bad func(opts []kgo.Opt, theirs, plain *kgo.Client) bool, reason, remedy string) decision {
	return decision{handling: Judged, reason: reason, remedy: remedy, bad: bad}
}

// otherAcks tells that not all replicas in sync would have to acknowledge.
func otherAcks(_ []kgo.Opt, theirs, _ *kgo.Client) bool {
	return theirs.OptValue(kgo.RequiredAcks) != kgo.AllISRAcks()
}

// otherPartitioner looks at the type: kgo's own is a pointer.
func otherPartitioner(_ []kgo.Opt, theirs, plain *kgo.Client) bool {
	return fmt.Sprintf("%T", theirs.OptValue(kgo.RecordPartitioner)) != fmt.Sprintf("%T", plain.OptValue(kgo.RecordPartitioner))
}

// mayEnd tells that the clients are to live in a context that can end. The probe has another one.
func mayEnd(opts []kgo.Opt, _, _ *kgo.Client) bool {
	var few []kgo.Opt
	for _, o := range opts {
		if name := Name(o); name == "WithContext" || name == "" {
			few = append(few, o)
		}
	}
	cl, err := kgo.NewClient(few...)
	if err != nil {
		return false // the probe has said so
	}
	defer cl.Close()
	ctx, _ := cl.OptValue(kgo.WithContext).(context.Context)
	return ctx != nil && ctx.Done() != nil
}

// reading is an option of consumers that a client that produces does not mind.
func reading(consumer decision) [roles]decision { return [roles]decision{consumer, take, take} }

// producing is an option of producers that a client that reads does not mind.
func producing(direct, sidecar decision) [roles]decision {
	return [roles]decision{take, direct, sidecar}
}

// table has every option of the kgo version in go.mod.
var table = map[string][roles]decision{
	// Any client.
	"AllowAutoTopicCreation":           always,
	"AlwaysRetryEOF":                   always,
	"BrokerMaxReadBytes":               always,
	"BrokerMaxWriteBytes":              {take, take, ours},
	"ClientID":                         always,
	"ConcurrentTransactionsBackoff":    always,
	"ConnIdleTimeout":                  always,
	"ConsiderMissingTopicDeletedAfter": always,
	"DialTLS":                          always,
	"DialTLSConfig":                    always,
	"DialTimeout":                      always,
	"Dialer":                           always,
	"DisableClientMetrics":             always,
	"MaxVersions":                      always,
	"MetadataMaxAge":                   always,
	"MetadataMinAge":                   always,
	"MinVersions":                      always,
	"OnRebootstrapRequired":            always,
	"RequestRetries":                   always,
	"RequestTimeoutOverhead":           always,
	"RetryBackoffFn":                   always,
	"RetryTimeout":                     always,
	"RetryTimeoutFn":                   always,
	"SASL":                             always,
	"SeedBrokers":                      {merge, merge, unless(aField, "set Config.Brokers")},
	"SoftwareNameAndVersion":           always,
	"UserMetricsFn":                    always,
	"WithContext": {
		refuse("when that context ends, the last commit and the leave are never sent", "drop it, and end the context that is given to Run"),
		refuse("when that context ends, records on their way would never be reported (S12)", "remove it; Close ends the producer"),
		judged(mayEnd, "its end would fail records that are on their way", "end the context of Run instead"),
	},
	"WithHooks":  always,
	"WithLogger": always,
	"WithPools":  reading(refuse("pooled records could be used again before they are done", dropIt)),

	// Producers.
	"AllowIdempotentProduceCancellation": producing(
		refuse("a cancelled record may be in Kafka all the same, so its report would lie (S12)", "remove it"),
		unless("a cancelled batch may be in Kafka and be reported as failed", dropIt)),
	"DefaultProduceTopic": producing(take, unless("a record without a topic is an error, not a guess", dropIt)),
	"DefaultProduceTopicAlways": producing(
		refuse("records would go to another topic than the one they name", "remove it and set Record.Topic"),
		unless("records go to the topic that they name", dropIt)),
	"DisableIdempotentWrite": producing(
		refuse("a retry could write a record twice or out of order (S7)", "remove it"),
		unless("retries would duplicate and reorder", dropIt)),
	"ManualFlushing": producing(
		refuse("nobody would flush", "remove it, and set kgo.ProducerLinger for larger batches"),
		unless("nobody would flush", dropIt)),
	"MaxBufferedBytes": producing(
		refuse("kgo would block or fail records out of order", "set DirectConfig.MaxBufferedBytes"),
		unless(aField, "set Config.MaxBytes")),
	"MaxBufferedRecords": producing(
		refuse("kgo would block or fail records out of order", "set DirectConfig.MaxBufferedRecords"),
		unless(aField, "set Config.MaxRecords")),
	"MaxProduceRequestsInflightPerBroker": always,
	"ProduceRequestTimeout":               always,
	"ProducerBatchCompression":            always,
	"ProducerBatchMaxBytes": producing(take,
		unless(aField+"; the topics' own max.message.bytes are asked for", "set Config.MaxRecordBytes")),
	"ProducerBatchMaxBytesFn": producing(take,
		unless(aField+"; the topics' own max.message.bytes are asked for", "set Config.MaxRecordBytes")),
	"ProducerLinger":             producing(take, unless(aField, "set Config.Linger")),
	"ProducerOnDataLossDetected": always,
	"RackAwarePartitioning":      always,
	"RecordDeliveryTimeout": producing(
		refuse(givenUp, "remove it, and bound the wait by the context of Emit"),
		unless(givenUp, dropIt)),
	"RecordPartitioner": producing(
		refuse("a key must keep its partition on every path: murmur2, as the sidecar and the Java client do",
			"set Record.Partition for records that need another one"),
		judged(otherPartitioner, "another one moves keys to other partitions", "set Config.Partitioner")),
	"RecordRetries": producing(refuse(givenUp, "remove it"), unless(givenUp, dropIt)),
	"RequiredAcks": producing(
		judged(otherAcks, "only acks=all makes an acknowledgement durable", "remove it"),
		unless("an acknowledgement means acks=all here", dropIt)),
	"StopProducerOnDataLossDetected": producing(
		refuse("one partition's trouble would stop all others", "remove it"),
		unless("one partition's trouble would stop every app of the pod", dropIt)),
	"StreamingCompression": always,
	"TransactionTimeout":   always,
	"TransactionalID": {
		refuse("this client only reads", "give it to the producer"),
		refuse("this producer does not begin transactions, so every record would fail", "remove it; for exactly-once set DirectConfig.TransactionalID"),
		unless("the sidecar's producer is not transactional in at-least-once mode", dropIt),
	},
	"UnknownTopicRetries": producing(take, unless("a topic that does not exist fails after about a second here", dropIt)),
	"WithCompressor":      always,

	// Consumers.
	"BalanceRacks":                    always,
	"ConsumeExcludeTopics":            always,
	"ConsumePartitions":               {refuse("partitions are held through the group", "set Config.Group and Config.Topics"), refuse(onlyProduces, toConsumer), unless(onlyProduces, dropIt)},
	"ConsumePreferringLagFn":          reading(refuse("it starves partitions that the memory budget lets read", dropIt)),
	"ConsumeRegex":                    reading(merge),
	"ConsumeResetOffset":              reading(refuse("it would skip lost ranges silently", "set Config.Start and Config.OnOutOfRange")),
	"ConsumeStartOffset":              reading(refuse("where to start is the consumer's", "set Config.Start")),
	"ConsumeTopics":                   {merge, refuse(onlyProduces, toConsumer), unless(onlyProduces, dropIt)},
	"DisableFetchCRCValidation":       reading(refuse("a record that was damaged on its way would be handed out as it is, or be skipped (S11)", dropIt)),
	"DisableFetchSessions":            always,
	"FetchIsolationLevel":             always,
	"FetchMaxBytes":                   always,
	"FetchMaxPartitionBytes":          always,
	"FetchMaxWait":                    always,
	"FetchMinBytes":                   always,
	"KeepControlRecords":              reading(ours),
	"KeepRetryableFetchErrors":        reading(refuse("retryable errors are retried, not shown", dropIt)),
	"MaxConcurrentFetches":            always,
	"MaxDecompressBatchBytes":         always,
	"Rack":                            always,
	"RecheckPreferredReplicaInterval": always,
	"WithDecompressor":                always,

	// Group members.
	"AdjustFetchOffsetsFn":        reading(refuse("moved fetch positions would make the ack mark lie", "use Config.Start, or reset the group's offsets with a tool")),
	"AutoCommitCallback":          reading(refuse(commitsAreOurs, "drop it: see Consumer.State and the log")),
	"AutoCommitInterval":          reading(refuse(commitsAreOurs, "set Config.CommitEvery")),
	"AutoCommitMarks":             reading(refuse(commitsAreOurs, "drop it: Message.Done marks")),
	"Balancers":                   reading(judge), // eager ones need AllowEager
	"BlockRebalanceOnPoll":        reading(ours),
	"ConsumerGroup":               {merge, refuse(noMember, toConsumer), unless("the sidecar is in no group", dropIt)},
	"DisableAutoCommit":           reading(ours),
	"GreedyAutoCommit":            reading(refuse("it commits what was only polled, which loses inputs", dropIt)),
	"GroupProtocol":               reading(refuse("the group protocol is the consumer's", dropIt)),
	"HeartbeatInterval":           reading(merge),
	"InstanceID":                  reading(merge),
	"OnOffsetsFetched":            reading(refuse("the consumer reads the group's offsets itself", "use Config.Hooks.Assigned")),
	"OnPartitionsAssigned":        reading(refuse("the consumer's own callback keeps the assignment epochs", "use Config.Hooks.Assigned")),
	"OnPartitionsCallbackBlocked": reading(refuse("the poll loop never blocks rebalances", dropIt)),
	"OnPartitionsLost":            reading(refuse("the consumer's own callback fences what was lost", "use Config.Hooks.Lost")),
	"OnPartitionsRevoked":         reading(refuse("the consumer's own callback drains and commits", "use Config.Hooks.Revoking")),
	"RebalanceTimeout":            reading(merge),
	"RequireStableFetchOffsets":   always,
	"ServerSideBalancer":          reading(refuse("the group protocol is a field of Config, which keeps promises that the option alone breaks", "set Protocol to ConsumerProtocol")),
	"SessionTimeout":              reading(merge),
	"ShareAckCallback":            reading(refuse(noShares, dropIt)),
	"ShareGroup":                  {refuse(noShares, "use a consumer group"), refuse(noMember, toConsumer), unless(onlyProduces, dropIt)},
	"ShareMaxRecords":             reading(refuse(noShares, dropIt)),
	"ShareMaxRecordsStrict":       reading(refuse(noShares, dropIt)),
}
