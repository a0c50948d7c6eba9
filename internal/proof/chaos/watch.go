package chaos

import (
	"slices"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// watch samples what no reader of the end result would see: commits that came before their outputs,
// memory, takeovers.
type watch struct {
	s *stage

	mu        sync.Mutex
	checked   map[int32]int64 // by input partition: commits up to here were found in order
	commits   int
	premature int
	peaks     map[string]int64 // by role: resident bytes of a process
	pending   []takeover
	took      []time.Duration
	samples   []sample
}

// takeover is a partition whose process was killed.
type takeover struct {
	partition int32
	from      string
	at        time.Time
}

// sample is one look at the processes in a long run.
type sample struct {
	at            time.Duration
	apps, sidecar memory // of all apps
	goroutines    int
}

// memory is what processes have resident, and what of it is live by their last collection.
type memory struct{ resident, live int64 }

func (m *memory) add(resident, live int64) { m.resident, m.live = m.resident+resident, m.live+live }

func newWatch(s *stage) *watch {
	return &watch{s: s, checked: map[int32]int64{}, peaks: map[string]int64{}}
}

func (w *watch) run() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for n := 0; ; n++ {
		select {
		case <-w.s.ctx.Done():
			return
		case <-tick.C:
		}
		w.takeovers()
		if n%5 == 0 {
			w.memory(time.Since(begun))
			w.commit()
		}
	}
}

// commit reads the group's offsets, waits until everything that is in the output by then was read,
// and looks for inputs below the offsets that have no output: a commit that came before its output
// was in the log.
func (w *watch) commit() {
	s := w.s
	have, err := s.admin.FetchOffsets(s.ctx, s.name)
	if err != nil {
		return // brokers are broken on purpose
	}
	ends := map[string]map[int32]int64{}
	for _, topic := range []string{s.input, s.output, s.dead} {
		list, err := s.admin.ListEndOffsets(s.ctx, topic)
		if err != nil || list.Error() != nil {
			return
		}
		ends[topic] = map[int32]int64{}
		for _, o := range list[topic] {
			ends[topic][o.Partition] = o.Offset
		}
	}
	limit := time.Now().Add(10 * time.Second)
	for topic, list := range ends {
		for !s.tail.reached(topic, list) {
			if s.ctx.Err() != nil || time.Now().After(limit) {
				return
			}
			s.sleep(10 * time.Millisecond)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range have[s.input] {
		from := w.checked[o.Partition]
		if o.At <= from {
			continue
		}
		w.commits++
		w.premature += s.tail.missing(o.Partition, from, o.At)
		w.checked[o.Partition] = o.At
	}
}

// reset forgets commits, before an operator moves them.
func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked = map[int32]int64{}
}

// killed begins the wait for others to handle the partitions of a process.
func (w *watch) killed(name string) {
	owners := w.s.tail.owners()
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, who := range owners {
		if who == name {
			w.pending = append(w.pending, takeover{p, name, time.Now()})
		}
	}
}

func (w *watch) takeovers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = slices.DeleteFunc(w.pending, func(t takeover) bool {
		at, taken := w.s.tail.takenOver(t.partition, t.from)
		if taken && at.After(t.at) {
			w.took = append(w.took, at.Sub(t.at))
		}
		return taken
	})
}

// memory looks at what the processes hold.
func (w *watch) memory(at time.Duration) {
	procs := w.s.procs.all()
	w.mu.Lock()
	defer w.mu.Unlock()
	now := sample{at: at}
	for name, p := range procs {
		resident, err := childproc.Resident(p.Pid())
		if err != nil || resident == 0 {
			continue // it is gone
		}
		role, sum := "app", &now.apps
		if isSidecar(name) {
			role, sum = "sidecar", &now.sidecar
		}
		v := p.vitals()
		w.peaks[role] = max(w.peaks[role], resident)
		sum.add(resident, v.Live)
		now.goroutines += v.Goroutines
	}
	w.samples = append(w.samples, now)
}

// fill puts what was seen into a result.
func (w *watch) fill(r *Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Commits, r.Premature = w.commits, w.premature
	r.PeakApp, r.PeakSidecar = w.peaks["app"], w.peaks["sidecar"]
	r.Takeovers = slices.Sorted(slices.Values(w.took))
	r.samples = slices.Clone(w.samples)
}
