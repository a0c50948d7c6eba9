package outlet

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// verdicts are the errors with which Kafka refuses a whole batch for what is in it (LogValidator,
// ProducerAppendInfo and UnifiedLog in Kafka's sources), and UNKNOWN_SERVER_ERROR, with which it
// answers what it did not foresee: of that, too, only the record alone tells whether it is to
// blame.
var verdicts = []*kerr.Error{
	kerr.UnknownServerError, kerr.CorruptMessage, kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidTimestamp,
	kerr.UnsupportedForMessageFormat, kerr.InvalidRecord,
}

// isVerdict tells an error that may be about another record of the same batch.
func isVerdict(err error) bool {
	ke, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		return false
	}
	for _, v := range verdicts {
		if ke.Code == v.Code {
			return true
		}
	}
	return false
}

// passes tells an error after which kgo sends a batch again: also those of a batch behind one that
// failed, and of a producer that Kafka does not know any more (sink.handleReqRespBatch). In a
// transaction some of these end it.
func passes(err error) bool {
	ke, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		return false
	}
	switch ke.Code {
	case kerr.ConcurrentTransactions.Code, kerr.OutOfOrderSequenceNumber.Code, kerr.UnknownProducerID.Code,
		kerr.InvalidProducerIDMapping.Code, kerr.InvalidProducerEpoch.Code:
		return true
	}
	return ke.Retriable && !isVerdict(err) // CORRUPT_MESSAGE is both
}

// handedBack tells that the client gave a record back because its partition is under repair.
func handedBack(err error) bool { return errors.Is(err, context.Canceled) }

// gone tells that the topic, or the partition, is not there: deleted, perhaps to be created anew.
func gone(err error) bool { return errors.Is(err, kerr.UnknownTopicOrPartition) || recreated(err) }

// recreated tells that the client met a topic that was deleted and created anew: it fails
// everything of it until it forgets the topic.
func recreated(err error) bool { return isNew(err) || purged(err) }

// isNew is recreated without what follows from telling the client to forget the topic: that must
// not make it forget again.
func isNew(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

// purged is what the client says of a record of a topic that it was told to forget; it has no error
// value for it.
func purged(err error) bool { return err != nil && err.Error() == "topic purged while buffered" }

// withMessage adds the broker's words to its error.
func withMessage(err error, message string) error {
	ke, ok := errors.AsType[*kerr.Error](err)
	if !ok || message == "" {
		return err
	}
	return &saidError{ke, message}
}

// saidError is an error of Kafka's with the broker's own words.
type saidError struct {
	kafka   *kerr.Error
	message string
}

// Error implements error.
func (e *saidError) Error() string { return e.kafka.Error() + ": " + e.message }

// Unwrap returns Kafka's error.
func (e *saidError) Unwrap() error { return e.kafka }
