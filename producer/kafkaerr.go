package producer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/wire"
)

// kafkaErrors is Kafka's errors by name. kerr has them by number, densely, from 1.
var kafkaErrors = sync.OnceValue(func() map[string]*kerr.Error {
	all := map[string]*kerr.Error{}
	for code := int16(1); code < 1000; code++ {
		if ke, ok := errors.AsType[*kerr.Error](kerr.ErrorForCode(code)); ok && ke.Code == code {
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
		// A broker may say so of a name that no topic can have; the sidecar looks at the name
		// first.
		err, e.Err = kerr.InvalidTopicException, kerr.InvalidTopicException
	}
	switch {
	case errors.Is(err, kgo.ErrClientClosed):
		e.Code, e.Err = CodeClosed, ErrClosed
		e.Message = "the producer was closed before Kafka acknowledged the record"
	case errors.As(err, &ke):
		w := wire.FromKafka(err) // the same words on every path
		e.Code, e.Message, e.Retryable = w.GetCode(), w.GetMessage(), w.GetRetryable()
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
