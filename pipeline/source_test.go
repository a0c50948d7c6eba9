package pipeline_test

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// Every output says which input it was made from, behind its own headers; so does a dead letter; a
// unit that is delivered again says it once.
func TestSourceHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string]string{}
		refused := false
		const group = "team/billing" // a group's name may hold slashes
		cfg := quiet(pipeline.Config{Concurrency: 2, SourceHeaders: true, DeadLetter: pipeline.DeadLetter{Topic: "dlq"}})
		cfg.Consumer.Group = group
		cfg.Producer = producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
			mu.Lock()
			defer mu.Unlock()
			for _, out := range d.Outputs {
				var all []string
				for _, h := range out.Headers {
					if value := string(h.Value); h.Key == pipeline.HeaderSource {
						fields := strings.SplitN(value, "/", 7)
						if id, err := base64.RawURLEncoding.DecodeString(fields[5]); err != nil || len(id) != 16 {
							t.Errorf("topic id %q: %v", fields[5], err)
						}
						fields[5] = "id"
						h.Value = []byte(strings.Join(fields, "/"))
					}
					if !strings.HasPrefix(h.Key, "ackmark.dlq.") {
						all = append(all, h.Key+"="+string(h.Value))
					}
				}
				got[out.Topic+" "+string(out.Value)] = strings.Join(all, " ")
			}
			if !refused {
				refused = true
				return producertest.Fail(errDraining)
			}
			return producertest.Ack()
		}})
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "bad" {
				return nil, pipeline.Reject(nil)
			}
			return []producer.Record{
				{Topic: "out", Key: in.Key, Value: append(in.Value, '0'), Headers: []producer.Header{{Key: "own", Value: []byte("x")}}},
				{Topic: "out", Key: in.Key, Value: append(in.Value, '1')},
			}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "bad"), pipelinetest.Record("k", "b"))
		h.WaitIdle()
		mu.Lock()
		defer mu.Unlock()
		for out, want := range map[string]string{
			"out a0":  "own=x ackmark-source=in/0/0/0/2/id/" + group,
			"out a1":  "ackmark-source=in/0/0/1/2/id/" + group,
			"dlq bad": "ackmark-source=in/0/1/dl/1/id/" + group,
			"out b1":  "ackmark-source=in/0/2/1/2/id/" + group,
		} {
			if got[out] != want {
				t.Errorf("%s: %q, want %q", out, got[out], want)
			}
		}
	})
}

// Headers and their texts are written into shared memory: none may change when others follow, in
// whatever flight.
func TestSourceHeadersKeepTheirOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		var mu sync.Mutex
		all := map[string][]producer.Header{} // as the producer was given them, not copies
		cfg := quiet(pipeline.Config{Concurrency: 4, SourceHeaders: true})
		cfg.Producer = &keeping{Fake: producertest.NewFake(producertest.FakeConfig{}), keep: func(r producer.Record) {
			mu.Lock()
			defer mu.Unlock()
			all[string(r.Value)] = r.Headers
		}}
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "out", Key: in.Key, Value: strconv.AppendInt(nil, in.Offset, 10)}}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		for i := range n / 100 {
			list := make([]*kgo.Record, 100)
			for k := range list {
				list[k] = pipelinetest.Record(strconv.Itoa(k), strconv.Itoa(i))
			}
			h.Feed(list...)
			h.WaitIdle()
		}
		mu.Lock()
		defer mu.Unlock()
		for value, headers := range all {
			if got := string(headers[len(headers)-1].Value); !strings.HasPrefix(got, "in/0/"+value+"/0/1/") {
				t.Errorf("the output of offset %s says %s", value, got)
			}
		}
		if len(all) != n {
			t.Errorf("%d outputs, want %d", len(all), n)
		}
	})
}

// keeping shows the outputs themselves.
type keeping struct {
	*producertest.Fake
	keep func(producer.Record)
}

func (k *keeping) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	for _, u := range units {
		for _, out := range u.Outputs {
			k.keep(out)
		}
	}
	return k.Fake.Deliver(ctx, units, r)
}

// What is handed out again after a fence says so; what comes for the first time does not.
func TestIncidentIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})}
		h := pipelinetest.New(t, quiet(pipeline.Config{Producer: f, SourceHeaders: true, Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
		if err := f.WaitUnits(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		f.Fail(&producer.Error{Code: producer.CodeSessionFenced, Partition: -1}, f.Held()...)
		f.SetRule(func(producertest.Delivered) producertest.Decision { return producertest.Ack() })
		f.fns[0](&producer.Error{Code: producer.CodeSessionFenced, Partition: -1, Message: "the will was executed"})
		h.WaitIdle()
		h.Feed(pipelinetest.Record("k", "c"))
		h.WaitIdle()
		for _, r := range f.Records("out") {
			incident := ""
			for _, header := range r.Headers {
				if header.Key == pipeline.HeaderIncident {
					incident = string(header.Value)
				}
			}
			if want := string(r.Value) != "C"; strings.Contains(incident, producer.CodeSessionFenced) != want {
				t.Errorf("output %s: incident %q", r.Value, incident)
			}
		}
		if n := len(f.Records("out")); n != 3 {
			t.Errorf("%d outputs", n)
		}
	})
}
