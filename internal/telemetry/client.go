package telemetry

import "go.opentelemetry.io/otel/attribute"

// What a producer counts: the client of a sidecar, the direct one, and the sidecar itself, which
// produces for its apps. Their scopes tell them apart.
var (
	// Sent are the records with a fate: those without an error are acknowledged.
	Sent = &Metric{
		Name: "messaging.client.sent.messages", Unit: "{message}", Kind: Counter,
		Help:       "Records that have their fate: acknowledged by Kafka with acks=all, or failed, by the name of the error.",
		Attributes: []attribute.Key{System, Operation, Topic, App, Route, ErrorType},
	}
	// Latency is from the attempt to the acknowledgement.
	Latency = &Metric{
		Name: "messaging.client.operation.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help:       "How long it took from the attempt to the acknowledgement, of some records of each batch.",
		Attributes: []attribute.Key{System, Operation, OperationType, Topic, App, Route},
	}
	Attempted = &Metric{
		Name: "ackmark.client.attempted.messages", Unit: "{message}", Kind: Counter,
		Help:       "Records that were taken for delivery; how they ended is told by messaging.client.sent.messages, and by ackmark.client.dropped.messages.",
		Attributes: []attribute.Key{Topic, App, Route},
	}
	Dropped = &Metric{
		Name: "ackmark.client.dropped.messages", Unit: "{message}", Kind: Counter,
		Help:       "Records that were taken and given up when their session, or the sidecar, ended: nobody is told that they are done, and who reads their inputs next makes them again.",
		Attributes: []attribute.Key{Topic, App},
	}
	Refused = &Metric{
		Name: "ackmark.client.refused.messages", Unit: "{message}", Kind: Counter,
		Help:       "Records that were not taken, by the code of docs/errors.md; without a topic where the refusal names none.",
		Attributes: []attribute.Key{Topic, App, ErrorType},
	}
	// RetryAfter are refusals that tell when to come back.
	RetryAfter = &Metric{
		Name: "ackmark.client.refused.retry_after", Unit: "{message}", Kind: Counter,
		Help:       "Refusals that said when to try again: a limit is reached for the moment.",
		Attributes: []attribute.Key{Topic, App},
	}
	Outstanding = &Metric{
		Name: "ackmark.client.outstanding.records", Unit: "{message}", Kind: Level,
		Help:       "Records that were taken and have no fate yet.",
		Attributes: []attribute.Key{Topic, App, Route},
	}
	OutstandingSize = &Metric{
		Name: "ackmark.client.outstanding.size", Unit: "By", Kind: Level,
		Help:       "Bytes of the records that were taken and have no fate yet.",
		Attributes: []attribute.Key{App},
	}
	OutstandingLimit = &Metric{
		Name: "ackmark.client.queue.limit.records", Unit: "{message}", Kind: Level,
		Help: "Records that may be taken and have no fate yet, in all.",
	}
	OutstandingSizeLimit = &Metric{
		Name: "ackmark.client.queue.limit", Unit: "By", Kind: Level,
		Help: "Bytes of records that may be taken and have no fate yet, in all.",
	}
	QueueRecords = &Metric{
		Name: "ackmark.client.queue.records", Unit: "{message}", Kind: Level,
		Help:       "Records that wait for a partition of Kafka.",
		Attributes: []attribute.Key{Topic, Partition},
	}
	QueueSize = &Metric{
		Name: "ackmark.client.queue.size", Unit: "By", Kind: Level,
		Help:       "Bytes that wait for a partition of Kafka.",
		Attributes: []attribute.Key{Topic, Partition},
	}
	QueueFull = &Metric{
		Name: "ackmark.client.queue.full", Unit: "{partition}", Kind: Level,
		Help: "Partitions whose queue is at its limit: who writes to them waits.",
	}
	// QueueUsed is of the limits that somebody waits for: see [CreditWaits].
	QueueUsed = &Metric{
		Name: "ackmark.client.queue.used", Unit: "1", Kind: Gauge,
		Help:       "How much of a limit is used, of the fullest: of a session's credit, of what an app may have, of all, of what may wait for a partition. At 1 somebody waits, by the reasons of ackmark.client.credit.waits.",
		Attributes: []attribute.Key{Reason},
	}
	QueueWait = &Metric{
		Name: "ackmark.client.queue.wait.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help:       "How long records waited for room before the Kafka client took them: one of each message, the last.",
		Attributes: []attribute.Key{Topic, App},
	}
	RequestTime = &Metric{
		Name: "ackmark.client.request.duration", Unit: "s", Kind: Histogram, Buckets: durations,
		Help:       "How long a broker took to answer a produce request.",
		Attributes: []attribute.Key{Broker},
	}
	BatchSize = &Metric{
		Name: "ackmark.client.batch.records", Unit: "{message}", Kind: Histogram, Buckets: sizes,
		Help:       "Records in a batch that was written to Kafka.",
		Attributes: []attribute.Key{Topic},
	}
	Retried = &Metric{
		Name: "ackmark.client.retried.batches", Unit: "{batch}", Kind: Counter,
		Help:       "Batches that are sent again, as a broker did not answer or the error passes, by that error.",
		Attributes: []attribute.Key{Topic, ErrorType},
	}
	RetriedMessages = &Metric{
		Name: "ackmark.client.retried.messages", Unit: "{message}", Kind: Counter,
		Help:       "Records that Kafka acknowledged at a second try or later: their batch had failed, got no answer or was refused for another record of it, or their transaction was aborted.",
		Attributes: []attribute.Key{Topic, App},
	}
	Requests = &Metric{
		Name: "ackmark.client.produce.requests", Unit: "{request}", Kind: Counter,
		Help: "Produce requests that were written to brokers.",
	}
	Connections = &Metric{
		Name: "ackmark.broker.connections", Unit: "{connection}", Kind: Level,
		Help:       "Open connections to a broker.",
		Attributes: []attribute.Key{Broker},
	}
	Connects = &Metric{
		Name: "ackmark.broker.connects", Unit: "{connection}", Kind: Counter,
		Help:       "Attempts to connect to a broker.",
		Attributes: []attribute.Key{Broker, Outcome},
	}
	CreditWaits = &Metric{
		Name: "ackmark.client.credit.waits", Unit: "{wait}", Kind: Counter,
		Help:       "Times that a call had to wait for the client's buffer or its credit (buffer, credit), or a session for memory or a full queue.",
		Attributes: []attribute.Key{App, Reason},
	}
	CreditWaited = &Metric{
		Name: "ackmark.client.credit.waited", Unit: "s", Kind: Counter,
		Help:       "Time spent in those waits.",
		Attributes: []attribute.Key{App, Reason},
	}
	Streams = &Metric{
		Name: "ackmark.client.streams", Unit: "{stream}", Kind: Counter,
		Help:       "Attempts of a client to come to its sidecar: opened, each but the first to come back, or failed.",
		Attributes: []attribute.Key{App, Outcome},
	}
	FallbackActive = &Metric{
		Name: "ackmark.fallback.active", Unit: "{client}", Kind: Level,
		Help:       "Clients of the process whose records go to Kafka directly because the sidecar is away.",
		Attributes: []attribute.Key{App},
	}
	FallbackTime = &Metric{
		Name: "ackmark.fallback.time", Unit: "s", Kind: Counter,
		Help:       "Time spent in the fallback; its rate is the share of time.",
		Attributes: []attribute.Key{App},
	}
	FallbackSwitches = &Metric{
		Name: "ackmark.fallback.switches", Unit: "{switch}", Kind: Counter,
		Help:       "Times that a client changed its route: to Kafka directly, and back.",
		Attributes: []attribute.Key{App},
	}
	FallbackRecords = &Metric{
		Name: "ackmark.fallback.records", Unit: "{message}", Kind: Counter,
		Help:       "Records that went to Kafka directly because the sidecar was away; all that a client attempts have the route sidecar. Without a topic: inputs that made none.",
		Attributes: []attribute.Key{Topic, App},
	}
)

var ofClient = []*Metric{
	Sent, Latency, Attempted, Dropped, Refused, RetryAfter, Outstanding, OutstandingSize, OutstandingLimit, OutstandingSizeLimit,
	QueueRecords, QueueSize, QueueFull, QueueUsed, QueueWait, RequestTime, BatchSize, Retried, RetriedMessages, Requests,
	Connections, Connects, CreditWaits, CreditWaited, Streams, FallbackActive, FallbackTime, FallbackSwitches, FallbackRecords,
}
