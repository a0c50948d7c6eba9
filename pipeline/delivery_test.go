package pipeline_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

var errDraining = &producer.Error{Code: "DRAINING", Message: "the sidecar is about to stop", Retryable: true, Partition: -1}

// outages refuses a unit now and then, and with it, as a producer with sequence numbers does,
// everything of its key until the unit comes again.
type outages struct {
	mu       sync.Mutex
	rng      *rand.Rand
	next     map[string]int
	taken    int
	refusals int
}

func (o *outages) fate(d producertest.Delivered) producertest.Decision {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken++
	key := string(d.Outputs[0].Key)
	if n, _ := strconv.Atoi(string(d.Outputs[0].Value)); n != o.next[key] || o.rng.IntN(20) == 0 {
		o.refusals++
		return producertest.Fail(errDraining)
	}
	o.next[key]++
	return producertest.Ack()
}

func TestRetryableFailuresAreDeliveredAgainInOrder(t *testing.T) {
	for _, seed := range []uint64{1, 2, rand.Uint64()} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const keys, each = 10, 100
				rng := rand.New(rand.NewPCG(seed, 3))
				o := &outages{rng: rng, next: map[string]int{}}
				meter := measured.New()
				cfg := quiet(pipeline.Config{Concurrency: 1 + rng.IntN(6), Backoff: pipeline.Backoff{Initial: time.Millisecond}, MeterProvider: meter})
				cfg.Producer = producertest.NewFake(producertest.FakeConfig{Rule: o.fate})
				cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
					return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 3), pipelinetest.Timeout(10*time.Minute))
				for i := range each {
					var in []*kgo.Record
					for k := range keys {
						in = append(in, pipelinetest.Record("key"+strconv.Itoa(k), strconv.Itoa(i)))
					}
					h.Feed(in...)
				}
				h.WaitIdle()
				o.mu.Lock()
				defer o.mu.Unlock()
				for key, n := range o.next {
					if n != each {
						t.Errorf("seed %d: %s: %d of %d", seed, key, n, each)
					}
				}
				if o.refusals == 0 || len(o.next) != keys {
					t.Errorf("seed %d: %d refusals, %d keys", seed, o.refusals, len(o.next))
				}
				if s := h.State(); s.Done != keys*each || s.Redelivered == 0 {
					t.Errorf("seed %d: state %+v", seed, s)
				}
				v, again := meter.Collect(t), telemetry.Reason.String("redelivered")
				v.Want(t, float64(o.refusals), telemetry.Repeats, telemetry.Topic.String("in"), again)
				if _, series := v.Sum(telemetry.Repeats, again); series != 3 {
					t.Errorf("what was delivered again is told in %d series, want one for each partition", series)
				}
			})
		})
	}
}

func TestUnknownFailureHaltsItsPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strange := &producer.Error{Code: "UNKNOWN_SERVER_ERROR", Message: "what?", Partition: -1, Err: kerr.UnknownServerError}
		cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
			if string(d.Outputs[0].Value) == "B" {
				return producertest.Fail(strange)
			}
			return producertest.Ack()
		}})
		cfg.Producer = fake
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
		for _, v := range []string{"a", "b", "c"} { // of one key: what is queued elsewhere when its partition halts is dropped
			h.FeedTo(0, pipelinetest.Record("key", v))
		}
		if why := h.WaitHalted(); !errors.Is(why, kerr.UnknownServerError) {
			t.Errorf("halted by %v", why)
		}
		h.WaitCommitted("in", 0, 1)
		h.FeedTo(1, strings2records([]string{"d"})...)
		h.WaitCommitted("in", 1, 1)
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d, want 1", got)
		}
		if n := len(fake.Records("dead")); n != 0 {
			t.Errorf("%d dead letters", n)
		}
	})
}

// TestInvalidOutputHarmsNobodyElse: the producer refuses a whole call because of one record.
func TestInvalidOutputHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			r := producer.Record{Topic: "out", Value: in.Value}
			if string(in.Value) == "b" {
				r.Partition = new(int32(-7))
			}
			return []producer.Record{r}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(strings2records([]string{"a", "b", "c"})...)
		h.Start()
		h.WaitCommitted("in", 0, 3)
		if got := strings.Join(values(h, "out"), ""); got != "ac" {
			t.Errorf("outputs %q", got)
		}
		if letters := h.Outputs("dead"); len(letters) != 1 || header(letters[0], pipeline.HeaderCode) != producer.CodeInvalidRecord {
			t.Errorf("dead letters %v", letters)
		}
	})
}

func TestFullProducerThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{MaxRecords: 1, OnFull: producer.Refuse,
			Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		defer fake.Close()
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake, KeepProducer: true, Concurrency: 3}),
			pipelinetest.Topic("in", 1))
		h.Feed(strings2records(strings.Split("abcdefghij", ""))...)
		for h.State().Done < 10 {
			time.Sleep(time.Second)
			fake.AckAll()
			synctest.Wait()
		}
		h.WaitCommitted("in", 0, 10)
		if s := h.State(); s.Undelivered != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

// TestProducerThatTakesNothing: the lanes stand, memory is bounded by the consumer's budget, and
// the shutdown ends in time and says what is left.
func TestProducerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{MaxRecords: 10, Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		defer fake.Close()
		cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake, KeepProducer: true, Concurrency: 3})
		cfg.Consumer.MaxRecords = 1000
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(strings2records(slices.Repeat([]string{"v"}, 20_000))...)
		time.Sleep(time.Minute)
		s := h.State()
		if s.Queued > 2000 || s.Done != 0 || s.Consumer.Partitions[0].Pending > 2000 {
			t.Errorf("state %+v", s)
		}
		begun := time.Now()
		err := h.Stop()
		if _, ok := errors.AsType[*consumer.AbandonedError](err); !ok {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begun); took > 20*time.Second { // the drain, and the producer's Release
			t.Errorf("took %s", took)
		}
	})
}

// TestRevokeWithUnitsInFlight: the drain waits for the acknowledgement of what was handed over, and
// what comes later changes nothing.
func TestRevokeWithUnitsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		defer fake.Close()
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake, KeepProducer: true}),
			pipelinetest.Topic("in", 2), pipelinetest.Timeout(5*time.Minute))
		h.Wait("both partitions", func() bool { return len(h.State().Consumer.Partitions) == 2 })
		h.FeedTo(0, strings2records([]string{"a"})...)
		h.FeedTo(1, strings2records([]string{"b"})...)
		if err := fake.WaitUnits(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Second, func() { fake.AckAll() })
		begun := time.Now()
		h.Join()
		if took := time.Since(begun); took < 3*time.Second || took > 9*time.Second {
			t.Errorf("the revoke took %s", took)
		}
		h.WaitCommitted("in", 0, 1) // also the one that left: it was done in time
		h.WaitCommitted("in", 1, 1)
	})
}

func TestLostAcknowledgementIsNoDuplicate(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(err.Message, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
				h.FailProduce("out", err, 3)
				h.Feed(strings2records([]string{"a", "b"})...)
				h.WaitCommitted("in", 0, 2)
				if got := len(h.Outputs("out")); got != 2 {
					t.Errorf("%d outputs", got)
				}
			})
		})
	}
}
