package pipeline_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
)

func TestOutputsAreWrittenAndInputsCommitted(t *testing.T) {
	for _, order := range []pipeline.Order{pipeline.PerKey, pipeline.PerPartition, pipeline.Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := pipelinetest.New(t, pipeline.Config{Handler: pipeline.HandlerFunc(upper), Order: order, Concurrency: 4}, pipelinetest.Topic("out", 1),
					pipelinetest.Topic("in", 1))
				var in []*kgo.Record
				var want []string
				for i := range 1000 {
					in = append(in, pipelinetest.Record(string(rune('a'+i%7)), "v"))
					want = append(want, "V")
				}
				h.Feed(in...)
				h.WaitCommitted("in", 0, 1000)
				if got := values(h, "out"); !slices.Equal(got, want) {
					t.Errorf("got %d outputs, want %d", len(got), len(want))
				}
				if err := h.Stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
				if s := h.State(); s.Done != 1000 || s.Queued+s.Finished+s.Busy != 0 {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}
