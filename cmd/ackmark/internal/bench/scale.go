package bench

import (
	"context"
	"errors"
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
	// Memory is what sidecars held that did nothing else.
	Memory []SidecarMemory `json:"memory"`
	// Speed and CPU are those of one sidecar, as shares of those of own producers. The apps' CPU
	// time counts, too.
	Speed Interval `json:"speed"`
	CPU   Interval `json:"cpu"`
	// The sidecar's memory in bytes: Idle and IdleRSS are what a session needs that has emitted one
	// record, by the runtime's counters (heap and goroutines' stacks after a collection) and by the
	// resident set; Busy is a session's share of the peak. Without what the sidecar needs without
	// sessions.
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

// SidecarMemory is what a sidecar held when a first session had come and gone, and with all
// sessions, each of which had emitted one record.
type SidecarMemory struct {
	Empty Held `json:"empty"`
	Idle  Held `json:"idle"`
}

// Held is memory that a process needs, in bytes: heap and stacks in use, and its resident set; and
// how many threads it has, each with stacks of its own.
type Held struct {
	Live    int64 `json:"live_bytes"`
	RSS     int64 `json:"rss_bytes"`
	Threads int   `json:"threads,omitempty"`
}

// perThread is what the runtime counts as stacks in use of each thread for itself: how many there
// are is no session's doing.
const perThread = 48 << 10

// sessions is what the runtime counts without that.
func (h *Held) sessions() int64 { return h.Live - perThread*int64(h.Threads) }

// scale measures both series, point by point.
func (b *bench) scale(ctx context.Context) error {
	s := &Scale{}
	b.result.Scale = s
	for _, n := range b.opts.Sessions {
		p := &SessionsPoint{Pod: newPod(n)}
		if err := b.podRounds(ctx, p.Pod, b.opts.Pairs); err != nil {
			return err
		}
		for i := range b.opts.Pairs {
			b.progress.say("%d sessions that are idle, round %d of %d", n, i+1, b.opts.Pairs)
			memory, err := b.idleSessions(ctx, n)
			if err != nil {
				return err
			}
			p.Memory = append(p.Memory, memory)
		}
		p.conclude()
		s.Sessions = append(s.Sessions, p)
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

// idleSessions asks a sidecar for the memory that so many sessions need while they do nothing. It
// is no sidecar whose speed is measured: it has given back what it will need.
func (b *bench) idleSessions(ctx context.Context, n int) (m SidecarMemory, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errors.New("the sessions did not begin"))
	defer cancel()
	s := spec{Role: roleEmitter, Brokers: b.brokers, Size: b.opts.Size, Inputs: 1}
	if s.Output, err = b.cluster.createTopic(ctx, "output", b.opts.Partitions); err != nil {
		return m, err
	}
	defer b.cluster.remove(context.WithoutCancel(ctx), "", s.Output)
	server, err := b.startServer(ctx, b.opts, &s, 0)
	if err != nil {
		return m, err
	}
	defer server.kill()
	first, err := b.startEmitters(ctx, s, 1) // what the first one costs is not the others'
	defer killAll(first)
	if err == nil {
		err = stopAll(first, nil)
	}
	if err == nil {
		m.Empty, err = server.held(ctx)
	}
	if err != nil {
		return m, err
	}
	apps, err := b.startEmitters(ctx, s, n)
	defer killAll(apps)
	if err == nil {
		m.Idle, err = server.held(ctx)
	}
	if err == nil {
		err = stopAll(apps, server)
	}
	if err != nil {
		return m, err
	}
	outputs, err := b.cluster.count(ctx, s.Output)
	if err == nil && outputs != n+1 {
		b.result.Wrong = append(b.result.Wrong, fmt.Sprintf("%d sessions that are idle: %d outputs in the topic of %d", n, outputs, n+1))
	}
	return m, err
}

// conclude makes medians of what was measured.
func (p *SessionsPoint) conclude() {
	own, one := p.Modes[0], p.Modes[1]
	p.Speed, p.CPU = interval(pairs(own.walls(), one.walls())), interval(pairs(one.cpus(), own.cpus()))
	p.Idle, p.IdleRSS, p.Busy, p.Peak = known(p.idle()), known(p.idleRSS()), known(p.busy()), known(p.peak())
}

// known is the interval of samples, if there are any.
func known(samples []float64) *Interval {
	if len(samples) == 0 {
		return nil
	}
	iv := interval(samples)
	return &iv
}

// each is a session's share of bytes.
func (p *SessionsPoint) each(bytes int64) float64 { return float64(bytes) / float64(p.Processes) }

func (p *SessionsPoint) idle() (all []float64) {
	for _, m := range p.Memory {
		all = append(all, p.each(m.Idle.sessions()-m.Empty.sessions()))
	}
	return all
}

// idleRSS, busy and peak are empty where the system does not tell what is resident.
func (p *SessionsPoint) idleRSS() (all []float64) {
	for _, m := range p.Memory {
		if m.Empty.RSS > 0 {
			all = append(all, p.each(m.Idle.RSS-m.Empty.RSS))
		}
	}
	return all
}

func (p *SessionsPoint) busy() (all []float64) {
	for i, peak := range p.peak() {
		if i < len(p.Memory) && p.Memory[i].Empty.RSS > 0 {
			all = append(all, p.each(int64(peak)-p.Memory[i].Empty.RSS))
		}
	}
	return all
}

func (p *SessionsPoint) peak() (all []float64) {
	for _, r := range p.Modes[1].Runs {
		if r.Sidecar != nil && r.Sidecar.PeakRSS > 0 {
			all = append(all, float64(r.Sidecar.PeakRSS))
		}
	}
	return all
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
		add(Goal{Name: "G9", What: what + "memory of one that is idle", Unit: " KB", Must: 40, Stretch: 30}, inUnits(p.idle(), 1e3))
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
