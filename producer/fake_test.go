package producer_test

import (
	"testing"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const badTopic = "no-such-topic"

func badFate(d producer.Delivered) *producer.Error {
	for i, out := range d.Outputs {
		if out.Topic == badTopic {
			return &producer.Error{Code: "UNKNOWN_TOPIC_OR_PARTITION", Topic: badTopic, Partition: -1, Output: i, Message: "create it"}
		}
	}
	return nil
}

func TestFakeConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		h := producertest.Harness{BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION"}
		var all []*producer.Fake
		rule := func(d producer.Delivered) producer.Fate {
			if err := badFate(d); err != nil {
				return producer.FateFail(err)
			}
			return producer.FateAck()
		}
		stalled := func(producer.Delivered) producer.Fate { return producer.FateHold() }
		h.New = func(t *testing.T, o producertest.Options) producer.Producer {
			f := producer.NewFake(producer.FakeConfig{Fate: rule, MaxRecords: o.MaxRecords, OnFull: o.OnFull, CloseTimeout: o.CloseTimeout})
			all = append(all, f)
			return f
		}
		h.Stall = func(_ *testing.T, on bool) {
			for _, f := range all {
				if on {
					f.SetFate(stalled)
				} else {
					f.SetFate(rule)
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
