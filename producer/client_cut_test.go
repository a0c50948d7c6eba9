package producer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

var errCut = errors.New("cut by the test")

// A stream that is cut at any point loses nothing, reports every unit exactly once and never
// reorders first occurrences of a key, whatever the sidecar had written, reported or forgotten by
// then. SEED=n replays one schedule.
func TestClientCuts(t *testing.T) {
	if s := os.Getenv("SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SEED=%s: %v", s, err)
		}
		synctest.Test(t, func(t *testing.T) { cutSchedule(t, seed) })
		return
	}
	n := uint64(25)
	if testing.Short() {
		n = 8
	}
	base := rand.Uint64() >> 1
	for i := range n {
		seed := base + i
		t.Run(fmt.Sprintf("SEED=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { cutSchedule(t, seed) })
		})
	}
}

// cutter decides, from a seed, what happens to each message.
type cutter struct {
	mu     sync.Mutex
	rng    *rand.Rand
	faults int // left; then the sidecar is healthy
	wg     sync.WaitGroup
}

func (c *cutter) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// fault returns the kind of fault for the next message, 0: none.
func (c *cutter) fault() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults == 0 || c.rng.IntN(3) > 0 {
		return 0
	}
	c.faults--
	return 1 + c.rng.IntN(5)
}

func (c *cutter) units(s *session, u *sidecarpb.Units) error {
	n := len(u.GetUnits())
	switch c.fault() {
	case 0:
		c.healthy(s, u)
	case 1: // nothing of it arrived
		return errCut
	case 2: // some was written, nothing reported
		for _, unit := range u.GetUnits()[:c.roll(n+1)] {
			s.write(unit)
		}
		return errCut
	case 3: // all was written, some reported, in any order
		for _, unit := range u.GetUnits() {
			s.write(unit)
		}
		for _, i := range c.perm(n)[:c.roll(n+1)] {
			s.acked(u.GetFirstSequence()+uint64(i), 1)
		}
		return errCut
	case 4: // reported, and cut a little later
		c.healthy(s, u)
		time.AfterFunc(time.Duration(c.roll(50))*time.Millisecond, func() { s.closing <- errCut })
	case 5: // the process dies and comes back
		if c.roll(2) == 0 {
			c.healthy(s, u)
		}
		c.wg.Go(func() {
			s.stop()
			time.Sleep(time.Duration(c.roll(3000)) * time.Millisecond)
			s.start()
		})
		return errCut
	}
	return nil
}

func (c *cutter) perm(n int) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Perm(n)
}

// healthy writes in order and reports in pieces, in any order, now or later.
func (c *cutter) healthy(s *session, u *sidecarpb.Units) {
	n := len(u.GetUnits())
	for _, unit := range u.GetUnits() {
		s.write(unit)
	}
	var pieces []*sidecarpb.Range
	for i := 0; i < n; {
		k := min(n-i, 1+c.roll(20))
		pieces = append(pieces, &sidecarpb.Range{First: u.GetFirstSequence() + uint64(i), Count: uint64(k)})
		i += k
	}
	for _, i := range c.perm(len(pieces)) {
		later := time.Duration(max(0, c.roll(40)-20)) * time.Millisecond
		if later == 0 {
			s.acked(pieces[i].First, pieces[i].Count)
			continue
		}
		time.AfterFunc(later, func() { s.acked(pieces[i].First, pieces[i].Count) })
	}
	if c.roll(4) == 0 {
		s.setCredit(uint64(200+c.roll(20_000)), uint64(1+c.roll(600)))
	}
}

func cutSchedule(t *testing.T, seed uint64) {
	c := &cutter{rng: rand.New(rand.NewPCG(seed, 1)), faults: 12}
	x := newScript(t)
	x.credit = &sidecarpb.Credit{Bytes: uint64(200 + c.roll(60_000)), Records: uint64(1 + c.roll(2000))}
	x.units = c.units
	x.start()
	defer func() { c.wg.Wait(); x.stop() }()
	cfg := x.config()
	cfg.MaxFrameBytes = 100 + c.roll(5000)
	p := cfg.New()

	const goroutines, keys, calls = 3, 4, 25
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // of the bubble's time
	defer cancel()
	var wg sync.WaitGroup
	var sent [goroutines][keys]int
	for g := range goroutines {
		wg.Go(func() {
			var list []*producertest.Recorder
			for range calls {
				units := make([]producer.Unit, c.roll(60))
				for i := range units {
					for range c.roll(3) { // none, one or two outputs
						k := c.roll(keys)
						units[i].Outputs = append(units[i].Outputs, producer.Record{Topic: "t" + strconv.Itoa(k),
							Key: fmt.Appendf(nil, "g%d-k%d", g, k), Value: strconv.AppendInt(nil, int64(sent[g][k]), 10)})
						sent[g][k]++
					}
				}
				r := producertest.NewRecorder(len(units))
				if err := p.Deliver(ctx, units, r); err != nil {
					t.Errorf("Deliver: %v", err)
					return
				}
				list = append(list, r)
				if c.roll(3) == 0 {
					time.Sleep(time.Duration(c.roll(200)) * time.Millisecond)
				}
			}
			for _, r := range list {
				if err := r.Wait(ctx); err != nil {
					t.Errorf("%v (S12)", err)
				}
				for i, f := range r.Fates() {
					if f.Err != nil {
						t.Errorf("unit %d failed: %v", i, f.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for k := range keys {
		seen := map[string]int{} // by key: the next first occurrence
		for _, r := range x.records("t" + strconv.Itoa(k)) {
			v, _ := strconv.Atoi(string(r.Value))
			if v > seen[string(r.Key)] {
				t.Fatalf("key %s: %d came before %d (S7)", r.Key, v, seen[string(r.Key)])
			}
			if v == seen[string(r.Key)] {
				seen[string(r.Key)]++
			}
		}
		for g := range goroutines {
			if key := fmt.Sprintf("g%d-k%d", g, k); seen[key] != sent[g][k] {
				t.Errorf("key %s: %d of %d outputs are in the log", key, seen[key], sent[g][k])
			}
		}
	}
}
