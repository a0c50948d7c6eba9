package demo

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// side is one of the two: its processes and what is known about them.
type side struct {
	title         string
	group, output string
	apps          []*process // killed by the schedule
	sidecar       *process   // nil on the auto-commit side
	stalls        *stalls
	lag           atomic.Int64

	mu        sync.Mutex
	seen      *checker // by the tailing reader
	kills     int
	heldAt    []int64 // inputs that the victims held at each kill
	peakConns int64
	peakProd  int64 // connections of producers
}

func (s *side) all() []*process {
	if s.sidecar == nil {
		return s.apps
	}
	return append([]*process{s.sidecar}, s.apps...)
}

func (s *side) observe(r *kgo.Record, now time.Time) {
	s.mu.Lock()
	first := s.seen.observe(r)
	s.mu.Unlock()
	if first {
		s.stalls.output(r.Partition, now)
	}
}

// kill kills the process with this index, or the next one that runs.
func (s *side) kill(victim int) {
	for i := range s.apps {
		if held, ok := s.apps[(victim+i)%len(s.apps)].kill(); ok {
			s.mu.Lock()
			s.kills++
			s.heldAt = append(s.heldAt, held)
			s.mu.Unlock()
			return
		}
	}
}

// sideView is a side at one moment.
type sideView struct {
	counts
	InFlight, Lag, Connections int64
	Producing                  int64 // of the connections
	Kills                      int
	Processes                  []processView
}

type processView struct {
	Name    string
	Running bool
}

func (s *side) view() sideView {
	var v sideView
	for _, p := range s.all() {
		stats, running, _ := p.snapshot()
		v.Connections += stats.Connections
		v.Producing += stats.Producing
		v.InFlight += stats.InFlight
		v.Processes = append(v.Processes, processView{p.spec.Name, running})
	}
	v.Lag = s.lag.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peakConns, s.peakProd = max(s.peakConns, v.Connections), max(s.peakProd, v.Producing)
	v.counts, v.Kills = s.seen.counts(), s.kills
	return v
}
