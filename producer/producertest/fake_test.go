package producertest_test

import (
	"testing"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

const badTopic = "no-such-topic"

func TestFakeConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		h := producertest.Harness{BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION"}
		var all []*producertest.Fake
		rule := func(d producertest.Delivered) producertest.Decision {
			for i, out := range d.Outputs {
				if out.Topic == badTopic {
					return producertest.Fail(&producer.Error{Code: "UNKNOWN_TOPIC_OR_PARTITION", Topic: badTopic, Partition: -1, Output: i, Message: "create it"})
				}
			}
			return producertest.Ack()
		}
		stalled := func(producertest.Delivered) producertest.Decision { return producertest.Hold() }
		h.New = func(t *testing.T, o producertest.Options) producer.Producer {
			f := producertest.NewFake(producertest.FakeConfig{Rule: rule, MaxRecords: o.MaxRecords, OnFull: o.OnFull, CloseTimeout: o.CloseTimeout})
			all = append(all, f)
			return f
		}
		h.Stall = func(_ *testing.T, on bool) {
			for _, f := range all {
				if on {
					f.SetRule(stalled)
				} else {
					f.SetRule(rule)
					f.AckAll()
				}
			}
		}
		h.Records = func(_ *testing.T, topic string) (list []producer.Record) {
			for _, f := range all {
				list = append(list, f.Records(topic)...)
			}
			return list
		}
		return h
	})
}
