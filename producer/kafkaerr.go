package producer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// remedies says what to do next, by Kafka's error name.
var remedies = map[string]string{
	kerr.MessageTooLarge.Message: "the record is larger than the topic or the producer takes: raise max.message.bytes of the topic " +
		"and kgo.ProducerBatchMaxBytes, or make the record smaller",
	kerr.RecordListTooLarge.Message:         "raise segment.bytes of the topic, or make the record smaller",
	kerr.UnknownTopicOrPartition.Message:    "create the topic (or the partition), or correct its name",
	kerr.InvalidTopicException.Message:      "correct the topic's name: 1 to 249 of a-z A-Z 0-9 . _ -",
	kerr.TopicAuthorizationFailed.Message:   "grant the producer's principal WRITE on the topic",
	kerr.ClusterAuthorizationFailed.Message: "grant the producer's principal IDEMPOTENT_WRITE on the cluster (needed before Kafka 3.0)",
	kerr.InvalidRecord.Message:              "the broker refused the record's content: a compacted topic needs a key, and timestamps must be in range",
	kerr.InvalidTimestamp.Message:           "the record's timestamp is out of the topic's range: see message.timestamp.before.max.ms and …after.max.ms",
	kerr.SaslAuthenticationFailed.Message:   "check the producer's credentials",
}

// kafkaErrors is Kafka's errors by name. kerr has them by number, densely, from 1.
var kafkaErrors = sync.OnceValue(func() map[string]*kerr.Error {
	all := map[string]*kerr.Error{}
	for code := int16(1); code < 1000; code++ {
		if ke, ok := kerr.ErrorForCode(code).(*kerr.Error); ok && ke.Code == code {
			all[ke.Message] = ke
		}
	}
	return all
})

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// validTopic is Kafka's rule for the names of topics.
func validTopic(name string) bool { return topicName.MatchString(name) && name != "." && name != ".." }

// kafkaError turns the error of a promise into the fate of a record.
func kafkaError(err error, topic string, partition int32) *Error {
	e := &Error{Topic: topic, Partition: partition, Err: err}
	var ke *kerr.Error
	if errors.Is(err, kerr.UnknownTopicOrPartition) && !validTopic(topic) {
		// A broker may say so of a name that no topic can have; the sidecar looks at the name first.
		err, e.Err = kerr.InvalidTopicException, kerr.InvalidTopicException
	}
	switch {
	case errors.Is(err, kgo.ErrClientClosed):
		e.Code, e.Err = CodeClosed, ErrClosed
		e.Message = "the producer was closed before Kafka acknowledged the record"
	case errors.As(err, &ke):
		e.Code, e.Retryable = ke.Message, wire.FromKafka(err).GetRetryable() // the same word on every path
		e.Message = ke.Description
		if remedy := remedies[ke.Message]; remedy != "" {
			e.Message = remedy
		}
	case strings.Contains(err.Error(), "invalid record partitioning choice"):
		// kgo has no error value for it; only a partition named by the record can be out of range.
		e.Code = kerr.UnknownTopicOrPartition.Message
		e.Message = fmt.Sprintf("the topic has no partition %d: correct Record.Partition or add partitions", partition)
	default:
		w := wire.FromKafka(err)
		e.Code, e.Message, e.Retryable = w.GetCode(), err.Error(), w.GetRetryable()
	}
	return e
}
