package consumer

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// firstOpen hands everything out but ends only what comes after the first input.
type firstOpen struct {
	mu    sync.Mutex
	first *Message
	n     int
}

func (f *firstOpen) deliver(b *Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range b.Messages {
		m := &b.Messages[i]
		if !m.Start() {
			continue
		}
		f.n++
		if f.first == nil {
			f.first = m
			continue
		}
		m.Done(nil)
	}
}

func (f *firstOpen) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (l *lab) feedMany(n int) {
	for range n / 5000 {
		l.feed(0, 5000)
	}
}

// Nothing is handed out that a done-set could not describe; it goes on as soon as the mark moves,
// although nothing else is fetched.
func TestNoMoreThanADoneSetSays(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		const all = 60_000
		l.feedMany(all)
		cfg := l.config()
		cfg.HandlerTimeout = -1
		var f firstOpen
		m := l.start(cfg, f.deliver)
		l.until("paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Paused
		})
		time.Sleep(10 * time.Minute)
		p := m.State().Partitions[0]
		if f.count() != donemeta.MaxSpan || p.HandedOut != donemeta.MaxSpan || p.Parked == 0 || p.Parked > 2*m.reader.maxPoll {
			t.Errorf("handed out %d, parked %d", f.count(), p.Parked)
		}
		if text, offset, _ := l.metadata(0); offset != 0 || !donemeta.Ours(text) {
			t.Errorf("committed %d with %q", offset, text)
		}
		if use, want := m.reader.use(m.parts.all()[0]), float64(p.Parked)/float64(m.cfg.MaxRecords); use < want {
			t.Errorf("parked records are not counted: %.3f of the budget, want %.3f", use, want)
		}
		begun := time.Now()
		f.first.Done(nil)
		l.untilCommitted(0, all)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("going on took %s", took)
		}
		wantNil(t, m.stop())
		if f.count() != all {
			t.Errorf("handed out %d", f.count())
		}
	})
}

// The worst case is handed over whole: half a window done, every other one.
func TestTheLargestDoneSetIsHandedOver(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		const all = 30_000
		l.feedMany(all)
		s := newSome(odd)
		a := l.start(l.config(), s.deliver)
		l.until("as much as may be", func() bool { return s.count() == donemeta.MaxSpan })
		time.Sleep(5 * time.Second)
		_ = a.stop()
		next := newSome(func(*Message) bool { return true })
		b := l.start(l.config(), next.deliver)
		l.untilCommitted(0, all)
		if p := b.State().Partitions[0]; p.Inherited != donemeta.MaxSpan/2 || next.count() != all-donemeta.MaxSpan/2 {
			t.Errorf("inherited %d, handed out %d", p.Inherited, next.count())
		}
		wantNil(t, b.stop())
	})
}

// The mark moves while the records behind it are being parked, before the next poll: nothing else
// would wake that.
func TestTheMarkMovesWhileParking(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		const last = 100
		l.feedMany(20_000)
		l.feed(0, donemeta.MaxSpan-20_000-last/2)
		var mu sync.Mutex
		var held []*Message
		m := l.start(l.config(), func(b *Batch) {
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Messages {
				if in := &b.Messages[i]; in.Start() {
					held = append(held, in)
				}
			}
			if len(held) >= donemeta.MaxSpan {
				DoneAll(held)
			}
		})
		l.until("held", func() bool { mu.Lock(); defer mu.Unlock(); return len(held) == donemeta.MaxSpan-last/2 })
		time.Sleep(time.Second)
		l.feed(0, last) // one fetch: half of it fits
		l.untilCommitted(0, donemeta.MaxSpan+last/2)
		wantNil(t, m.stop())
	})
}

// A window that moves fast enough is waited for: a pause would cost what the client has buffered.
func TestFullSpeedDoesNotPauseForTheDoneSet(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		const all = 100_000
		l.feedMany(all)
		m := l.start(l.config(), func(b *Batch) {
			for i := range b.Messages {
				b.Messages[i].Start()
			}
			time.AfterFunc(20*time.Millisecond, b.DoneAll)
		})
		l.until("all is done", func() bool {
			done := int64(0)
			for _, p := range m.State().Partitions {
				if p.Paused {
					t.Fatal("a partition was paused")
				}
				done += p.Done
			}
			return done == all
		})
		wantNil(t, m.stop())
	})
}

// A halted partition lets go of what it parked.
func TestHaltWithParkedRecords(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feedMany(30_000)
		var f firstOpen
		m := l.start(l.config(), f.deliver)
		l.until("parked", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Parked > 0
		})
		f.first.Done(errors.New("poison"))
		if p := m.State().Partitions[0]; p.Parked != 0 || p.Halted == nil {
			t.Errorf("%d parked, %v", p.Parked, p.Halted)
		}
		wantNil(t, m.stop())
	})
}

// assignmentOf makes an assignment of a partition with these records, and every other one of what
// it hands out done. It returns what the next commit says.
func assignmentOf(t *testing.T, c *Consumer, inherited []donemeta.Run, recs []*kgo.Record) (p *partition, runs []donemeta.Run) {
	t.Helper()
	p = newPartition(c.around, &Assignment{Topic: topic, TopicID: [16]byte{9}}, 0)
	p.core.Inherit(inherited, "", -1)
	r, err := p.add(&kgo.FetchPartition{Records: recs}, 0)
	wantNil(t, err)
	for i := range r.Messages {
		if i%2 == 1 {
			r.Messages[i].Done(nil)
		}
	}
	runs, err = donemeta.Parse(p.core.Progress(true).DoneSet, donemeta.Binding{TopicID: [16]byte{9}, LeaderEpoch: -1}, nil)
	wantNil(t, err)
	if _, want := p.core.Standing(); !slices.Equal(runs, want) {
		t.Errorf("%d handed out, %d inherited: the set has %d runs of %d", p.core.Counts().Read, len(inherited), len(runs), len(want))
	}
	return p, runs
}

// The worst order at every density; and the next assignment takes up all of it at once, not one
// after the other.
func TestAlternatingFitsAtEveryDensity(t *testing.T) {
	cfg := minimal()
	cfg.MaxRecords = 1 << 17
	c, err := New(cfg)
	wantNil(t, err)
	for _, step := range []int64{1, 2, 7, 20, 60, 64, 150, 200, 1000, 10_000, 1 << 20, 1 << 30, 1 << 45} {
		recs := make([]*kgo.Record, 40_000)
		for i := range recs {
			recs[i] = &kgo.Record{Topic: topic, Offset: int64(i) * step}
		}
		first, runs := assignmentOf(t, c, nil, recs)
		at := first.core.Counts().Read
		if at < 300 {
			t.Errorf("step %d: only %d handed out", step, at)
		}
		second, _ := assignmentOf(t, c, runs, recs)
		then := second.core.Counts().Read
		if then < at/2 {
			t.Errorf("step %d: %d handed out, but only %d of the %d left to the next assignment", step, at, then, at-at/2)
		}
		t.Logf("step %d: %d handed out, then %d", step, at, then)
	}
}

// What is inherited far above takes room from what lies below it.
func TestInheritedFarAboveIsCounted(t *testing.T) {
	cfg := minimal()
	cfg.MaxRecords = 1 << 17
	c, err := New(cfg)
	wantNil(t, err)
	var far []donemeta.Run
	for i := range int64(480) {
		far = append(far, donemeta.Run{First: 1<<23 + 2000*i, Last: 1<<23 + 2000*i})
	}
	for _, step := range []int64{1, 200} {
		recs := make([]*kgo.Record, 20_000)
		for i := range recs {
			recs[i] = &kgo.Record{Topic: topic, Offset: int64(i) * step}
		}
		p, _ := assignmentOf(t, c, far, recs)
		if n := p.core.Counts().Read; n < 100 || p.readTo() <= p.core.Next() {
			t.Errorf("step %d: %d handed out, %d parked", step, n, len(p.parked.recs))
		}
	}
}

// Revoked, lost and stopped while records are parked: they were never handed out, and nobody waits
// for them.
func TestLeavingWithParkedRecords(t *testing.T) {
	for name, leave := range map[string]func(m *member) error{
		"shutdown": func(m *member) error { return m.stop() },
		"fenced":   func(m *member) error { m.Fence(nil); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				const all = 30_000
				l.feedMany(all)
				cfg := l.config()
				cfg.HandlerTimeout = -1
				var f firstOpen
				m := l.start(cfg, f.deliver)
				l.until("parked", func() bool {
					s := m.State()
					return len(s.Partitions) == 1 && s.Partitions[0].Parked > 0 && f.count() == donemeta.MaxSpan
				})
				time.Sleep(3 * time.Second)
				err := leave(m)
				if name == "shutdown" {
					if e := wantAs[*AbandonedError](t, err); e.Partitions[0].Count != 1 {
						t.Errorf("abandoned %+v", e)
					}
					var s seen
					m = l.start(l.config(), s.deliver)
					defer func() {
						if len(s.done[0]) != all-donemeta.MaxSpan+1 {
							t.Errorf("the successor did %d", len(s.done[0]))
						}
					}()
				}
				l.untilCommitted(0, all)
				wantNil(t, m.stop())
			})
		})
	}
}

// A rebalance goes through while records are parked, and the others are not disturbed.
func TestRevokeWithParkedRecords(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		l.feedMany(30_000)
		cfg := l.config()
		cfg.HandlerTimeout = -1
		var f firstOpen
		a := l.start(cfg, func(b *Batch) {
			if b.Partition == 0 {
				f.deliver(b)
			} else {
				doAll(b)
			}
		})
		l.until("parked", func() bool {
			s := a.State()
			return len(s.Partitions) == 6 && s.Partitions[0].Parked > 0
		})
		b := l.start(l.config(), nil)
		l.untilSpread(a, b)
		for p := range int32(5) {
			l.feed(p+1, 100)
			l.untilCommitted(p+1, 100)
		}
		f.first.Done(nil)
		_ = a.stop()
		l.untilCommitted(0, 30_000)
		wantNil(t, b.stop())
	})
}

// Whatever the offsets are, and in whatever order inputs end, over any number of assignments: the
// set is written whole, nothing is stuck, everything is handed out once.
func TestParkedNeverTooMuchNeverStuck(t *testing.T) {
	cfg := minimal()
	cfg.MaxRecords = 1 << 17
	c, err := New(cfg)
	wantNil(t, err)
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var offsets []int64
		next := int64(0)
		step := rapid.SampledFrom([]int64{1, 3, 100, 2000, 1 << 20, 1 << 40}).Draw(t, "step")
		for range rapid.IntRange(1, 5000).Draw(t, "inputs") {
			offsets = append(offsets, next)
			next += 1 + rng.Int64N(step)
		}
		done := map[int64]bool{}
		b := donemeta.Binding{TopicID: [16]byte{9}, LeaderEpoch: -1}
		text := ""
		for turn := 0; ; turn++ {
			p := newPartition(c.around, &Assignment{Topic: topic, TopicID: b.TopicID, Start: b.Base}, b.Base)
			p.inherit(found{b.Base, b.LeaderEpoch, text, nil})
			at, _ := slices.BinarySearch(offsets, b.Base)
			var open []*Message
			hand := func(r *run) {
				if r == nil {
					return
				}
				for i := range r.Messages {
					m := &r.Messages[i]
					if done[m.Offset] {
						t.Fatalf("%d is handed out again", m.Offset)
					}
					open = append(open, m)
				}
			}
			finish := turn == 5
			order := rapid.IntRange(0, 2).Draw(t, "order")
			for steps := 0; (finish || steps < 30) && (at < len(offsets) || len(p.parked.recs) > 0 || finish && len(open) > 0); steps++ {
				if at < len(offsets) && len(p.parked.recs) == 0 {
					n := min(1+rng.IntN(3000), len(offsets)-at)
					r, err := p.add(&kgo.FetchPartition{Records: records(offsets[at : at+n]...)}, 0)
					if err != nil {
						t.Fatal(err)
					}
					at += n
					hand(r)
				}
				if len(p.parked.recs) > 0 && len(open) == 0 && !p.ready() {
					t.Fatalf("stuck at %d with %d parked", p.core.Mark(), len(p.parked.recs))
				}
				left := open[:0]
				for i, m := range open {
					if order == 0 && i%2 == 1 || order == 1 && rng.IntN(4) == 0 || order == 2 && i < len(open)/2 || finish && i == 0 {
						done[m.Offset] = true
						m.Done(nil)
					} else {
						left = append(left, m)
					}
				}
				open = left
				hand(p.unpark(0))
				now := p.core.Progress(true)
				mark := now.Offset
				text, b.Base, b.LeaderEpoch = now.DoneSet, mark, now.LeaderEpoch
				runs, err := donemeta.Parse(text, b, nil)
				if err != nil {
					t.Fatal(err)
				}
				i := 0
				for _, o := range offsets {
					for i < len(runs) && runs[i].Last < o {
						i++
					}
					in := i < len(runs) && runs[i].First <= o
					if o >= mark && in != done[o] || o < mark && !done[o] {
						t.Fatalf("offset %d: done %v, in the set %v, mark %d", o, done[o], in, mark)
					}
				}
			}
			if finish {
				break
			}
		}
		if len(done) != len(offsets) {
			t.Fatalf("done %d of %d", len(done), len(offsets))
		}
	})
}
