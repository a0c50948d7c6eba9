package pipeline

import (
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Headers of a dead letter, after the input's own headers. All values are text. Where an input was a dead letter itself, its older
// headers of these names stay in front: the last one of a name is the newest.
const (
	HeaderTopic     = "ackmark.dlq.topic"     // the input's topic
	HeaderPartition = "ackmark.dlq.partition" // its partition
	HeaderOffset    = "ackmark.dlq.offset"    // its offset
	HeaderTimestamp = "ackmark.dlq.timestamp" // its timestamp, RFC 3339 with milliseconds, UTC
	HeaderGroup     = "ackmark.dlq.group"     // the group that read it
	HeaderError     = "ackmark.dlq.error"     // why it was rejected, at most 4 KiB
	HeaderCode      = "ackmark.dlq.code"      // Kafka's error name, when an output could not be written
	HeaderStack     = "ackmark.dlq.stack"     // the stack of a panic, at most 8 KiB
	HeaderAttempts  = "ackmark.dlq.attempts"  // how often the handler was called
	HeaderTime      = "ackmark.dlq.time"      // when it was rejected, RFC 3339 with milliseconds, UTC
)

const (
	maxErrorText  = 4 << 10
	maxStackText  = 8 << 10
	letterTimeFmt = "2006-01-02T15:04:05.000Z07:00"
)

// deadLetter makes the letter of an input: its key, value and headers byte for byte, and what happened.
func (p *Pipeline) deadLetter(m *consumer.Message, r *rejection) producer.Record {
	headers := make([]producer.Header, 0, len(m.Headers)+10)
	headers = append(headers, m.Headers...)
	add := func(key, value string) {
		headers = append(headers, producer.Header{Key: key, Value: []byte(value)})
	}
	add(HeaderTopic, m.Topic)
	add(HeaderPartition, strconv.Itoa(int(m.Partition)))
	add(HeaderOffset, strconv.FormatInt(m.Offset, 10))
	add(HeaderTimestamp, m.Timestamp.UTC().Format(letterTimeFmt))
	add(HeaderGroup, p.cfg.Consumer.Group)
	add(HeaderError, truncate(r.err.Error(), maxErrorText))
	if r.code != "" {
		add(HeaderCode, r.code)
	}
	if e, ok := errors.AsType[*PanicError](r.err); ok {
		add(HeaderStack, truncate(string(e.Stack), maxStackText))
	}
	add(HeaderAttempts, strconv.Itoa(r.attempts))
	add(HeaderTime, time.Now().UTC().Format(letterTimeFmt))
	return producer.Record{Topic: p.cfg.DeadLetter.Topic, Key: m.Key, Value: m.Value, Headers: headers}
}

// truncate cuts at a rune's start.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
