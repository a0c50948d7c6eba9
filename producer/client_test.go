package producer_test

import (
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func record(topic string, out *sidecarpb.Output) producer.Record {
	r := producer.Record{Topic: topic, Key: out.Key, Value: out.Value, Partition: new(out.GetPartition())}
	if out.TimestampMs != nil {
		ms := out.GetTimestampMs()
		r.Timestamp = time.UnixMilli(ms)
	}
	for _, h := range out.GetHeaders() {
		r.Headers = append(r.Headers, producer.Header{Key: h.GetKey(), Value: h.Value})
	}
	return r
}

func TestClientConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		x := newScript(t)
		x.start()
		t.Cleanup(x.stop)
		return producertest.Harness{
			BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION", NoOffsets: true, TextKeys: true,
			Stall:   func(_ *testing.T, on bool) { x.stall(on) },
			Records: func(_ *testing.T, topic string) []producer.Record { return x.records(topic) },
			New: func(t *testing.T, o producertest.Options) producer.Producer {
				cfg := x.config()
				cfg.MaxBufferedRecords, cfg.OnFull, cfg.CloseTimeout = o.MaxRecords, o.OnFull, o.CloseTimeout
				return cfg.New()
			},
		}
	})
}
