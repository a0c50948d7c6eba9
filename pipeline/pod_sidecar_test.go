package pipeline_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// What the pipeline knows is what the sidecar shows, a second or two later: also by a sidecar that
// was restarted.
func TestThePodIsToldThroughTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		p := &pod{t: t}
		cfg := quiet(pipeline.Config{
			Producer:    producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New(),
			Concurrency: 3, Order: pipeline.PerPartition, DeadLetter: pipeline.DeadLetter{Topic: "dead"}, // a lane for each partition
		})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			switch string(in.Value) {
			case "bad":
				return nil, pipeline.Reject(errBroken)
			case "slow":
				<-let
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 3), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1), pipelinetest.Manual(), pipelinetest.Timeout(5*time.Minute))
		opts := h.Options()[1:]
		p.start(opts)
		h.Start()
		for i := range int32(3) {
			h.FeedTo(i, pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
		}
		h.WaitDone(6)
		h.FeedTo(0, pipelinetest.Record("k", "slow"), pipelinetest.Record("k", "c"))
		h.FeedTo(1, pipelinetest.Record("k", "bad"))
		seen := func() *podstate.Pod { return p.seen() }
		shown := func() bool {
			pod := seen()
			if len(pod.Partitions) != 3 || pod.Partitions[0].Oldest == nil || pod.Partitions[1].Offsets.AckMark != 3 {
				return false
			}
			return pod.Partitions[0].Oldest.Stage == podstate.Handling
		}
		for range 2 {
			h.Wait("the pod to show the slow handler", shown)
			pod := seen()
			x := pod.Partitions[0]
			if x.App != "test" || x.Topic != "in" || x.Partition != 0 || x.State != podstate.Reading || x.Offsets.AckMark != 2 || x.Offsets.LogEnd != 4 || x.Oldest.Offset != 2 {
				t.Errorf("%+v", x)
			}
			if pod.Sessions[0].Process.Lanes != 3 || pod.Sessions[0].Process.Busy != 1 || pod.Sessions[0].Process.Counters.DeadLetters != 1 {
				t.Errorf("%+v", pod.Sessions[0].Process)
			}
			if own := pod.Sessions[0].Process.Latency; own == nil || own.Count == 0 || own.P99 == 0 {
				t.Errorf("the process tells no latency: %+v", own)
			}
			p.stop()
			p.start(opts)
		}
		h.Wait("the pod to show the slow handler", shown)
		close(let)
		h.Wait("the pod to show that all is done", func() bool {
			pod := seen()
			return len(pod.Partitions) == 3 && pod.Partitions[0].Offsets.AckMark == 4 && pod.Partitions[0].Oldest == nil && pod.Partitions[0].Offsets.Committed == 4
		})
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		p.stop()
	})
}

// An incident is told once, with its reason.
func TestIncidentsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pod{t: t}
		h := pipelinetest.New(t, quiet(pipeline.Config{
			Producer: producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New(),
			Handler:  pipeline.HandlerFunc(reject),
		}), pipelinetest.Topic("in", 2), pipelinetest.Topic("out", 1), pipelinetest.Manual(), pipelinetest.Timeout(5*time.Minute))
		p.start(h.Options()[1:])
		h.Start()
		h.FeedTo(1, pipelinetest.Record("k", "a"))
		_ = h.WaitHalted()
		h.Wait("the halt to be told", func() bool {
			list := p.seen().Incidents
			return len(list) > 0 && list[0].Kind == podstate.Halt
		})
		time.Sleep(time.Minute)
		halts, rebalances := 0, 0
		for _, in := range p.seen().Incidents {
			switch in.Kind {
			case podstate.Halt:
				halts++
				if in.App != "test" || in.Topic != "in" || in.Partition != 1 || !strings.Contains(in.Reason, errBroken.Error()) {
					t.Errorf("%+v", in)
				}
			case podstate.Rebalance:
				rebalances++
			}
		}
		if halts != 1 || rebalances != 1 {
			t.Errorf("%d halts and %d rebalances are told: %+v", halts, rebalances, p.seen().Incidents)
		}
		_ = h.Stop()
		p.stop()
	})
}

// seen is what the sidecar shows of the pod.
func (p *pod) seen() *podstate.Pod {
	p.t.Helper()
	s, err := p.server.Status(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return podwire.Pod(s)
}
