package telemetry

import (
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// Kind is what a metric's value does.
type Kind uint8

const (
	// Counter only rises.
	Counter Kind = iota
	// Level rises and falls; those of several processes add up to something.
	Level
	// Gauge is a value of its own: to add those of several processes makes no sense.
	Gauge
	// Histogram counts values by buckets.
	Histogram
)

func (k Kind) String() string {
	return [...]string{"counter", "up-down counter", "gauge", "histogram"}[k]
}

// Fold is how the values of partitions become one when the label of partitions is dropped, or there
// are too many.
type Fold uint8

const (
	// Sum adds them.
	Sum Fold = iota
	// Most takes the largest.
	Most
)

// Metric is a row of the table. Durations and shares are floating-point numbers, everything else an
// integer.
type Metric struct {
	// Name, Unit as OpenTelemetry has them: dots, and UCUM units.
	Name, Unit string
	Kind       Kind
	// Help says what is counted, in a sentence that Prometheus shows.
	Help string
	// Attributes that a value may have.
	Attributes []attribute.Key
	// Fold is of rows with [Partition].
	Fold Fold
	// Buckets of a histogram.
	Buckets []float64
}

// seconds tells that values are durations.
func (m *Metric) seconds() bool { return m.Unit == "s" }

// share tells that values are parts of a whole.
func (m *Metric) share() bool { return m.Unit == "1" }

// InPrometheus is the name that OpenTelemetry's exporter gives it; package exporter's tests compare
// it with what is scraped.
func (m *Metric) InPrometheus() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	switch m.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	case "1":
		name += "_ratio"
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

// Has tells whether its values may have the attribute.
func (m *Metric) Has(key attribute.Key) bool { return slices.Contains(m.Attributes, key) }

// Metrics is the table: every metric of Ackmark, in the order of docs/metrics.md.
var Metrics = slices.Concat(ofClient, ofSidecar, ofTransactions, ofConsumer, ofPipeline, sentinels, ofProcess)

// Attributes. The first ones are named by OpenTelemetry's conventions.
const (
	System        attribute.Key = "messaging.system"
	Operation     attribute.Key = "messaging.operation.name"
	OperationType attribute.Key = "messaging.operation.type"
	Topic         attribute.Key = "messaging.destination.name"
	Partition     attribute.Key = "messaging.destination.partition.id"
	Group         attribute.Key = "messaging.consumer.group.name"
	// ErrorType is Kafka's error name, or a code of docs/errors.md.
	ErrorType attribute.Key = "error.type"
	// Broker is a broker's number.
	Broker attribute.Key = "ackmark.broker"
	// App is what an app calls itself at its sidecar.
	App attribute.Key = "ackmark.app"
	// Route is how records go: by the sidecar, or directly.
	Route attribute.Key = "ackmark.route"
	// Outcome is how something ended, Reason why something happened or did not.
	Outcome attribute.Key = "ackmark.outcome"
	Reason  attribute.Key = "ackmark.reason"
	// State is what something is at the moment.
	State attribute.Key = "ackmark.state"
)

// Other is the value of a label when there are too many to tell apart, and OtherError that of
// [ErrorType], as the conventions have it.
const (
	Other      = "other"
	OtherError = "_OTHER"
)

// The routes of [Route].
const (
	BySidecar = "sidecar"
	Directly  = "direct"
)

// durations are the buckets that the conventions ask for, of seconds, with three finer ones in
// front: an acknowledgement within a data centre takes a few milliseconds, and p50 would be guessed
// without them.
var durations = []float64{.001, .002, .003, .005, .0075, .01, .015, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60}

// sizes are buckets of numbers of records.
var sizes = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}
