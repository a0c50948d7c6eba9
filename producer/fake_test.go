package producer_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
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

// The name in Code is enough for errors.Is: a report of the sidecar has no more.
func TestErrorIsKafkas(t *testing.T) {
	var err error = &producer.Error{Code: "MESSAGE_TOO_LARGE"}
	if !errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("%v is %v", err, errors.Unwrap(err))
	}
	if err := errors.Unwrap(&producer.Error{Code: producer.CodeReleased}); err != nil {
		t.Errorf("a code of our own has the cause %v", err)
	}
	if err := errors.Unwrap(&producer.Error{Code: "MESSAGE_TOO_LARGE", Err: producer.ErrFull}); err != producer.ErrFull { //nolint:errorlint // identity is meant
		t.Errorf("the cause is %v", err)
	}
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
