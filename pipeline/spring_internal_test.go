package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// javaBuffer reads as ByteBuffer.wrap(value).getInt and getLong do: too few bytes are an error
// there.
func javaBuffer(t *testing.T, headers []producer.Header, key string, size int) int64 {
	t.Helper()
	value, n := lastHeader(headers, key)
	if n != 1 || len(value) != size {
		t.Errorf("%s: %d of them, %d bytes", key, n, len(value))
		return -1
	}
	if size == 4 {
		return int64(int32(binary.BigEndian.Uint32([]byte(value))))
	}
	return int64(binary.BigEndian.Uint64([]byte(value)))
}

// A letter for UIs has what Spring's DeadLetterPublishingRecoverer writes, by its names and in its
// bytes, beside its own headers; one that was not asked for has none of it.
func TestLettersAsSpringHasThem(t *testing.T) {
	in := &kgo.Record{Topic: "orders", Partition: 70_000, Offset: 1<<40 + 3, Timestamp: time.UnixMilli(1_700_000_000_123), Value: []byte("v"),
		Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("x")}}}
	p := &Pipeline{cfg: Config{DeadLetter: DeadLetter{Topic: "dead", Spring: true}, Consumer: consumer.Config{Group: "billing"}}}
	why := &PanicError{Value: errors.New("bad amount"), Stack: []byte("goroutine 1")}
	letter := p.deadLetter(&consumer.Message{Record: in}, &rejection{err: why, attempts: 3})
	for key, want := range map[string]string{
		"kafka_dlt-original-topic": "orders", "kafka_dlt-original-consumer-group": "billing", "kafka_dlt-original-timestamp-type": "CreateTime",
		"kafka_dlt-exception-fqcn": "*pipeline.PanicError", "kafka_dlt-exception-message": why.Error(), "kafka_dlt-exception-stacktrace": "goroutine 1",
		"own": "x", HeaderTopic: "orders", HeaderError: why.Error(),
	} {
		if got, n := lastHeader(letter.Headers, key); got != want || n != 1 {
			t.Errorf("%s is %q, %d times; want %q", key, got, n, want)
		}
	}
	for key, want := range map[string][2]int64{
		"kafka_dlt-original-partition": {4, 70_000}, "kafka_dlt-original-offset": {8, 1<<40 + 3}, "kafka_dlt-original-timestamp": {8, 1_700_000_000_123},
	} {
		if got := javaBuffer(t, letter.Headers, key, int(want[0])); got != want[1] {
			t.Errorf("%s is %d, want %d", key, got, want[1])
		}
	}
	refused := p.deadLetter(&consumer.Message{Record: in}, &rejection{err: errors.New("x"), code: "MESSAGE_TOO_LARGE", attempts: 1})
	if got, _ := lastHeader(refused.Headers, "kafka_dlt-exception-fqcn"); got != "MESSAGE_TOO_LARGE" {
		t.Errorf("the class of Kafka's error is %q", got)
	}
	for _, h := range letterOf(&consumer.Message{Record: in}, &rejection{err: why, attempts: 3}).Headers {
		if strings.HasPrefix(h.Key, "kafka_dlt-") {
			t.Errorf("%s, and nobody asked for it", h.Key)
		}
	}
}

// They do not add up from round to round, nor make a letter large that has to be small.
func TestSpringsHeadersDoNotAddUp(t *testing.T) {
	p := &Pipeline{cfg: Config{DeadLetter: DeadLetter{Topic: "dead", Spring: true}, Consumer: consumer.Config{Group: "g"}}}
	in := &kgo.Record{Topic: "in", Timestamp: time.UnixMilli(1)}
	for round := range 5 {
		in.Offset = int64(round)
		letter := p.deadLetter(&consumer.Message{Record: in}, &rejection{err: fmt.Errorf("round %d", round), attempts: 1})
		if got := javaBuffer(t, letter.Headers, HeaderSpringOffset, 8); got != int64(round) {
			t.Errorf("round %d: offset %d", round, got)
		}
		in.Headers = letter.Headers
	}
	bare := p.deadLetter(&consumer.Message{Record: in}, &rejection{err: errors.New("x"), attempts: 1, size: letterAlone})
	if _, n := lastHeader(bare.Headers, HeaderSpringTopic); n != 0 {
		t.Error("a letter that has to be small has them")
	}
}
