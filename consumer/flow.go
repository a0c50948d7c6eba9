package consumer

// The memory budget is shared like a switch shares its buffer (Choudhury and Hahne, dynamic queue thresholds): half of it is divided among
// the partitions held and never taken from them; of the other half a partition may use three quarters of what the others left.
// So a stalled partition cannot starve the rest, and a single busy one gets most of the budget. In parts of the whole, which is 1:
//
//	share = 1/2 ÷ partitions;  extra = the sum of what others use beyond their share
//	a partition is paused at    share + 3/4 × (1/2 − extra)
//	and resumed at half of that.
//
// One that is not paused uses less than its limit, so the sum of all stays below 1 between polls; one poll can come on top.
const (
	sharedPart = 0.5
	greed      = 0.75
)

// balanceFlow pauses what is above its limit and resumes what fell to half of it. It runs after every poll, and when a paused partition gave
// memory back.
func (c *Consumer) balanceFlow() {
	c.flowMu.Lock()
	defer c.flowMu.Unlock()
	parts := c.held()
	if len(parts) == 0 {
		return
	}
	share := (1 - sharedPart) / float64(len(parts))
	used := make([]float64, len(parts))
	total := 0.0
	for i, p := range parts {
		used[i] = c.use(p)
		total += max(0, used[i]-share)
	}
	pause, resume := map[string][]int32{}, map[string][]int32{}
	for i, p := range parts {
		others := total - max(0, used[i]-share)
		limit := share + greed*max(0, sharedPart-others)
		a := p.assignment
		switch c.decide(p, used[i], limit) {
		case flowPause:
			pause[a.Topic] = append(pause[a.Topic], a.Partition)
		case flowResume:
			resume[a.Topic] = append(resume[a.Topic], a.Partition)
		}
	}
	cl := c.client.Load()
	if len(pause) > 0 {
		cl.PauseFetchPartitions(pause)
	}
	if len(resume) > 0 {
		cl.ResumeFetchPartitions(resume)
	}
}

type flowChange int

const (
	flowKeep flowChange = iota
	flowPause
	flowResume
)

// use is the part of the budget that a partition takes: of bytes or records, whichever is more.
func (c *Consumer) use(p *partition) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(float64(p.bytes)/float64(c.cfg.MaxBytes), float64(p.records)/float64(c.cfg.MaxRecords))
}

// decide also holds the window between the mark and the newest input to MaxRecords: one input that is never done may not
// let the tracker and the commit distance grow for ever, however little memory the others take.
func (c *Consumer) decide(p *partition, used, limit float64) flowChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	window := float64(p.fetched-int64(p.tracker.MarkIndex())) / float64(c.cfg.MaxRecords)
	switch {
	case p.fenced || p.draining:
		return flowKeep
	case p.halted != nil:
		if p.paused {
			return flowKeep
		}
		p.paused = true
		return flowPause
	case !p.paused && (used >= limit || window >= 1):
		p.paused = true
		return flowPause
	case p.paused && used <= limit/2 && window <= 0.5:
		p.paused = false
		return flowResume
	}
	return flowKeep
}
