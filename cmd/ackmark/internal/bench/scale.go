package bench

import (
	"context"
	"fmt"
)

// Scale is what grows with the sessions of a sidecar, and with partitions.
type Scale struct {
	Sessions   []*SessionsPoint   `json:"sessions,omitempty"`
	Partitions []*PartitionsPoint `json:"partitions,omitempty"`
}

// SessionsPoint is a number of processes that produce as fast as they may, through one sidecar or
// each by a producer of its own.
type SessionsPoint struct {
	*Pod
	// Speed and CPU are those of one sidecar, as shares of those of own producers. The apps' CPU
	// time counts, too.
	Speed Interval `json:"speed"`
	CPU   Interval `json:"cpu"`
	// The sidecar's memory in bytes: Idle and IdleRSS are what a session needs that has emitted one
	// record, by the runtime's counters (heap and stacks after a collection) and by the resident
	// set; Busy is a session's share of the peak. Without what the sidecar needs without sessions.
	// Peak is all of it. Nil where the system does not tell.
	Idle    *Interval `json:"idle_bytes,omitempty"`
	IdleRSS *Interval `json:"idle_rss_bytes,omitempty"`
	Busy    *Interval `json:"busy_bytes,omitempty"`
	Peak    *Interval `json:"peak_rss_bytes,omitempty"`
}

// PartitionsPoint is a number of partitions, of the input and of the output.
type PartitionsPoint struct {
	Partitions  int         `json:"partitions"`
	Contestants Contestants `json:"contestants"`
	Ratios      []Ratio     `json:"ratios"`
}

// Ratio is a contestant against the bare loop.
type Ratio struct {
	Name  string   `json:"name"`
	Speed Interval `json:"speed"`
	CPU   Interval `json:"cpu"`
}

// Held is memory that a process needs, in bytes: heap and stacks in use, and its resident set.
type Held struct {
	Live int64 `json:"live_bytes"`
	RSS  int64 `json:"rss_bytes"`
}

// scale measures both series, point by point.
func (b *bench) scale(ctx context.Context) error {
	s := &Scale{}
	b.result.Scale = s
	for _, n := range b.opts.Sessions {
		pod := newPod(n)
		pod.memory = true
		if err := b.podRounds(ctx, pod, b.opts.Pairs); err != nil {
			return err
		}
		s.Sessions = append(s.Sessions, sessionsPoint(pod))
	}
	for _, n := range b.opts.PartitionCounts {
		var all Contestants
		if err := b.races(ctx, n, []string{bare, library, viaSidecar}, nil, all.add); err != nil {
			return err
		}
		s.Partitions = append(s.Partitions, partitionsPoint(n, all))
	}
	return nil
}

func sessionsPoint(pod *Pod) *SessionsPoint {
	own, one := pod.Modes[0], pod.Modes[1]
	return &SessionsPoint{
		Pod: pod, Speed: interval(pairs(own.walls(), one.walls())), CPU: interval(pairs(one.cpus(), own.cpus())),
		Idle: known(pod.idle()), IdleRSS: known(pod.idleRSS()), Busy: known(pod.busy()), Peak: known(pod.peak()),
	}
}

// known is the interval of samples, if there are any.
func known(samples []float64) *Interval {
	if len(samples) == 0 {
		return nil
	}
	iv := interval(samples)
	return &iv
}

// memorySeries are figures of the runs whose sidecar was asked; of its resident set, where the
// system tells that.
func (p *Pod) memorySeries(resident bool, of func(*PodRun) float64) (all []float64) {
	for i := range p.Modes[1].Runs {
		if r := &p.Modes[1].Runs[i]; r.Empty != nil && r.Idle != nil && (r.Empty.RSS > 0 || !resident) {
			all = append(all, of(r))
		}
	}
	return all
}

// each is a session's share of bytes.
func (p *Pod) each(bytes int64) float64 { return float64(bytes) / float64(p.Processes) }

func (p *Pod) idle() []float64 {
	return p.memorySeries(false, func(r *PodRun) float64 { return p.each(r.Idle.Live - r.Empty.Live) })
}

func (p *Pod) idleRSS() []float64 {
	return p.memorySeries(true, func(r *PodRun) float64 { return p.each(r.Idle.RSS - r.Empty.RSS) })
}

func (p *Pod) busy() []float64 {
	return p.memorySeries(true, func(r *PodRun) float64 { return p.each(r.Sidecar.PeakRSS - r.Empty.RSS) })
}

func (p *Pod) peak() []float64 {
	return p.memorySeries(true, func(r *PodRun) float64 { return float64(r.Sidecar.PeakRSS) })
}

func partitionsPoint(n int, all Contestants) *PartitionsPoint {
	p := &PartitionsPoint{Partitions: n, Contestants: all}
	loop := all.named(bare)
	for _, c := range all {
		if c != loop {
			p.Ratios = append(p.Ratios, Ratio{c.Name, interval(pairs(loop.walls(), c.walls())), interval(pairs(c.cpus(), loop.cpus()))})
		}
	}
	return p
}

const (
	speedSessions  = 10 // from here on speed has goals, as in the part processes
	memorySessions = 50 // memory: with few sessions the room that the collector takes weighs more than they do
)

// scaleGoals are G3 as of the part processes, and G9.
func scaleGoals(s *Scale, add func(Goal, []float64)) {
	if s == nil {
		return
	}
	for _, p := range s.Sessions {
		if p.Processes >= speedSessions {
			podGoals([]*Pod{p.Pod}, add)
		}
		if p.Processes < memorySessions {
			continue
		}
		what := fmt.Sprintf("%d sessions, ", p.Processes)
		add(Goal{Name: "G9", What: what + "memory of one that is idle", Unit: " KB", Must: 40, Stretch: 30}, inUnits(p.idleRSS(), 1e3))
		add(Goal{Name: "G9", What: what + "memory of one that is busy", Unit: " MiB", Must: 2, Stretch: 1.5}, inUnits(p.busy(), 1<<20))
		add(Goal{Name: "G9", What: what + "sidecar's peak resident memory", Unit: " MiB", Must: 150, Stretch: 100}, inUnits(p.peak(), 1<<20))
	}
}

func inUnits(samples []float64, unit float64) (all []float64) {
	for _, v := range samples {
		all = append(all, v/unit)
	}
	return all
}
