package consumer

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// judge checks every commit that the broker gets: never beyond the first input not done (S1), never
// back within a member's generation (S3), never without one.
type judge struct {
	mu      sync.Mutex
	t       *testing.T
	done    map[int32]map[int64]bool
	first   map[int32]int64 // first not done
	commits map[string]int64
	seen    int
}

func (j *judge) didOne(partition int32, offset int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done[partition] == nil {
		j.done[partition] = map[int64]bool{}
	}
	j.done[partition][offset] = true
	for j.done[partition][j.first[partition]] {
		j.first[partition]++
	}
}

func (j *judge) look(r kmsg.Request) bool {
	req, ok := r.(*kmsg.OffsetCommitRequest)
	if !ok {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen++
	if req.Generation < 0 || req.MemberID == "" {
		j.t.Errorf("a commit of generation %d by %q", req.Generation, req.MemberID)
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if p.Offset > j.first[p.Partition] {
				j.t.Errorf("S1: partition %d committed at %d, first not done is %d", p.Partition, p.Offset, j.first[p.Partition])
			}
			key := fmt.Sprintf("%d/%s/%d", p.Partition, req.MemberID, req.Generation)
			if before, ok := j.commits[key]; ok && p.Offset < before {
				j.t.Errorf("S3: partition %d went back from %d to %d", p.Partition, before, p.Offset)
			}
			j.commits[key] = p.Offset
		}
	}
	return false
}

// Members join and leave every half second for two minutes, handlers finish late and in any order
// (fault 20).
func TestRebalanceStorm(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	inLab(t, 6, func(t *testing.T, l *lab) {
		rng := rand.New(rand.NewPCG(seed, 0))
		j := &judge{t: t, done: map[int32]map[int64]bool{}, first: map[int32]int64{}, commits: map[string]int64{}}
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1, When: j.look})
		var handlers sync.WaitGroup
		var rngMu sync.Mutex
		deliver := func(b *Batch) {
			for i := range b.Messages {
				m := &b.Messages[i]
				if !m.Start() {
					continue
				}
				rngMu.Lock()
				work := time.Duration(rng.IntN(300)) * time.Millisecond
				rngMu.Unlock()
				handlers.Go(func() {
					time.Sleep(work)
					j.didOne(m.Partition, m.Offset)
					m.Done(nil)
				})
			}
		}
		members := []*member{l.start(l.config(), deliver)}
		fed := 0
		for range 240 {
			time.Sleep(500 * time.Millisecond)
			for p := range int32(6) {
				l.feed(p, 5)
			}
			fed += 5
			rngMu.Lock()
			dice, victim := rng.IntN(2), rng.IntN(len(members))
			rngMu.Unlock()
			if len(members) < 2 || dice == 0 && len(members) < 5 {
				members = append(members, l.start(l.config(), deliver))
				continue
			}
			m := members[victim]
			members = append(members[:victim], members[victim+1:]...)
			m.cancel()
		}
		for p := range int32(6) {
			l.untilCommitted(p, int64(fed))
		}
		for _, m := range l.members {
			wantNil(t, m.stop())
		}
		handlers.Wait()
		t.Logf("%d commits seen", j.seen)
	})
}
