// Package unit has what every way to Kafka says alike about records and units: which are valid,
// what they weigh, and the errors of those that are not delivered. Its Record and Error have the
// fields of the public ones, so that a pointer to one is converted to a pointer to the other.
package unit

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/wire"
)

// Record is a producer.Record.
type Record struct {
	Topic     string
	Key       []byte
	Value     []byte
	Headers   []kgo.RecordHeader
	Timestamp time.Time
	Partition *int32
}

// Bytes is the weight of a record: what Kafka would call its user size.
func (r *Record) Bytes() int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// Invalid names what is wrong with a record by itself: nothing of its call is taken. Nil: it is
// valid.
func (r *Record) Invalid() *Error {
	switch {
	case r.Topic == "":
		return &Error{Code: wire.CodeInvalidRecord, Partition: -1, Message: "the record has no topic: set Record.Topic"}
	case r.Partition != nil && *r.Partition < 0:
		return &Error{Code: wire.CodeInvalidRecord, Topic: r.Topic, Partition: -1,
			Message: fmt.Sprintf("partition %d is negative: set Record.Partition to 0 or more, or leave it nil to choose it from the key", *r.Partition)}
	}
	return nil
}

// Sum goes through the outputs of one unit, and names the error of a unit that no way takes: it
// fails alone.
type Sum struct {
	outputs, headers int
	topic            string // of the first output
}

// Add adds an output.
func (s *Sum) Add(r *Record) *Error {
	if at := r.Timestamp; !at.IsZero() {
		if ms := at.UnixMilli(); ms < wire.MinTimeMs || ms > wire.MaxTimeMs {
			return &Error{Code: wire.CodeInvalidRecord, Topic: r.Topic, Partition: -1, Output: s.outputs,
				Message: fmt.Sprintf("the timestamp %v is not within the years 1677 to 2262: correct Record.Timestamp, or leave it out", at)}
		}
	}
	if s.outputs == 0 {
		s.topic = r.Topic
	}
	s.outputs++
	s.headers += len(r.Headers)
	return nil
}

// TooLarge names what is too much of all outputs together; nil: they are within the limits.
func (s *Sum) TooLarge() *Error {
	switch {
	case s.outputs > wire.MaxUnitOutputs:
		return s.tooLarge("the unit has %d outputs, the limit is %d: split them over several inputs", s.outputs, wire.MaxUnitOutputs)
	case s.headers > wire.MaxUnitHeaders:
		return s.tooLarge("the unit's outputs have %d headers, the limit is %d: make fewer, or split them over several inputs", s.headers, wire.MaxUnitHeaders)
	}
	return nil
}

func (s *Sum) tooLarge(format string, have, limit int) *Error {
	return &Error{Code: wire.CodeUnitTooLarge, Topic: s.topic, Partition: -1, Message: fmt.Sprintf(format, have, limit)}
}
