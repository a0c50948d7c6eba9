package main

import (
	"testing"
	"testing/synctest"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
)

// A test of a whole pipeline: the embedded broker speaks Kafka's protocol, and in the bubble
// waiting costs no time.
func TestGreet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pipelinetest.New(t, pipeline.Config{Handler: pipeline.HandlerFunc(greet)}, pipelinetest.Topic("greetings", 1))
		h.Feed(pipelinetest.Record("1", "Ada"), pipelinetest.Record("2", ""))
		h.WaitDone(2)
		got := h.Outputs("greetings")
		if len(got) != 1 || string(got[0].Value) != "Hello, Ada!" || string(got[0].Key) != "1" {
			t.Errorf("greetings: %v", got)
		}
	})
}
