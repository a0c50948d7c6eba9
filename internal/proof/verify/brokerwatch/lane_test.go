package brokerwatch

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/txn"
)

// sidecar is one life of a lane: its claims, its connections, and what the checker calls it.
type sidecar struct {
	w       *world
	name    string
	conns   severed
	lane    *txn.Lane
	claims  *txn.Claims
	pushed  [4]int64 // the next input of each partition
	first   [4]int64
	pending sync.WaitGroup
}

// laneJob is a member whose inputs go through lanes, one life after the other.
type laneJob struct {
	w      *world
	inputs [4][]*kgo.Record
	member groupcommit.Member
	epoch  uint64
}

func newLaneJob(w *world) *laneJob {
	cl := w.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	w.t.Cleanup(cl.Close)
	j := &laneJob{w: w}
	for seen := 0; seen < inputs; {
		fs := cl.PollFetches(w.t.Context())
		seen += fs.NumRecords()
		fs.EachRecord(func(r *kgo.Record) { j.inputs[r.Partition] = append(j.inputs[r.Partition], r) })
	}
	id, generation := cl.GroupMetadata()
	j.member = groupcommit.Member{Group: "g", MemberID: id, Generation: generation}
	return j
}

// live begins the next life, from what the group has when the ids are taken.
func (j *laneJob) live(n int) *sidecar {
	w := j.w
	s := &sidecar{w: w, name: fmt.Sprint("sidecar ", n), claims: txn.NewClaims(nil)}
	lane, err := txn.New(txn.Config{
		ID: "id", Lanes: 1, Every: 20 * time.Millisecond, Timeout: 10*time.Second + time.Duration(n)*time.Millisecond, Records: 20, Bytes: 1 << 20,
		Log: slog.New(slog.DiscardHandler), Over: func(error) {},
		Client: func(extra ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(s.conns.dial(w.net.DialContext)), kgo.MetadataMinAge(10 * time.Millisecond)}, extra...)...)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.lane = lane
	lane.Start()
	<-lane.Started()
	w.checker.ExactlyOnce(s.name)
	id := w.cluster.TopicInfo("in").TopicID
	g := w.cluster.GroupInfo("g")
	for p := range int32(4) {
		commit, has := g.Commits["in"][p]
		if commit.Metadata != "" {
			w.t.Errorf("inputs in order, and a done-set: %q", commit.Metadata)
		}
		spec := assignment.Spec{TopicID: id, Start: commit.Offset, Committed: commit.Offset, Limit: 1 << 12}
		if !has {
			spec.Committed = -1
		}
		j.epoch++
		s.first[p], s.pushed[p] = commit.Offset, commit.Offset
		w.checker.EpochStart(s.name, j.epoch, j.member.MemberID, verify.Partition{Topic: "in", Partition: p}, commit.Offset)
		s.claims.Assign(txn.Holder{Group: "g"}, j.member, []txn.Added{{Epoch: j.epoch, Topic: "in", TopicID: id, Partition: p, Core: assignment.New(spec)}})
	}
	return s
}

// push hands the next n inputs of a partition over, and tells whether there were any.
func (j *laneJob) push(s *sidecar, p int32, n int) bool {
	n = min(n, len(j.inputs[p])-int(s.pushed[p]))
	if n <= 0 {
		return false
	}
	epoch := j.epoch - 3 + uint64(p)
	b := &laneBatch{s: s, inputs: j.inputs[p][s.pushed[p]:][:n], from: uint64(s.pushed[p] - s.first[p])}
	noted := make([]verify.Unit, n)
	for i, r := range b.inputs {
		claim, entered := s.claims.Enter(epoch, b.from+uint64(i), r.Offset, 1)
		if entered != txn.Entered {
			j.w.t.Fatalf("offset %d: %v", r.Offset, entered)
		}
		b.claim = claim
		noted[i] = verify.Unit{Epoch: epoch, Offset: r.Offset, Outputs: [][]byte{bytes.ToUpper(r.Value)}}
	}
	s.pushed[p] += int64(n)
	s.pending.Add(n)
	b.told = j.w.checker.Delivered(s.name, noted)
	s.lane.Push(txn.Run{Batch: b, From: 0, To: n})
	return true
}

// laneBatch has one output for each input.
type laneBatch struct {
	s      *sidecar
	claim  *txn.Claim
	inputs []*kgo.Record
	from   uint64
	told   *verify.Delivery
}

func (b *laneBatch) Unit(i int) txn.Unit { return txn.Unit{Claim: b.claim, Index: b.from + uint64(i)} }

func (b *laneBatch) Produce(i int, emit func(*kgo.Record)) {
	emit(&kgo.Record{Topic: "out", Key: b.inputs[i].Key, Value: bytes.ToUpper(b.inputs[i].Value), Partition: -1})
}

func (b *laneBatch) Committed(from, to int) {
	b.told.Acked(from, to-from)
	b.s.pending.Add(from - to)
}

func (b *laneBatch) Failed(i int, err error) {
	b.told.Failed(i, err)
	b.s.conns.mu.Lock()
	defer b.s.conns.mu.Unlock()
	if !b.s.conns.dead {
		b.s.w.t.Errorf("%s: offset %d: %v", b.s.name, b.inputs[i].Offset, err)
	}
	b.s.pending.Done()
}

func (b *laneBatch) Dropped(from, to int) {
	for i := from; i < to; i++ {
		b.Failed(i, txn.ErrClosed)
	}
}

// laneFault is what happens to a lane, by chance.
func laneFault(rng *rand.Rand, s *sidecar) {
	keys := []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID}
	key := keys[rng.IntN(len(keys))]
	switch rng.IntN(4) {
	case 0:
		errs := []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.TransactionAbortable}
		if key == kmsg.EndTxn { // that an end cannot succeed no broker says when it has
			errs = errs[:2]
		}
		s.w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: errs[rng.IntN(len(errs))], Count: 1 + rng.IntN(3)})
	case 1:
		s.conns.loseAnswer(key)
	case 2:
		s.conns.loseRequest(key)
	case 3: // the coordinator times it out
		time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
	}
}

// A lane goes through what a broker and its network do, and dies at any moment; the next life goes
// on from what the group has. The checker sees every transaction that the broker applies.
// ACKMARK_SEED plays one schedule again, ACKMARK_SCHEDULES plays more of them.
func TestLanesUnderFaults(t *testing.T) {
	seeds := []uint64{}
	if seed, err := strconv.ParseUint(os.Getenv("ACKMARK_SEED"), 10, 64); err == nil {
		seeds = append(seeds, seed)
	} else {
		n, _ := strconv.Atoi(os.Getenv("ACKMARK_SCHEDULES"))
		for seed := range uint64(max(n, 10)) {
			seeds = append(seeds, seed)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, verify.CheckerConfig{}, func(w *world) {
				w.watch.cfg.Taker = func(req *kmsg.InitProducerIDRequest) string { return fmt.Sprint(req.TransactionTimeoutMillis) }
				playLanes(w, rand.New(rand.NewPCG(seed, 12)))
				w.watch.Settle()
				if err := w.checker.Finish(); err != nil {
					w.t.Error(err)
				}
			})
		})
	}
}

func playLanes(w *world, rng *rand.Rand) {
	j := newLaneJob(w)
	lives := 1 + rng.IntN(3)
	for life := range lives {
		s := j.live(life)
		last := life == lives-1
		for more := true; more; {
			if !last && rng.IntN(12) == 0 {
				break
			}
			if rng.IntN(3) == 0 {
				laneFault(rng, s)
			}
			more = false
			for p := range int32(4) {
				more = j.push(s, p, 1+rng.IntN(8)) || more
			}
			time.Sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		if !last {
			s.conns.die()
			w.checker.ProcessGone(s.name)
			s.lane.Close()
			continue
		}
		s.pending.Wait()
		s.lane.Close()
	}
}
