package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

func reject(context.Context, *consumer.Message) ([]producer.Record, error) {
	return nil, pipeline.Reject(errBroken)
}

// A dead-letter topic that the pipeline reads, by whatever way it was told to, would feed it its
// own letters.
func TestDeadLettersMustNotComeBack(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*consumer.Config)
		bad    bool
	}{
		"by name":          {func(c *consumer.Config) { c.Topics = []string{"in", "in.dead"} }, true},
		"regex":            {func(c *consumer.Config) { c.Regex = "in" }, true},
		"anchored regex":   {func(c *consumer.Config) { c.Regex = "^in$" }, false},
		"names in options": {func(c *consumer.Config) { c.Options = []kgo.Opt{kgo.ConsumeTopics("in.dead")} }, true},
		"other names":      {func(c *consumer.Config) { c.Options = []kgo.Opt{kgo.ConsumeTopics("in")} }, false},
		"regex in options": {func(c *consumer.Config) { c.Options = []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeTopics("xx", "in.*")} }, true},
		"excluded from a regex": {func(c *consumer.Config) {
			c.Regex, c.Options = "in", []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeExcludeTopics(`\.dead$`)}
		}, false},
	} {
		cfg := quiet(minimal())
		cfg.Consumer.Topics, cfg.DeadLetter.Topic = nil, "in.dead"
		test.change(&cfg.Consumer)
		p, err := pipeline.New(cfg)
		if e, ok := errors.AsType[*pipeline.ConfigError](err); ok != test.bad || ok && e.Field != "DeadLetter.Topic" || !ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = p.Close()
		}
	}
}

// logged collects the log.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// An output into an input topic comes back. Where the topic's name was written, that is allowed,
// with a word; where only a regex matches it, it is not.
func TestLoops(t *testing.T) {
	for name, test := range map[string]struct {
		regex  string
		topics []string
		loops  pipeline.Loops
		warns  int
		stops  bool
	}{
		"named":          {topics: []string{"in", "in.more"}, warns: 1},
		"named, allowed": {topics: []string{"in", "in.more"}, loops: pipeline.LoopsAllowed},
		"named, refused": {topics: []string{"in", "in.more"}, loops: pipeline.LoopsRefused, stops: true},
		"regex":          {regex: "in", stops: true},
		"regex, allowed": {regex: "in", loops: pipeline.LoopsAllowed},
		"no loop":        {topics: []string{"in"}, loops: pipeline.LoopsRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logged
				cfg := pipeline.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Loops: test.loops, Concurrency: 1,
					Consumer: consumer.Config{Topics: test.topics, Regex: test.regex}}
				cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
					if len(in.Value) == 3 {
						return nil, nil
					}
					return []producer.Record{{Topic: "in.more", Value: append(bytes.Clone(in.Value), 'x')}}, nil
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("in.more", 1))
				h.Feed(&kgo.Record{Topic: "in", Value: []byte("a")})
				var err error
				if test.stops {
					err = h.WaitEnded()
				} else {
					h.WaitDone(1)
					time.Sleep(5 * time.Second)
					err = h.Stop()
				}
				e, ok := errors.AsType[*pipeline.LoopError](err)
				if ok != test.stops || ok && (e.Topic != "in.more" || e.Regex != test.regex) || !ok && err != nil {
					t.Errorf("Run returned %v", err)
				}
				if n := log.count("it will come back as an input"); n != test.warns {
					t.Errorf("%d warnings, want %d", n, test.warns)
				}
				if test.stops && (len(h.Outputs("in.more")) != 0 || h.Committed("in", 0) > 0) {
					t.Error("the output was written, or its input committed")
				}
			})
		})
	}
}

func recordSize(r producer.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// The letter fits whenever the input did, and says as much as fits.
func TestTheLetterFits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, headers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			limits := map[string]int{} // of the letter of an input, by its key
			for i := range 60 {
				limits[fmt.Sprint("key", i)] = rnd.IntN(2) * rnd.IntN(12_000)
			}
			in := map[string]int{}
			fake := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
				r := d.Outputs[0]
				if recordSize(r) > in[string(r.Key)]+limits[string(r.Key)] {
					return producertest.Fail(&producer.Error{Code: "MESSAGE_TOO_LARGE", Topic: "dead", Partition: -1})
				}
				return producertest.Ack()
			}})
			defer fake.Close()
			cfg := quiet(pipeline.Config{Producer: fake, KeepProducer: true, MaxAttempts: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}, SourceHeaders: headers})
			cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
				panic(strings.Repeat("cannot parse this one ", 100))
			})
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
			var list []*kgo.Record
			for key := range limits {
				r := pipelinetest.Record(key, strings.Repeat("v", rnd.IntN(50)))
				if rnd.IntN(2) == 0 {
					r.Headers = []kgo.RecordHeader{{Key: "own", Value: make([]byte, rnd.IntN(1000))}}
				}
				in[key] = recordSize(producer.Record{Key: r.Key, Value: r.Value, Headers: r.Headers})
				list = append(list, r)
			}
			h.Feed(list...)
			h.Start()
			h.WaitCommitted("in", 0, int64(len(list)))
			if s := h.State(); s.DeadLetters != int64(len(list)) || s.Halted != 0 {
				t.Errorf("%d letters, %d halted", s.DeadLetters, s.Halted)
			}
		})
	}
}

// Every attempt, and the letter, see the input as it came, also when the output was refused long
// after the handler was done.
func TestHandlersMayChangeTheirInput(t *testing.T) {
	spoil := func(in *consumer.Message) {
		for i := range in.Value {
			in.Value[i] = '#'
		}
		in.Key = append(in.Key[:0:0], "other"...)
		in.Headers[0].Value[0] = '#'
		in.Headers = append(in.Headers, producer.Header{Key: "more"})
		in.Topic, in.Partition, in.Offset, in.Timestamp = "elsewhere", 7, in.Offset+1_000, time.UnixMilli(1)
	}
	for _, batch := range []bool{false, true} {
		for _, ends := range []string{"fails", "is refused", "panics"} {
			t.Run(fmt.Sprintf("batch %v, %s", batch, ends), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fake := producertest.NewFake(producertest.FakeConfig{Rule: func(d producertest.Delivered) producertest.Decision {
						if d.Outputs[0].Topic == "out" {
							if got := string(d.Outputs[0].Value); got != "#####" {
								t.Errorf("the output became %q", got)
							}
							return producertest.Fail(&producer.Error{Code: "INVALID_RECORD", Topic: "out", Partition: -1})
						}
						return producertest.Ack()
					}})
					defer fake.Close()
					one := func(in *consumer.Message) ([]producer.Record, error) {
						if string(in.Value) != "value" || string(in.Key) != "k" || len(in.Headers) != 1 || string(in.Headers[0].Value) != "own" {
							t.Errorf("the handler was given key %q, value %q, headers %v", in.Key, in.Value, in.Headers)
						}
						if in.Topic != "in" || in.Partition != 0 || in.Offset > 2 || in.Timestamp.UnixMilli() == 1 {
							t.Errorf("the handler was given topic %s, partition %d, offset %d, time %s", in.Topic, in.Partition, in.Offset, in.Timestamp)
						}
						spoil(in)
						switch ends {
						case "is refused":
							return []producer.Record{{Topic: "out", Value: in.Value}}, nil
						case "panics":
							panic("ouch")
						}
						return nil, errBroken
					}
					cfg := quiet(pipeline.Config{Producer: fake, KeepProducer: true, MaxAttempts: 3, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
					if batch {
						cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
							results := make([]pipeline.Result, len(in))
							for i, m := range in {
								results[i].Outputs, results[i].Err = one(m)
							}
							return results
						})
					} else {
						cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) { return one(in) })
					}
					h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
					for range 3 {
						r := pipelinetest.Record("k", "value")
						r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("own")}}
						h.Feed(r)
					}
					h.Start()
					h.WaitCommitted("in", 0, 3)
					letters := fake.Records("dead")
					if len(letters) != 3 {
						t.Fatalf("%d letters", len(letters))
					}
					for i, l := range letters {
						came := &kgo.Record{Headers: l.Headers}
						if topic, offset := header(came, pipeline.HeaderTopic), header(came, pipeline.HeaderOffset); topic != "in" || offset != strconv.Itoa(i) {
							t.Errorf("letter %d says it came from %s at %s", i, topic, offset)
						}
						if string(l.Value) != "value" || string(l.Key) != "k" || l.Headers[0].Key != "h" || string(l.Headers[0].Value) != "own" {
							t.Errorf("the letter has key %q, value %q, headers %v", l.Key, l.Value, l.Headers[0])
						}
					}
				})
			})
		}
	}
}

// AroundInput may hand on what it made of the input: each attempt below it sees that, the letter
// what came.
func TestMiddlewareDecrypts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, MaxAttempts: 3})
		cfg.Middleware.AroundInput = []func(pipeline.Handler) pipeline.Handler{func(next pipeline.Handler) pipeline.Handler {
			return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
				in.Value = []byte("plain")
				return next.Handle(ctx, in)
			})
		}}
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) != "plain" {
				t.Errorf("the handler was given %q", in.Value)
			}
			in.Value[0] = '#'
			return nil, errBroken
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "secret"))
		h.WaitDone(1)
		if got := values(h, "dead"); len(got) != 1 || got[0] != "secret" {
			t.Errorf("letters %q", got)
		}
	})
}

// A dead-letter topic that is not there is named before an input needs it, and no more once it is.
func TestMissingDeadLetterTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		cfg := pipeline.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: pipeline.HandlerFunc(upper)}
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		cfg.DeadLetter.Topic = "daed"
		cfg.Consumer = consumer.Config{Brokers: []string{"localhost:9092"}, Group: "g", Topics: []string{"in"}, Options: h.Options()[1:]}
		cfg.Producer = h.Direct(producer.DirectConfig{})
		p, err := pipeline.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(4 * time.Second)
		if log.count("daed") == 0 {
			t.Error("nothing about it in the log")
		}
		if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "daed") || !strings.Contains(err.Error(), "DeadLetter.Topic") {
			t.Errorf("Check says %v", err)
		}
		h.Feed(pipelinetest.Record("k", "a"))
		h.Wait("what is healthy to go on", func() bool { return p.State().Done == 1 })
		if _, err := kadm.NewClient(h.Client()).CreateTopic(t.Context(), 1, 1, nil, "daed"); err != nil {
			t.Error(err)
		}
		if err := p.Check(t.Context()); err != nil {
			t.Errorf("Check says %v, after it was made", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A target that can never be dialled is told by New, not by the first output.
func TestInvalidProducerIsRefused(t *testing.T) {
	for name, p := range map[string]producer.Producer{
		"target":  producer.Dial("sidecar.sock"),
		"brokers": producer.Direct(producer.DirectConfig{}),
		"options": producer.Direct(producer.DirectConfig{Brokers: []string{"localhost:1"}, Options: []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck())}}),
	} {
		cfg := minimal()
		cfg.Producer = p
		_, err := pipeline.New(cfg)
		if e, ok := errors.AsType[*pipeline.ConfigError](err); !ok || e.Field != "Producer" {
			t.Errorf("%s: %v", name, err)
		}
		if e, ok := errors.AsType[*producer.Error](err); !ok || e.Code != producer.CodeInvalidConfig {
			t.Errorf("%s: %v", name, err)
		}
		_ = p.Close()
	}
}

// An input as large as Kafka takes has a letter, by every way.
func TestLetterOfALargeInput(t *testing.T) {
	for _, via := range []string{"direct", "sidecar"} {
		t.Run(via, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pod{t: t}
				cfg := quiet(pipeline.Config{MaxAttempts: 2, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
				if via == "sidecar" {
					cfg.Producer = producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New()
				}
				cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					if len(in.Value) > 100 {
						panic("cannot parse this one")
					}
					return upper(ctx, in)
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1), pipelinetest.Manual())
				if via == "sidecar" {
					p.start(h.Options()[1:])
				}
				big := make([]byte, 999_900)
				for i, rnd := 0, rand.New(rand.NewPCG(1, 2)); i < len(big); i++ {
					big[i] = byte(rnd.Uint32())
				}
				cl := h.Client(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1_000_012))
				in := []*kgo.Record{{Topic: "in", Key: []byte("k"), Value: big}, {Topic: "in", Key: []byte("k"), Value: []byte("fine")}}
				for _, r := range in {
					if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
				h.Start()
				h.WaitCommitted("in", 0, 2)
				letters := h.Outputs("dead")
				if len(letters) != 1 || !bytes.Equal(letters[0].Value, big) {
					t.Errorf("%d letters", len(letters))
				}
				if err := h.Stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
				if via == "sidecar" {
					p.stop()
				}
			})
		})
	}
}
