package brokerwatch

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// stay is a member with all partitions, whose inputs somebody else works on.
type stay struct {
	w          *world
	member     string
	generation int32
	inputs     map[int64]*kgo.Record // of partition 0
}

// stand joins the group and reads partition 0. The checker knows the stay as epoch 1 of process p,
// which is exactly-once.
func (w *world) stand() *stay {
	cl := w.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	w.t.Cleanup(cl.Close)
	s := &stay{w: w, inputs: make(map[int64]*kgo.Record)}
	for seen := 0; seen < inputs; {
		fs := cl.PollFetches(w.t.Context())
		seen += fs.NumRecords()
		fs.EachRecord(func(r *kgo.Record) {
			if r.Partition == 0 {
				s.inputs[r.Offset] = r
			}
		})
	}
	s.member, s.generation = cl.GroupMetadata()
	w.checker.ExactlyOnce("p")
	w.checker.EpochStart("p", 1, s.member, verify.Partition{Topic: "in"}, 0)
	units := make([]verify.Unit, len(s.inputs))
	for i := range units {
		units[i] = verify.Unit{Epoch: 1, Offset: int64(i)}
	}
	w.checker.Delivered("p", units)
	return s
}

// twin is a producer with a transactional id.
func (w *world) twin(id string, opts ...kgo.Opt) *kgo.Client {
	cl := w.client(append(opts, kgo.TransactionalID(id), kgo.DefaultProduceTopic("out"), kgo.MetadataMinAge(10*time.Millisecond))...)
	w.t.Cleanup(cl.Close)
	return cl
}

// write begins a transaction with the outputs of inputs.
func (s *stay) write(cl *kgo.Client, offsets ...int64) {
	s.w.t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		s.w.t.Fatal(err)
	}
	for _, o := range offsets {
		if err := cl.ProduceSync(s.w.t.Context(), &kgo.Record{Key: s.inputs[o].Key, Value: bytes.ToUpper(s.inputs[o].Value)}).FirstErr(); err != nil {
			s.w.t.Fatal(err)
		}
	}
}

// offset asks for a commit in the client's transaction, and returns the broker's answer.
func (s *stay) offset(cl *kgo.Client, id string, generation int32, offset int64, done ...donemeta.Run) error {
	s.w.t.Helper()
	producer, epoch, err := cl.ProducerID(s.w.t.Context())
	if err != nil {
		s.w.t.Fatal(err)
	}
	return s.offsetBy(cl, id, producer, epoch, generation, offset, done...)
}

func (s *stay) offsetBy(cl *kgo.Client, id string, producer int64, epoch int16, generation int32, offset int64, done ...donemeta.Run) error {
	s.w.t.Helper()
	metadata := s.w.doneSet(offset, -1, done...)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation, req.MemberID = id, "g", producer, epoch, generation, s.member
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = "in", s.w.cluster.TopicInfo("in").TopicID
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset, part.LeaderEpoch, part.Metadata = offset, -1, &metadata
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(s.w.t.Context(), cl)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

func (s *stay) end(cl *kgo.Client, how kgo.TransactionEndTry) {
	s.w.t.Helper()
	if err := cl.EndTransaction(s.w.t.Context(), how); err != nil {
		s.w.t.Fatal(err)
	}
}

// must fails the test at an error.
func (s *stay) must(err error) {
	s.w.t.Helper()
	if err != nil {
		s.w.t.Fatal(err)
	}
}

// raw is the third id of a lane: it commits offsets without a record, which a client does not do.
func (s *stay) raw(cl *kgo.Client, id string, offset int64, done ...donemeta.Run) {
	s.w.t.Helper()
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = &id, 15_000, -1, -1
	given, err := init.RequestWith(s.w.t.Context(), cl)
	s.must(err)
	s.must(s.offsetBy(cl, id, given.ProducerID, given.ProducerEpoch, s.generation, offset, done...))
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, given.ProducerID, given.ProducerEpoch, true
	ended, err := end.RequestWith(s.w.t.Context(), cl)
	s.must(err)
	s.must(kerr.ErrorForCode(ended.ErrorCode))
}

func TestTransactionsAreFollowed(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(s *stay)
		want string // "": nothing is wrong
	}{
		{"windows of two twins, one aborted", func(s *stay) {
			a, b := s.w.twin("x-0"), s.w.twin("x-1")
			s.write(a, 0, 1)
			s.must(s.offset(a, "x-0", s.generation, 2))
			s.end(a, kgo.TryCommit)
			s.write(b, 2, 3)
			s.must(s.offset(b, "x-1", s.generation, 5))
			s.end(b, kgo.TryAbort)
			s.write(a, 3)
			s.must(s.offset(a, "x-0", s.generation, 2, donemeta.Run{First: 3, Last: 3}))
			s.end(a, kgo.TryCommit)
			s.write(b, 2, 4)
			s.must(s.offset(b, "x-1", s.generation, 5))
			s.end(b, kgo.TryCommit)
		}, ""},
		{"an offset without its output", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 2))
			s.end(a, kgo.TryCommit)
		}, "S1 premature commit (1), S5 offset without its outputs (1)"},
		{"an output without its offset", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0, 1)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.end(a, kgo.TryCommit)
		}, "S5 outputs without their offset (1)"},
		{"offsets in the end that a client made without a record", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.end(a, kgo.TryCommit) // ends nothing: kgo saw no acknowledgement
			if g := s.w.cluster.GroupInfo("g"); len(g.Commits) > 0 {
				s.w.t.Errorf("kgo has ended a transaction without records: %v", g.Commits)
			}
		}, ""},
		{"offsets without records", func(s *stay) { s.raw(s.w.twin("x-0"), "x-o", 1) }, "S1 premature commit (1), S5 offset without its outputs (1)"},
		{"a refused commit is sent again", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0)
			if err := s.offset(a, "x-0", s.generation+1, 1); err == nil {
				s.w.t.Fatal("a wrong generation was taken")
			}
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.end(a, kgo.TryCommit)
		}, ""},
		{"a refused commit is forgotten", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0)
			_ = s.offset(a, "x-0", s.generation+1, 1)
			s.end(a, kgo.TryCommit)
		}, "S5 outputs without their offset (1)"},
		{"the end is refused at first", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.ConcurrentTransactions, Count: 2})
			s.end(a, kgo.TryCommit)
		}, ""},
		{"the end's answer is lost", func(s *stay) {
			var conns severed
			a := s.w.twin("x-0", kgo.Dialer(conns.dial(s.w.net.DialContext)), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			conns.loseAnswer(kmsg.EndTxn)
			s.end(a, kgo.TryCommit)
			s.write(a, 1)
			s.must(s.offset(a, "x-0", s.generation, 2))
			s.end(a, kgo.TryCommit)
			if conns.lost() != 1 {
				s.w.t.Error("no answer was lost")
			}
		}, ""},
		{"timed out by the coordinator", func(s *stay) {
			a, b := s.w.twin("x-0", kgo.TransactionTimeout(time.Second)), s.w.twin("x-1")
			s.write(b, 1)
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			time.Sleep(2 * time.Second)
			s.must(s.offset(b, "x-1", s.generation, 0, donemeta.Run{First: 1, Last: 1}))
			s.end(b, kgo.TryCommit)
			_ = a.EndTransaction(s.w.t.Context(), kgo.TryAbort)
			s.write(b, 0)
			s.must(s.offset(b, "x-1", s.generation, 2))
			s.end(b, kgo.TryCommit)
		}, ""},
		{"overlapping ends", func(s *stay) {
			a, b := s.w.twin("x-0"), s.w.twin("x-1")
			s.write(a, 0)
			s.write(b, 1, 2, 3)
			s.must(s.offset(b, "x-1", s.generation, 0, donemeta.Run{First: 1, Last: 3}))
			s.end(b, kgo.TryCommit)
			s.must(s.offset(a, "x-0", s.generation, 4))
			s.end(a, kgo.TryCommit)
		}, ""},
		{"a successor takes the id, and aborts what is open", func(s *stay) {
			a, b := s.w.twin("x-0", kgo.TransactionTimeout(11*time.Second)), s.w.twin("x-0", kgo.TransactionTimeout(12*time.Second))
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.write(b, 0, 1)
			s.must(s.offset(b, "x-0", s.generation, 2))
			s.end(b, kgo.TryCommit)
			if err := a.EndTransaction(s.w.t.Context(), kgo.TryCommit); err == nil {
				s.w.t.Error("the older one committed")
			}
		}, ""},
		{"the older one takes it back", func(s *stay) {
			a, b := s.w.twin("x-0", kgo.TransactionTimeout(11*time.Second)), s.w.twin("x-0", kgo.TransactionTimeout(12*time.Second))
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.end(a, kgo.TryCommit)
			s.write(b, 1)
			s.must(s.offset(b, "x-0", s.generation, 2))
			s.end(b, kgo.TryCommit)
			again := s.w.twin("x-0", kgo.TransactionTimeout(11*time.Second))
			s.write(again, 2)
			s.must(s.offset(again, "x-0", s.generation, 3))
			s.end(again, kgo.TryCommit)
		}, "S5 older sidecar goes on (1)"},
		{"the younger one takes it from itself", func(s *stay) {
			a, b := s.w.twin("x-0", kgo.TransactionTimeout(11*time.Second)), s.w.twin("x-0", kgo.TransactionTimeout(12*time.Second))
			s.write(a, 0)
			s.write(b, 0)
			s.end(b, kgo.TryAbort)
			again := s.w.twin("x-0", kgo.TransactionTimeout(12*time.Second))
			s.write(again, 0)
			s.must(s.offset(again, "x-0", s.generation, 1))
			s.end(again, kgo.TryCommit)
		}, ""},
		{"a plain commit beside", func(s *stay) {
			a := s.w.twin("x-0")
			s.write(a, 0)
			s.must(s.offset(a, "x-0", s.generation, 1))
			s.end(a, kgo.TryCommit)
			s.w.commitFor(s.member, s.generation, 2, "")
		}, "S1 premature commit (1), S4 ack of an older epoch counted (1), S5 commit beside the transactions (1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, verify.CheckerConfig{}, func(w *world) {
				w.watch.cfg.Taker = func(req *kmsg.InitProducerIDRequest) string {
					return (time.Duration(req.TransactionTimeoutMillis) * time.Millisecond).String()
				}
				c.play(w.stand())
				w.watch.Settle()
				var names []string
				for _, v := range w.checker.Violations() {
					names = append(names, string(v.Name))
				}
				if got := strings.Join(sortedCounts(names), ", "); got != c.want {
					w.t.Errorf("found %q, want %q\n%v", got, c.want, w.checker.Err())
				}
			})
		})
	}
}

func TestATransactionIsLeftOpen(t *testing.T) {
	for wait, want := range map[time.Duration]bool{0: true, 2 * time.Second: false} { // the coordinator ends it
		inWorld(t, verify.CheckerConfig{}, func(w *world) {
			w.stand().write(w.twin("x-0", kgo.TransactionTimeout(time.Second)), 0)
			time.Sleep(wait)
			w.watch.Settle()
			_ = w.checker.Finish()
			if got := w.checker.Has(verify.LeftOpen); got != want {
				w.t.Errorf("after %v: left open %v, want %v\n%s", wait, got, want, w.checker.Summary())
			}
		})
	}
}

// What was reported before the end is found, also where there is no output.
func TestAReportBeforeTheEndIsCaught(t *testing.T) {
	for _, early := range []bool{true, false} {
		inWorld(t, verify.CheckerConfig{Expect: func(uint64) int { return 0 }}, func(w *world) {
			s := w.stand()
			d := w.checker.Delivered("p", []verify.Unit{{Epoch: 1}})
			if early {
				d.Acked(0, 1)
			}
			s.raw(w.twin("x-0"), "x-o", 1)
			if !early {
				d.Acked(0, 1)
			}
			w.watch.Settle()
			if got := w.checker.Has(verify.FalseAck); got != early {
				w.t.Errorf("early %v, found %v: %v", early, got, w.checker.Err())
			}
		})
	}
}

// A batch and the markers of transactions that time out in the same moment are told apart by the
// bytes that they take.
func TestMarkersAreNoBatch(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		s, p := w.stand(), verify.Partition{Topic: "out"}
		cl := w.twin("x-0", kgo.RecordPartitioner(kgo.ManualPartitioner()))
		s.must(cl.BeginTransaction())
		s.must(cl.ProduceSync(w.t.Context(), &kgo.Record{Value: s.inputs[0].Value}).FirstErr())
		before := w.cluster.PartitionInfo("out", 0)
		s.end(cl, kgo.TryAbort)
		after := w.cluster.PartitionInfo("out", 0)
		if n := after.NumBytes - before.NumBytes; n != markerBytes || after.HighWatermark != before.HighWatermark+1 {
			w.t.Fatalf("a marker takes %d bytes and %d offsets, not %d and 1", n, after.HighWatermark-before.HighWatermark, markerBytes)
		}
		watch := newWatch(w.cluster, w.checker, Config{Group: "g"})
		batch := appending{p: p, size: 3 * markerBytes, records: make([]*kgo.Record, 3)} // as large as markers
		watch.id("x").open = &transaction{first: map[verify.Partition]int64{p: 7}, due: time.Now().Add(time.Second)}
		if !watch.grew(batch, 3, 3*markerBytes) || watch.Err() != nil {
			w.t.Error("no transaction is due: it is the batch")
		}
		time.Sleep(time.Second)
		for _, c := range []struct {
			offsets, bytes int64
			want           bool
		}{{3, 3 * markerBytes, true}, {4, 4 * markerBytes, true}, {1, markerBytes, false}} {
			if got := watch.grew(batch, c.offsets, c.bytes); got != c.want || watch.Err() != nil {
				w.t.Errorf("%+v: %v, %v", c, got, watch.Err())
			}
		}
		if watch.grew(batch, 2, 2*markerBytes); watch.Err() == nil {
			w.t.Error("two markers of one transaction must not pass without a word")
		}
	})
}

// What a transaction's feeder wrote is an input when it is committed.
func TestInputsInTransactions(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		cl := w.twin("feeder")
		g := verify.NewGenerator(verify.GeneratorConfig{})
		for i, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
			if err := cl.BeginTransaction(); err != nil {
				w.t.Fatal(err)
			}
			in := g.Next()
			if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "in", Key: in.Key, Value: in.Value}).FirstErr(); err != nil {
				w.t.Fatal(err)
			}
			if err := cl.EndTransaction(context.Background(), how); err != nil {
				w.t.Fatal(err)
			}
			w.watch.Settle()
			if n := w.checker.Counts().Inputs; n != uint64(inputs+(i+2)/2) {
				w.t.Errorf("%d inputs after transaction %d", n, i)
			}
		}
	})
}
