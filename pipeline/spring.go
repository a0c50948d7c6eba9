package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Headers of a dead letter as Spring's DeadLetterPublishingRecoverer writes them, by which UIs show
// letters: see [DeadLetter.Spring]. Texts are UTF-8; numbers are big-endian, as Java's ByteBuffer
// has them.
const (
	HeaderSpringTopic         = springPrefix + "original-topic"
	HeaderSpringPartition     = springPrefix + "original-partition" // 4 bytes
	HeaderSpringOffset        = springPrefix + "original-offset"    // 8 bytes
	HeaderSpringTimestamp     = springPrefix + "original-timestamp" // 8 bytes: milliseconds
	HeaderSpringTimestampType = springPrefix + "original-timestamp-type"
	HeaderSpringGroup         = springPrefix + "original-consumer-group"
	HeaderSpringClass         = springPrefix + "exception-fqcn"    // Kafka's error name, or the type of the error in Go
	HeaderSpringMessage       = springPrefix + "exception-message" // as in HeaderError
	HeaderSpringStack         = springPrefix + "exception-stacktrace"

	springPrefix = "kafka_dlt-"
)

// timestampTypes are Java's names of kgo's numbers.
var timestampTypes = map[int8]string{0: "CreateTime", 1: "LogAppendTime"}

// appendSpring appends them to the headers of a letter.
func (p *Pipeline) appendSpring(to []producer.Header, m *consumer.Message, r *rejection, errorText int) []producer.Header {
	add := func(key string, value []byte) { to = append(to, producer.Header{Key: key, Value: value}) }
	came := m.Original()
	add(HeaderSpringTopic, []byte(text(came.Topic, maxName)))
	add(HeaderSpringPartition, binary.BigEndian.AppendUint32(nil, uint32(came.Partition)))
	add(HeaderSpringOffset, binary.BigEndian.AppendUint64(nil, uint64(came.Offset)))
	add(HeaderSpringTimestamp, binary.BigEndian.AppendUint64(nil, uint64(m.Timestamp.UnixMilli())))
	if name, known := timestampTypes[m.Attrs.TimestampType()]; known {
		add(HeaderSpringTimestampType, []byte(name))
	}
	add(HeaderSpringGroup, []byte(text(p.cfg.Consumer.Group, maxName)))
	class := r.code
	if class == "" {
		class = fmt.Sprintf("%T", r.err)
	}
	add(HeaderSpringClass, []byte(text(class, maxName)))
	add(HeaderSpringMessage, []byte(text(fmt.Sprint(r.err), errorText)))
	if e, ok := errors.AsType[*PanicError](r.err); ok && r.size < letterShort {
		add(HeaderSpringStack, []byte(text(string(e.Stack), maxStackText)))
	}
	return to
}

// isLetterHeader tells of a header whether a letter of ours has it.
func isLetterHeader(key string) bool {
	return strings.HasPrefix(key, headerPrefix) || strings.HasPrefix(key, springPrefix)
}
