package txn

import (
	"errors"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// blame is whose fault an error of a record or a request is.
type blame uint8

const (
	ofWindow blame = iota // nobody's: everything is tried again
	ofAway                // a group's, for now: its units wait, the others are tried again
	ofUnit                // the unit's: it fails, the others are tried again
	ofStale               // the membership's, for now: it is tried again under a newer one
	ofMember              // the member's: its units fail
	ofFence               // somebody else may have the id: look before anything else
	ofSetup               // of all: the lane ends
)

// blameRecord says whose fault the failure of a record is.
func blameRecord(err error) blame {
	for _, ke := range unitErrors {
		if errors.Is(err, ke) {
			return ofUnit
		}
	}
	switch ke, isKafka := errors.AsType[*kerr.Error](err); {
	case isFence(err):
		return ofFence
	case isSetup(err):
		return ofSetup
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting), errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, kgo.ErrRecordTimeout):
		return ofWindow
	case isNetwork(err):
		return ofWindow
	case !isKafka: // the client refuses the record itself: its partition does not exist
		return ofUnit
	case ke.Retriable, windowErrors[ke]:
		return ofWindow
	}
	return ofUnit
}

// isNetwork tells that a broker was not reached: no record is to blame.
func isNetwork(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

var unitErrors = []error{
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnknownTopicOrPartition,
	kerr.InvalidTopicException, kerr.TopicAuthorizationFailed, kerr.UnsupportedForMessageFormat, kerr.PolicyViolation,
}

var windowErrors = map[*kerr.Error]bool{
	kerr.OutOfOrderSequenceNumber: true, kerr.DuplicateSequenceNumber: true, kerr.UnknownProducerID: true, kerr.TransactionAbortable: true,
	kerr.InvalidTxnState: true, kerr.UnknownServerError: true, kerr.OperationNotAttempted: true,
}

// ofTransaction are errors of a TxnOffsetCommit that are not its group's.
var ofTransaction = map[*kerr.Error]bool{
	kerr.ConcurrentTransactions: true, kerr.TransactionAbortable: true, kerr.InvalidTxnState: true, kerr.OperationNotAttempted: true,
}

func isFence(err error) bool {
	return errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerIDMapping)
}

func isSetup(err error) bool {
	return errors.Is(err, kerr.TransactionalIDAuthorizationFailed) || errors.Is(err, kerr.InvalidTransactionTimeout) ||
		errors.Is(err, kerr.ClusterAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.UnsupportedVersion) ||
		errors.Is(err, kerr.SaslAuthenticationFailed)
}

// isForbidden tells that a group, or its inputs, may not be read any more.
func isForbidden(err error) bool {
	return errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed)
}

// blameOffsets says whose fault it is that an offset was not taken into the transaction.
func blameOffsets(err error) blame {
	switch {
	case isFence(err):
		return ofFence
	case isSetup(err), errors.Is(err, kerr.TopicAuthorizationFailed):
		return ofSetup
	case errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.StaleMemberEpoch), errors.Is(err, kerr.RebalanceInProgress):
		return ofStale
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.FencedInstanceID), errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.FencedMemberEpoch):
		return ofMember
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.OffsetMetadataTooLarge), errors.Is(err, ErrSetTooLarge):
		return ofUnit
	}
	return ofWindow
}

// blameOffsets says the same where several processes share the lane: what is of a group, or of its
// inputs, is not everybody's. Its units fail, the others' are tried again.
func (o *offsets) blameOffsets(err error) blame {
	b := blameOffsets(err)
	if !o.cfg.Shared || b != ofSetup && b != ofWindow || isAsk(err) {
		return b
	}
	ke, isKafka := errors.AsType[*kerr.Error](err)
	switch {
	case isForbidden(err):
		return ofUnit
	case b == ofWindow && isKafka && !ke.Retriable && !windowErrors[ke] && !ofTransaction[ke]:
		return ofUnit
	}
	return b
}

// isRetryable tells that a request that was refused so is worth sending again within the window.
func isRetryable(err error) bool {
	ke, isKafka := errors.AsType[*kerr.Error](err)
	return !isKafka || errors.Is(err, kerr.ConcurrentTransactions) || ke.Retriable && blameOffsets(err) == ofWindow
}

// isOfBatch tells that a record may have failed by another one of its batch.
func isOfBatch(err error) bool {
	if re, ok := errors.AsType[*RecordError](err); ok && re.alone {
		return false
	}
	for _, ke := range []error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException, kerr.TopicAuthorizationFailed} {
		if errors.Is(err, ke) {
			return false
		}
	}
	_, isKafka := errors.AsType[*kerr.Error](err)
	return isKafka
}

func isTaken(err error) bool     { return errors.Is(err, ErrTaken) }
func isClosed(err error) bool    { return errors.Is(err, ErrClosed) }
func isNoFeature(err error) bool { return errors.Is(err, errNoFeature) }
