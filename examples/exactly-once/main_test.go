package main

import (
	"testing"
	"testing/synctest"

	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
)

func TestInvoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pipelinetest.New(t, pipeline.Config{Handler: pipeline.HandlerFunc(invoice)}, pipelinetest.Topic("invoices", 1))
		h.Feed(pipelinetest.Record("k", "3 apples"))
		h.WaitDone(1)
		got := h.Outputs("invoices")
		if len(got) != 1 || string(got[0].Key) != "k" {
			t.Errorf("invoices: %v", got)
		}
	})
}

// The configuration is one that a pipeline takes.
func TestConfigure(t *testing.T) {
	own := configure("invoices-0", []string{"localhost:9092"})
	for _, cfg := range []pipeline.Config{withSidecar(own, "unix:///nowhere.sock"), own} {
		p, err := pipeline.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Close() // it says that it never ran
	}
}
