package pipeline_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// A sidecar that has no room for inputs so far above their ack mark: nothing halts. The partition
// begins anew, at the first input that is not done, and what was done is not handed out again; the
// other partitions keep their assignments. Where there is none again, it begins anew again, and not
// for each failure.
func TestNoRoom(t *testing.T) {
	const each, total = 3, 12 // an assignment has room for so many
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		began := map[uint64]int64{} // where an assignment's first unit was
		f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
			mu.Lock()
			defer mu.Unlock()
			if _, known := began[d.Source.Epoch]; !known {
				began[d.Source.Epoch] = d.Source.Offset
			}
			if string(d.Outputs[0].Key) == "k" && d.Source.Index >= each {
				return producertest.Fail(&producer.Error{Code: producer.CodeNoRoom, Partition: -1})
			}
			return producertest.Ack()
		}})}
		cfg := quiet(pipeline.Config{Producer: f, Handler: pipeline.HandlerFunc(upper), StopOnHalt: true})
		cfg.Consumer.OnHalt = func(e *consumer.HaltError) { t.Errorf("halted: %v", e) }
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
		h.FeedTo(1, pipelinetest.Record("l", "x"))
		want := ""
		for i := range total {
			value := string(rune('a' + i))
			h.FeedTo(0, pipelinetest.Record("k", value))
			want += string(rune('A'+i)) + " "
		}
		begun := time.Now()
		h.WaitCommitted("in", 0, total)
		if took := time.Since(begun); took > total/each*5*time.Second {
			t.Errorf("it took %s", took)
		}
		got := ""
		for _, r := range f.Records("out") {
			if string(r.Key) == "k" {
				got += string(r.Value) + " "
			}
		}
		if got != want {
			t.Errorf("written: %s, want %s", got, want)
		}
		if len(began) != 1+total/each {
			t.Errorf("%d assignments began, at %v", len(began), began)
		}
		if s := h.State(); s.Undelivered != 0 || s.Halted != 0 {
			t.Errorf("%+v", s)
		}
	})
}
