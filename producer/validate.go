package producer

import (
	"fmt"
	"strconv"
)

// Codes of Ackmark's own in [Error.Code], beside Kafka's error names.
const (
	// CodeInvalidRecord: a field of the record is missing or out of range; nothing was taken.
	CodeInvalidRecord = "INVALID_RECORD_FIELD"
	// CodeClosed: the producer was closed before the record was delivered.
	CodeClosed = "CLOSED"
	// CodeFull: the producer is full and refuses instead of waiting.
	CodeFull = "FULL"
	// CodeReleased: the unit's assignment epoch was released, its partition belongs to somebody else.
	CodeReleased = "RELEASED"
	// CodeSessionFenced: the sidecar took this process for dead and closed its session; the partitions of its inputs have left it. Retryable for
	// what has no input.
	CodeSessionFenced = "SESSION_FENCED"
	// CodeUnknownAssignment: the unit's assignment epoch was never announced by Assign.
	CodeUnknownAssignment = "UNKNOWN_ASSIGNMENT"
	// CodeInvalidConfig: the producer's configuration is invalid; it can never deliver.
	CodeInvalidConfig = "INVALID_CONFIG"
)

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
	return &Error{Code: CodeFull, Partition: -1, Retryable: true, Err: ErrFull,
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
