package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Ackmark's own error codes, beside Kafka's error names. What each means stands in [Codes].
const (
	CodeFull              = "FULL"
	CodeDraining          = "DRAINING"
	CodeExpired           = "EXPIRED"
	CodeInvalidRecord     = "INVALID_RECORD_FIELD"
	CodeUnitTooLarge      = "UNIT_TOO_LARGE"
	CodeTopicNotAllowed   = "TOPIC_NOT_ALLOWED"
	CodeTooManyTopics     = "TOO_MANY_TOPICS"
	CodeUnknownAssignment = "UNKNOWN_ASSIGNMENT"
	CodeDelivery          = "DELIVERY_FAILED"
	CodeSessionFenced     = "SESSION_FENCED"
	CodeMemberHeld        = "MEMBER_HELD"
	CodeGroupNotAllowed   = "GROUP_NOT_ALLOWED"
	CodeUnauthorized      = "APP_NOT_ALLOWED"
	CodeVersionMismatch   = "VERSION_MISMATCH"
	CodeInvalidConfig     = "INVALID_CONFIG"
	CodeReleased          = "RELEASED"
	CodeNoRoom            = "NO_ROOM"
	CodeClosed            = "CLOSED"
	CodeMemberFenced      = "MEMBER_FENCED"
	CodeTransactionTaken  = "TRANSACTIONAL_ID_TAKEN"

	// codeFullBefore is what sidecars up to 0.1 said for CodeFull. Clients take both for a release.
	codeFullBefore = "RESOURCE_EXHAUSTED"
)

// Blame tells what an error is of.
type Blame uint8

const (
	// Moment: neither of the others. It passes if it is retryable.
	Moment Blame = iota
	// OfRecord: this record or unit is the cause, its neighbours are unharmed.
	OfRecord
	// OfProcess: the process's rights or session. It is the same for every record.
	OfProcess
	// OfProducer is OfProcess, and the producer has ended with it: it takes nothing any more.
	OfProducer
)

func (b Blame) String() string {
	return [...]string{"the moment", "the record", "the process", "the process, and its producer has ended"}[b]
}

// Code is what is known of one error code.
type Code struct {
	// Name is Kafka's error name, or one of Ackmark's own.
	Name string
	// Meaning says what happened, Remedy what to do.
	Meaning, Remedy string
	// Retryable: the same record may succeed later as it is.
	Retryable bool
	Blame     Blame
	// Contract tells that a sidecar says it, so that the wire contract names it. Kafka's names are
	// not listed there.
	Contract bool
}

// codes is the one table of error codes, remedies and verdicts: Ackmark's own, and those of Kafka's
// about which there is more to say than Kafka does. Any other of Kafka's is as retryable as Kafka
// says. docs/errors.md shows it, by a test.
//
// It differs from Kafka's word for a topic that does not exist: kgo has asked several times by
// then, and a record for it belongs into the dead letter, or its input halts; waiting would hide a
// misspelt name for ever.
var codes = []Code{
	{CodeFull, "a limit is reached: the sidecar's, or this process's with OnFull: Refuse", "wait, by retry_after_ms if it is set, or raise the limit", true, Moment, true},
	{CodeDraining, "the sidecar is about to stop", "try again when it is back", true, Moment, true},
	{CodeExpired, "expires_at had passed before the sidecar began with the unit", "send it again, see Units in the wire contract; package producer does", true, Moment, true},
	{CodeInvalidRecord, "a field of the record is missing or out of range", "correct the field that the message names", false, OfRecord, true},
	{CodeUnitTooLarge, "the unit has more outputs or headers than fit in one", "make fewer, or split them over several inputs", false, OfRecord, true},
	{CodeTopicNotAllowed, "the topic is not in the app's allow-list", "add it to the app's topics in the sidecar's config", false, OfProcess, true},
	{CodeTooManyTopics, "the app, or the stream, has named more topics than a sidecar remembers", "correct their names, and restart the sidecar if most were mistakes", false, Moment, true},
	{CodeUnknownAssignment, "the unit's assignment epoch is not held by the session", "call Assign before the first unit of a partition, and send none after its Release", false, Moment, true},
	{CodeDelivery, "a failure for which Kafka has no name", "see the message", false, Moment, true},
	{CodeSessionFenced, "the sidecar took the process for dead and closed its session", "go on: the next owner of its partitions reads their inputs again; " +
		"what has no input is retryable", false, Moment, true},
	{CodeMemberHeld, "another living process speaks for this member", "ask again, or give one of them another member or instance id, or both the app's token", true, Moment, true},
	{CodeGroupNotAllowed, "the app may not speak for the group, or the sidecar may not read or reach it",
		"as the message says: add it to the app's groups in the sidecar's config, grant the sidecar's principal READ on it, or take the sidecar of its cluster", false, OfProcess, true},
	{CodeUnauthorized, "the sidecar does not accept the app, its token, its user or its group", "correct DialConfig.App and Token, or the sidecar's list of apps", false, OfProducer, true},
	{CodeVersionMismatch, "the sidecar speaks another major version of the protocol", "deploy app and sidecar of the same major version", false, OfProducer, false},
	{CodeInvalidConfig, "the producer's configuration is invalid", "correct the field that the message names", false, OfProducer, false},
	{CodeReleased, "the unit's partition has left this process", "nothing: its next owner reads the input again", false, Moment, true},
	{CodeNoRoom, "the input is further above its partition's ack mark than the sidecar has room for",
		"nothing: the partition is taken up anew from its ack mark; if it happens often, raise limits.records of the sidecar", false, Moment, true},
	{CodeClosed, "the producer was closed before the record was delivered", "deliver before Close, or raise its CloseTimeout", false, Moment, false},
	{CodeMemberFenced, "the group does not know the member that held the input's partition", "nothing: the consumer joins again, and the partition's next owner reads the input", false, Moment, true},
	{CodeTransactionTaken, "another process uses the transactional id, or the id has expired and one may have", "where another one runs, give each a TransactionalID of its own; else start this process again", false, OfProducer, false},

	{Name: kerr.UnknownTopicOrPartition.Message, Meaning: "there is no such topic or partition",
		Remedy: "create the topic (or the partition), or correct its name; topics are not created automatically", Blame: OfRecord},
	{Name: kerr.UnknownTopicID.Message, Meaning: "the topic was deleted or recreated", Remedy: "create the topic if it is gone: the next records are written to the new one", Blame: OfRecord},
	{Name: kerr.MessageTooLarge.Message, Meaning: "the record is larger than the topic or the producer takes",
		Remedy: "raise max.message.bytes of the topic and the producer's limit (kgo.ProducerBatchMaxBytes, the sidecar's MaxRecordBytes), or make the record smaller", Blame: OfRecord},
	{Name: kerr.RecordListTooLarge.Message, Meaning: "the batch is larger than a segment", Remedy: "raise segment.bytes of the topic, or make the record smaller", Blame: OfRecord},
	{Name: kerr.InvalidTopicException.Message, Meaning: "no topic can have that name", Remedy: "correct the topic's name: 1 to 249 of a-z A-Z 0-9 . _ -", Blame: OfRecord},
	{Name: kerr.InvalidRecord.Message, Meaning: "the broker refused the record's content",
		Remedy: "give it a key if the topic is compacted, and a timestamp within the topic's limits", Blame: OfRecord},
	{Name: kerr.InvalidTimestamp.Message, Meaning: "the record's timestamp is out of the topic's range",
		Remedy: "see message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic", Blame: OfRecord},
	{Name: kerr.CorruptMessage.Message, Meaning: "the record did not arrive as it was sent", Remedy: "look at the network and the broker's disk", Retryable: true, Blame: OfRecord},
	{Name: kerr.UnsupportedForMessageFormat.Message, Meaning: "the topic's message format is too old for headers",
		Remedy: "raise message.format.version of the topic, or send no headers", Blame: OfRecord},
	{Name: kerr.TopicAuthorizationFailed.Message, Meaning: "no right to write to the topic",
		Remedy: "grant WRITE and DESCRIBE on the topic to the principal that produces: the sidecar's, or with Direct the app's", Blame: OfProcess},
	{Name: kerr.ClusterAuthorizationFailed.Message, Meaning: "no right to write idempotently (before Kafka 3.0)",
		Remedy: "grant IDEMPOTENT_WRITE on the cluster to the principal that produces", Blame: OfProcess},
	{Name: kerr.GroupAuthorizationFailed.Message, Meaning: "no right to the group", Remedy: "grant READ on the group to the principal", Blame: OfProcess},
	{Name: kerr.TransactionalIDAuthorizationFailed.Message, Meaning: "no right to the transactional id", Remedy: "grant WRITE and DESCRIBE on ids that begin with it and a dash to the principal", Blame: OfProcess},
	{Name: kerr.SaslAuthenticationFailed.Message, Meaning: "the credentials are not accepted", Remedy: "check the credentials of what produces", Blame: OfProcess},
	{Name: kerr.PolicyViolation.Message, Meaning: "the broker's policy refuses it", Remedy: "ask who runs the cluster"},
	{Name: kerr.OutOfOrderSequenceNumber.Message, Meaning: "the broker lost track of the producer",
		Remedy: newEpoch, Retryable: true},
	{Name: kerr.UnknownProducerID.Message, Meaning: "the broker has forgotten the producer", Remedy: newEpoch, Retryable: true},
	{Name: kerr.InvalidProducerIDMapping.Message, Meaning: "the broker has forgotten the producer", Remedy: newEpoch, Retryable: true},
	{Name: kerr.InvalidProducerEpoch.Message, Meaning: "the producer's epoch was replaced", Remedy: newEpoch, Retryable: true},
}

const newEpoch = "try again: the producer starts with a new epoch, the record is as good as before"

var codeByName = func() map[string]*Code {
	m := make(map[string]*Code, len(codes))
	for i := range codes {
		m[codes[i].Name] = &codes[i]
	}
	return m
}()

// Codes is a copy of the table.
func Codes() []Code {
	return append([]Code(nil), codes...)
}

// CodeOf returns what is known of a code; the zero Code if nothing is.
func CodeOf(name string) Code {
	if c := codeByName[name]; c != nil {
		return *c
	}
	return Code{}
}

// CurrentCode is today's name of a code, which a sidecar of the release before may have said under
// another one.
func CurrentCode(name string) string {
	if name == codeFullBefore {
		return CodeFull
	}
	return name
}

// Errorf makes the wire's error of one of Ackmark's own codes.
func Errorf(code, format string, args ...any) *sidecarpb.Error {
	return &sidecarpb.Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: CodeOf(code).Retryable}
}
