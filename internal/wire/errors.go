package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Codes of the sidecar's own, beside Kafka's error names.
const (
	// CodeFull refuses a record, or a call, because a limit is reached. Retryable, with retry_after_ms.
	CodeFull = "FULL"
	// CodeFullBefore is what sidecars up to 0.1 said for CodeFull. Clients take both for a release.
	CodeFullBefore = "RESOURCE_EXHAUSTED"
	// CodeTooManyTopics refuses a topic because the app has named so many: a sidecar remembers each.
	CodeTooManyTopics = "TOO_MANY_TOPICS"
	// CodeTopicNotAllowed refuses a topic that is not in the app's allow-list.
	CodeTopicNotAllowed = "TOPIC_NOT_ALLOWED"
	// CodeMemberHeld begins the message of the UNAVAILABLE status with which an Assign or Inherit is refused that names another living session's member.
	CodeMemberHeld = "MEMBER_HELD"
	// CodeGroupNotAllowed begins the message of the PERMISSION_DENIED status with which an Assign or Inherit is refused whose group is not in the app's allow-list.
	CodeGroupNotAllowed = "GROUP_NOT_ALLOWED"
	// CodeUnauthorized refuses an app: it is not in the list, or its token is wrong.
	CodeUnauthorized = "APP_NOT_ALLOWED"
	// CodeDraining refuses a record because the sidecar is about to stop. Retryable, elsewhere or later.
	CodeDraining = "DRAINING"
	// CodeInvalidRecord is a record that cannot be produced as it is: no topic, an unknown topic index, a negative partition.
	CodeInvalidRecord = "INVALID_RECORD_FIELD"
	// CodeSessionFenced begins the message of the ABORTED status with which a session that a will has closed is refused.
	CodeSessionFenced = "SESSION_FENCED"
	// CodeExpired is a unit whose expires_at had passed before the sidecar began to send it.
	CodeExpired = "EXPIRED"
	// CodeUnknownAssignment is a unit whose source names an epoch that the session does not hold.
	CodeUnknownAssignment = "UNKNOWN_ASSIGNMENT"
	// CodeUnitTooLarge is a unit with more outputs than a sidecar takes in one.
	CodeUnitTooLarge = "UNIT_TOO_LARGE"
	// CodeDelivery is a failure without a Kafka error name.
	CodeDelivery = "DELIVERY_FAILED"
)

// FromKafka makes the wire's error from one of kgo's: Kafka's name as the code, and what to do in the message. It returns nil for nil.
func FromKafka(err error) *sidecarpb.Error {
	if err == nil {
		return nil
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return &sidecarpb.Error{Code: ke.Message, Message: utf8Only(withRemedy(err.Error(), ke)), Retryable: retryable(ke)}
	}
	code, retry := localCode(err)
	return &sidecarpb.Error{Code: code, Message: utf8Only(err.Error()), Retryable: retry}
}

// retryable differs from Kafka's word for a topic that does not exist: kgo has asked several times by then, and a record for it
// belongs into the dead letter, or its input halts (spec row 16); waiting would hide a misspelt name for ever.
func retryable(ke *kerr.Error) bool {
	switch ke.Code {
	case kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code:
		return false
	case kerr.OutOfOrderSequenceNumber.Code, kerr.UnknownProducerID.Code, kerr.InvalidProducerIDMapping.Code, kerr.InvalidProducerEpoch.Code:
		return true // the producer starts again with a new epoch; the record is as good as before
	}
	return ke.Retriable
}

var remedies = map[int16]string{
	kerr.UnknownTopicOrPartition.Code:    "create the topic, or correct its name (topics are not created automatically); a partition number must exist",
	kerr.UnknownTopicID.Code:             "the topic was deleted or recreated: create it, then restart the sidecar",
	kerr.MessageTooLarge.Code:            "raise max.message.bytes of the topic and the sidecar's max record bytes, or make the record smaller",
	kerr.RecordListTooLarge.Code:         "raise max.message.bytes of the topic, or make the record smaller",
	kerr.TopicAuthorizationFailed.Code:   "grant the sidecar's principal WRITE and DESCRIBE on the topic",
	kerr.ClusterAuthorizationFailed.Code: "grant the sidecar's principal IDEMPOTENT_WRITE on the cluster",
	kerr.InvalidTopicException.Code:      "correct the topic's name: letters, digits, '.', '_' and '-', at most 249",
	kerr.InvalidRecord.Code:              "the broker refused the record: a compacted topic needs keys, and timestamps must be within its limits",
	kerr.PolicyViolation.Code:            "the broker's policy refuses it: ask who runs the cluster",
}

func withRemedy(text string, ke *kerr.Error) string {
	text = strings.TrimSuffix(strings.TrimPrefix(text, ke.Message+": "), ".") // the code has the name already
	if r := remedies[ke.Code]; r != "" {
		return text + ". " + strings.ToUpper(r[:1]) + r[1:]
	}
	return text
}

func localCode(err error) (code string, retry bool) {
	var netErr net.Error
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		return CodeFull, true
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting), errors.Is(err, context.Canceled):
		return CodeDraining, true
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut.Message, true
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return kerr.NetworkException.Message, true
	}
	return CodeDelivery, false
}

// utf8Only makes text fit for a protobuf string: an error may quote bytes of a user's record.
func utf8Only(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
