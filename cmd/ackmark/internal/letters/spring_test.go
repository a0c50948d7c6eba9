package letters

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

// A letter of another program that names its source as Spring does is read; the numbers of one that
// lies are not said; and our own headers count before them.
func TestLettersOfSpring(t *testing.T) {
	h := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	spring := []kgo.RecordHeader{
		h("kafka_dlt-original-topic", "orders"), h("kafka_dlt-original-partition", "\x00\x00\x00\x07"), h("kafka_dlt-original-offset", "\x00\x00\x00\x00\x00\x00\x01\x02"),
		h("kafka_dlt-original-consumer-group", "billing"), h("kafka_dlt-exception-message", "bad amount"), h("kafka_dlt-exception-fqcn", "java.lang.IllegalStateException"),
	}
	l := Of(&kgo.Record{Headers: spring})
	if l.Source != "orders" || l.SourcePartition != 7 || l.SourceOffset != 258 || l.Group != "billing" || l.Error != "bad amount" || l.Code != "java.lang.IllegalStateException" {
		t.Errorf("%+v", l)
	}
	l = Of(&kgo.Record{Headers: []kgo.RecordHeader{h("kafka_dlt-original-topic", "o"), h("kafka_dlt-original-partition", "7"), h("kafka_dlt-original-offset", "\xff\xff\xff\xff\xff\xff\xff\xf0")}})
	if l.Source != "o" || l.SourcePartition != -1 || l.SourceOffset != -1 {
		t.Errorf("%+v", l)
	}
	l = Of(&kgo.Record{Headers: append(spring, h(pipeline.HeaderTopic, "ours"), h(pipeline.HeaderOffset, "5"))})
	if l.Source != "ours" || l.SourceOffset != 5 || l.SourcePartition != -1 {
		t.Errorf("%+v", l)
	}
}
