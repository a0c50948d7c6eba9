package producer

import (
	"fmt"
	"strconv"

	"github.com/ackmark/ackmark/internal/wire"
)

// Limits of one unit, the same by every way: what is larger fails with [CodeUnitTooLarge]. A
// sidecar has a limit in bytes besides, its maximum message size (4 MiB by default):
// MESSAGE_TOO_LARGE.
const (
	MaxUnitOutputs = wire.MaxUnitOutputs
	MaxUnitHeaders = wire.MaxUnitHeaders // of all its outputs together
)

// unfitUnit names the error of a unit that no way takes: it fails alone. Nil: it is within the
// limits.
func unfitUnit(outs []Record) *Error {
	if len(outs) > MaxUnitOutputs {
		return &Error{Code: CodeUnitTooLarge, Topic: outs[0].Topic, Partition: -1,
			Message: fmt.Sprintf("the unit has %d outputs, the limit is %d: split them over several inputs", len(outs), MaxUnitOutputs)}
	}
	headers := 0
	for i := range outs {
		headers += len(outs[i].Headers)
		if at := outs[i].Timestamp; !at.IsZero() {
			if ms := at.UnixMilli(); ms < wire.MinTimeMs || ms > wire.MaxTimeMs {
				return &Error{Code: CodeInvalidRecord, Topic: outs[i].Topic, Partition: -1, Output: i,
					Message: fmt.Sprintf("the timestamp %v is not within the years 1677 to 2262: correct Record.Timestamp, or leave it out", at)}
			}
		}
	}
	if headers > MaxUnitHeaders {
		return &Error{Code: CodeUnitTooLarge, Topic: outs[0].Topic, Partition: -1,
			Message: fmt.Sprintf("the unit's outputs have %d headers, the limit is %d: make fewer, or split them over several inputs", headers, MaxUnitHeaders)}
	}
	return nil
}

// cost is what records weigh against a limit.
type cost struct {
	bytes   int64
	records int
}

// recordBytes is the weight of one record: what Kafka would call its user size.
func recordBytes(r *Record) int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// checkUnits validates all outputs, before any is taken, and weighs them.
func checkUnits(units []Unit) (c cost, err *Error) {
	for i := range units {
		outs := units[i].Outputs
		for j := range outs {
			if bad := checkRecord(&outs[j]); bad != nil {
				bad.Output = j
				bad.Message = "unit " + strconv.Itoa(i) + ", output " + strconv.Itoa(j) + ": " + bad.Message
				return cost{}, bad
			}
			c.bytes += recordBytes(&outs[j])
		}
		c.records += len(outs)
	}
	return c, nil
}

// checkRecord validates one record; nil: it is valid.
func checkRecord(r *Record) *Error {
	switch {
	case r.Topic == "":
		return &Error{Code: CodeInvalidRecord, Partition: -1, Message: "the record has no topic: set Record.Topic"}
	case r.Partition != nil && *r.Partition < 0:
		return &Error{Code: CodeInvalidRecord, Topic: r.Topic, Partition: -1,
			Message: fmt.Sprintf("partition %d is negative: set Record.Partition to 0 or more, or leave it nil to choose it from the key", *r.Partition)}
	}
	return nil
}

func errClosed() *Error {
	return &Error{Code: CodeClosed, Partition: -1, Message: "the producer was closed", Err: ErrClosed}
}

func errFull(what string) *Error {
	return &Error{Code: CodeFull, Partition: -1, Retryable: wire.CodeOf(CodeFull).Retryable, Err: ErrFull,
		Message: what + ": try again when records were acknowledged, raise the limits, or use OnFull: Block"}
}

func errReleased(epoch uint64) *Error {
	return &Error{Code: CodeReleased, Partition: -1,
		Message: fmt.Sprintf("assignment epoch %d was released: its partition left this process, its inputs are read again by the next owner", epoch)}
}

func errUnknownAssignment(epoch uint64) *Error {
	return &Error{Code: CodeUnknownAssignment, Partition: -1,
		Message: fmt.Sprintf("assignment epoch %d was never announced: call Assign before the first unit of a partition", epoch)}
}
