package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
)

type total struct{ Cents int }

func TestFanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		totals, names := pipeline.To(pipeline.JSON[total](), "totals"), pipeline.To(pipeline.String(), "names")
		bad := pipeline.To(pipeline.JSON[func()](), "names")
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		cfg.Handler = pipeline.FanOut(pipeline.String(), func(_ context.Context, in pipeline.Msg[string]) ([]pipeline.Output, error) {
			switch in.Value {
			case "error":
				return nil, pipeline.Reject(errors.New("no"))
			case "bad":
				return []pipeline.Output{names.Value("not written"), bad.Value(func() {})}, nil
			}
			return []pipeline.Output{totals.Value(total{len(in.Value)}), nil, names.Out(pipeline.Out[string]{Value: in.Value, Key: []byte("own")})}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("totals", 1), pipelinetest.Topic("names", 1))
		h.Feed(pipelinetest.Record("k", "ann"), pipelinetest.Record("k", "error"), pipelinetest.Record("k", "bad"))
		h.WaitDone(3)
		sums, list, dead := h.Outputs("totals"), h.Outputs("names"), h.Outputs("dead")
		if len(sums) != 1 || string(sums[0].Value) != `{"Cents":3}` || string(sums[0].Key) != "k" {
			t.Errorf("totals %v", sums)
		}
		if len(list) != 1 || string(list[0].Value) != "ann" || string(list[0].Key) != "own" {
			t.Errorf("names %v", list)
		}
		if len(dead) != 2 || !strings.Contains(header(dead[1], pipeline.HeaderError), "cannot be encoded") {
			t.Errorf("dead letters %v", dead)
		}
	})
}
