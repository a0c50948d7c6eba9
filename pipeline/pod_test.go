package pipeline_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// oldest waits until the oldest input of the only partition is at a stage, and returns it.
func oldest(t *testing.T, h *pipelinetest.Harness, stage podstate.Stage) (podstate.Partition, podstate.Oldest) {
	t.Helper()
	var p podstate.Partition
	h.Wait(fmt.Sprintf("the oldest input to be %s", stage), func() bool {
		pod := h.Pipeline().Pod()
		if len(pod.Partitions) != 1 || pod.Partitions[0].Oldest == nil {
			return false
		}
		p = pod.Partitions[0]
		return p.Oldest.Stage == stage && (stage != podstate.Redelivering || p.Oldest.Error != "") // why is noted a moment later
	})
	if err := p.Validate(); err != nil {
		t.Errorf("what is shown is not what may be told: %v", err)
	}
	return p, *p.Oldest
}

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// Why a mark does not move: a handler runs, behind it others wait; it failed and is called again.
func TestWhyAMarkStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan error)
		cfg := quiet(pipeline.Config{Concurrency: 1, MaxAttempts: 3, HandlerTimeout: time.Hour, Backoff: pipeline.Backoff{Initial: time.Minute, Jitter: -1}})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if err := <-let; err != nil {
				return nil, err
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Timeout(time.Hour))
		h.Feed(pipelinetest.Record("secret-key", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		p, o := oldest(t, h, podstate.Handling)
		if o.Offset != 0 || o.Lane != 0 || o.Attempt != 1 || o.Error != "" || !strings.Contains(o.Next, "attempt 1 of 3") || !strings.Contains(o.Next, "1h0m0s") {
			t.Errorf("%+v", o)
		}
		if f := p.Offsets; f.Handled != 0 || f.AckMark != 0 || f.Fetched != 3 || f.LogEnd != 3 || p.State != podstate.Reading || p.Counts.Pending != 3 {
			t.Errorf("%+v", p)
		}
		let <- errors.New("the table is locked")
		_, o = oldest(t, h, podstate.Retrying)
		if o.Error != "the table is locked" || o.Attempt != 1 || time.Until(o.NextAt) <= 0 || !strings.Contains(o.Next, "halts") {
			t.Errorf("%+v", o)
		}
		if text := fmt.Sprintf("%+v", h.Pipeline().Pod()); strings.Contains(text, "secret-key") {
			t.Errorf("the key itself is shown: %s", text)
		}
		let <- nil      // attempt 2
		synctest.Wait() // it is done
		_, o = oldest(t, h, podstate.Handling)
		if o.Offset != 1 || o.Attempt != 1 || o.Error != "" {
			t.Errorf("the next one has the trouble of the first: %+v", o)
		}
		let <- nil
		let <- nil
		h.WaitDone(3)
		pod := h.Pipeline().Pod()
		if x := pod.Partitions[0]; x.Oldest != nil || x.Offsets.AckMark != 3 || x.Offsets.Handled != 3 {
			t.Errorf("all done: %+v", x)
		}
		if pod.Counters.Retries != 1 || pod.Sidecar != nil || pod.Sessions[0].State != "own" || pod.Incidents[len(pod.Incidents)-1].Kind != podstate.Rebalance {
			t.Errorf("%+v", pod)
		}
	})
}

// An input that waits behind another partition's in its lane is queued there, and its key is named
// by a hash. One that is delivered waits for its acknowledgement.
func TestWhyAQueuedInputWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		meter := measured.New()
		cfg := quiet(pipeline.Config{Concurrency: 1, Producer: fake, MeterProvider: meter})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			<-let
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2), pipelinetest.Topic("out", 1))
		h.FeedTo(0, pipelinetest.Record("slow", "a"))
		h.Wait("the handler to run", func() bool { return h.State().Busy == 1 })
		h.FeedTo(1, pipelinetest.Record("key", "b"))
		h.Wait("the second one to wait", func() bool { return h.State().Queued == 1 })
		meter.Collect(t).Want(t, 1, telemetry.Queued)
		parts := h.Pipeline().Pod().Partitions
		if o := parts[0].Oldest; o.Stage != podstate.Handling {
			t.Errorf("%+v", o)
		}
		if o := parts[1].Oldest; o.Stage != podstate.Queued || o.Lane != 0 || o.Behind != -1 || o.KeyHash != hashOf("key") || o.Attempt != 0 {
			t.Errorf("%+v", o)
		}
		close(let)
		h.Wait("both to be delivered", func() bool { return len(fake.Held()) == 2 })
		for _, p := range h.Pipeline().Pod().Partitions {
			if p.Oldest.Stage != podstate.Delivered || !strings.Contains(p.Oldest.Next, "acknowledged") || p.Offsets.Handled != 1 || p.Offsets.AckMark != 0 {
				t.Errorf("%+v, %+v", p, p.Oldest)
			}
		}
		fake.AckAll()
		h.WaitDone(2)
	})
}

// How long deliveries took is told by every producer: from the attempt to the acknowledgement, by
// inputs that have outputs.
func TestLatencyOfDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
			if len(d.Unit.Outputs) == 0 {
				return producertest.Ack()
			}
			return producertest.Hold()
		}})
		cfg := quiet(pipeline.Config{Concurrency: 1, Producer: fake})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "filtered" {
				return nil, nil
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Timeout(time.Hour))
		h.Feed(pipelinetest.Record("k", "filtered"))
		h.WaitDone(1)
		if l := h.Pipeline().Pod().Latency; l == nil || l.Count != 0 {
			t.Errorf("of an input without outputs: %+v", l)
		}
		h.Feed(pipelinetest.Record("k", "a"))
		h.Wait("it to be delivered", func() bool { return len(fake.Held()) == 1 })
		time.Sleep(3 * time.Second)
		fake.AckAll()
		h.WaitDone(2)
		pod := h.Pipeline().Pod()
		if l := pod.Latency; l.Count != 1 || l.P50 < 2_900_000 || l.P50 != l.P999 || *l != *pod.Sessions[0].Process.Latency {
			t.Errorf("three seconds: %+v", l)
		}
	})
}

// Behind a running input of its own partition, an input is queued behind its offset.
func TestWhyAnInputIsBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		fake := producertest.NewFake(producertest.FakeConfig{})
		cfg := quiet(pipeline.Config{Concurrency: 2, Producer: fake})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			<-let
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "0"), pipelinetest.Record("k", "1"), pipelinetest.Record("k", "2"))
		_, o := oldest(t, h, podstate.Handling)
		if o.Offset != 0 {
			t.Errorf("%+v", o)
		}
		let <- struct{}{}
		h.Wait("the first to be done", func() bool { return h.State().Done == 1 })
		p, o := oldest(t, h, podstate.Handling)
		if o.Offset != 1 || p.Offsets.Handled != 1 {
			t.Errorf("%+v, %+v", p, o)
		}
		close(let)
		h.WaitDone(3)
	})
}

// What cannot be delivered now is delivered again, and says why; what halts says why, too.
func TestWhyAnOutputIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healed, refuse atomic.Bool
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision {
			switch {
			case refuse.Load():
				return producertest.Fail(&producer.Error{Code: "MESSAGE_TOO_LARGE", Message: "far too large", Partition: -1})
			case !healed.Load():
				return producertest.Fail(&producer.Error{Code: "REQUEST_TIMED_OUT", Message: "no answer from the broker", Retryable: true, Partition: -1})
			}
			return producertest.Ack()
		}})
		cfg := quiet(pipeline.Config{Concurrency: 1, Producer: fake, Handler: pipeline.HandlerFunc(upper), Backoff: pipeline.Backoff{Initial: time.Second, Jitter: -1}})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("key", "a"))
		_, o := oldest(t, h, podstate.Redelivering)
		if !strings.Contains(o.Error, "no answer from the broker") || !strings.Contains(o.Next, "again") {
			t.Errorf("%+v", o)
		}
		healed.Store(true)
		h.WaitDone(1)
		refuse.Store(true)
		h.Feed(pipelinetest.Record("key", "b"))
		_ = h.WaitHalted()
		p, o := oldest(t, h, podstate.Stopped)
		if p.State != podstate.Halted || !strings.Contains(p.Reason, "far too large") || o.Offset != 1 || !strings.Contains(o.Next, "Resume") {
			t.Errorf("%+v, %+v", p, o)
		}
		if in := h.Pipeline().Pod().Incidents[0]; in.Kind != podstate.Halt || in.Topic != "in" || !strings.Contains(in.Reason, "far too large") {
			t.Errorf("%+v", in)
		}
		_ = h.Stop()
	})
}

// An input that is tried again, and then rejected, is named by its offset: no line of the log, no
// error and nothing that an admin port shows has its key or its value.
func TestARejectedInputShowsNoPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := pipeline.Config{MaxAttempts: 2, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, errors.New("no such customer")
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("canary@example.com", "canary's order"))
		why := h.WaitHalted()
		shown, err := json.Marshal(h.Pipeline().Pod())
		if err != nil {
			t.Fatal(err)
		}
		_ = h.Stop()
		for what, text := range map[string]string{"the log": log.String(), "the error": why.Error(), "the state": string(shown)} {
			if strings.Contains(text, "canary") || !strings.Contains(text, "no such customer") {
				t.Errorf("%s: %s", what, text)
			}
		}
	})
}

// Inputs that end out of order are shown as runs, and the one that holds the mark by its key's
// hash.
func TestGapsAreRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
			if d.Unit.Source.Offset%2 == 0 {
				return producertest.Hold()
			}
			return producertest.Ack()
		}})
		cfg := quiet(pipeline.Config{Concurrency: 1, Producer: fake, Handler: pipeline.HandlerFunc(upper)})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		for range 200 {
			h.Feed(pipelinetest.Record("k", "v"))
		}
		h.WaitDone(100)
		p, _ := oldest(t, h, podstate.Delivered)
		if len(p.Done) != podstate.MaxRuns || !p.DoneMore || p.Done[0] != (podstate.Run{First: 1, Last: 1}) || p.Counts.DoneAbove != 100 || p.Offsets.Handled != 200 {
			t.Errorf("%+v", p)
		}
		fake.AckAll()
		h.WaitDone(200)
		if p := h.Pipeline().Pod().Partitions[0]; len(p.Done) != 0 || p.DoneMore {
			t.Errorf("%+v", p)
		}
	})
}
