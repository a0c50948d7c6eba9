// Package telemetry names everything that Ackmark measures and traces.
package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Scope is the name of the instrumentation: that of the tracers that Ackmark asks for.
const Scope = "github.com/ackmark/ackmark"

// SpanSchema is the version of the semantic conventions that spans are written by.
const SpanSchema = semconv.SchemaURL

// Step is what a span is about: an operation of the messaging conventions, and its type.
type Step struct{ Name, Type string }

// The steps of a record's way that have spans.
var (
	Poll    = Step{"poll", "receive"}
	Process = Step{"process", "process"}
	Send    = Step{"send", "send"}
	Commit  = Step{"commit", "settle"}
)

// SpanName is "process orders"; without a topic, since a request is about several, the operation
// alone.
func (o Step) SpanName(topic string) string {
	if topic == "" {
		return o.Name
	}
	return o.Name + " " + topic
}

// Attributes of spans. Keys and values of records are payload and in none of them.
const (
	SpanSystem     = semconv.MessagingSystemKey
	SpanOperation  = semconv.MessagingOperationNameKey
	SpanType       = semconv.MessagingOperationTypeKey
	SpanTopic      = semconv.MessagingDestinationNameKey
	SpanPartition  = semconv.MessagingDestinationPartitionIDKey // a string
	SpanGroup      = semconv.MessagingConsumerGroupNameKey
	SpanOffset     = semconv.MessagingKafkaOffsetKey
	SpanTombstone  = semconv.MessagingKafkaMessageTombstoneKey
	SpanBatch      = semconv.MessagingBatchMessageCountKey
	SpanErrorType  = semconv.ErrorTypeKey
	SpanPartitions = attribute.Key("ackmark.partitions") // of a commit or poll: how many
	SpanFate       = attribute.Key("ackmark.fate")       // of an input: see the fates below
	SpanAttempt    = attribute.Key("ackmark.attempt")    // of a retry: which call failed
	SpanApp        = attribute.Key("ackmark.app")        // whose record a sidecar sends
	SpanRetry      = "retry"                             // event: a handler failed and is called again
	SpanDelivery   = "delivery"                          // event: the producer failed, and delivers again
)

// What became of an input: values of SpanFate.
const (
	FateAcked      = "acked"
	FateDeadLetter = "dead_letter"
	FateHalted     = "halted"     // its partition stands still at it
	FateGivenBack  = "given_back" // its partition left, or the process ends: somebody reads it again
)
