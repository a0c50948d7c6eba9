package bench

import (
	"fmt"
	"time"
)

// Usage is what a process used between two moments.
type Usage struct {
	// CPU is user and system time.
	CPU time.Duration `json:"cpu_ns"`
	// Mallocs and AllocBytes are heap allocations.
	Mallocs    uint64 `json:"mallocs"`
	AllocBytes uint64 `json:"alloc_bytes"`
	GCs        uint32 `json:"gcs"`
	// ProduceRequests were written to brokers.
	ProduceRequests int64 `json:"produce_requests"`
	// Requests of all kinds to brokers that were answered; of them Transactions ended one.
	Requests     int64 `json:"requests"`
	Transactions int64 `json:"transactions"`
	// Connections to brokers, at most at the same time; PeakRSS in bytes. Both since the process
	// began.
	Connections int64 `json:"connections"`
	PeakRSS     int64 `json:"peak_rss_bytes"`
}

// Since is the usage between an earlier moment and this one.
func (u Usage) Since(start Usage) Usage {
	u.CPU -= start.CPU
	u.Mallocs -= start.Mallocs
	u.AllocBytes -= start.AllocBytes
	u.GCs -= start.GCs
	u.ProduceRequests -= start.ProduceRequests
	u.Requests -= start.Requests
	u.Transactions -= start.Transactions
	return u
}

// add makes a sum over processes of it.
func (u *Usage) add(v Usage) {
	u.CPU += v.CPU
	u.Mallocs += v.Mallocs
	u.AllocBytes += v.AllocBytes
	u.GCs += v.GCs
	u.ProduceRequests += v.ProduceRequests
	u.Requests += v.Requests
	u.Transactions += v.Transactions
	u.Connections += v.Connections
	u.PeakRSS += v.PeakRSS
}

// Race is one run of one contestant.
type Race struct {
	Round int `json:"round"`
	// Wall is the time from the group's assignment to the commit of the last input.
	Wall time.Duration `json:"wall_ns"`
	App  Usage         `json:"app"`
	// Sidecar is nil where there is none.
	Sidecar *Usage `json:"sidecar,omitempty"`
	Inputs  int    `json:"inputs"`
	Outputs int    `json:"outputs"`
	// BrokerCPU is that of the brokers whose processes are ours, their reading back by nobody else
	// included.
	BrokerCPU time.Duration `json:"broker_cpu_ns,omitempty"`
	// HandlerMallocs are the handler's own allocations for each record.
	HandlerMallocs float64 `json:"handler_mallocs_per_record"`
	// Scrapes of the app's metrics, of a contestant that is scraped.
	Scrapes int `json:"scrapes,omitempty"`
	// Committed is the sum of committed offsets over the partitions.
	Committed int `json:"committed"`
}

func (r *Race) cpu() time.Duration {
	if r.Sidecar != nil {
		return r.App.CPU + r.Sidecar.CPU
	}
	return r.App.CPU
}

// Contestant is everything measured of one way to do the job.
type Contestant struct {
	Name string `json:"name"`
	Runs []Race `json:"runs"`
}

func (c *Contestant) series(of func(*Race) float64) []float64 {
	var all []float64
	for i := range c.Runs {
		all = append(all, of(&c.Runs[i]))
	}
	return all
}

func (c *Contestant) walls() []float64 {
	return c.series(func(r *Race) float64 { return r.Wall.Seconds() })
}

func (c *Contestant) cpus() []float64 {
	return c.series(func(r *Race) float64 { return r.cpu().Seconds() })
}

func (c *Contestant) sidecarCPUs() (all []float64) {
	for i := range c.Runs {
		if s := c.Runs[i].Sidecar; s != nil {
			all = append(all, s.CPU.Seconds())
		}
	}
	return all
}

// each is the CPU time of a record, in nanoseconds.
func (c *Contestant) each() []float64 {
	return c.series(func(r *Race) float64 { return float64(r.cpu()) / float64(r.Inputs) })
}

// allocs are the allocations of the app for each record, without the handler's.
func (c *Contestant) allocs() []float64 {
	return c.series(func(r *Race) float64 { return float64(r.App.Mallocs)/float64(r.Inputs) - r.HandlerMallocs })
}

func (c *Contestant) sidecarAllocs() []float64 {
	var all []float64
	for i := range c.Runs {
		if s := c.Runs[i].Sidecar; s != nil {
			all = append(all, float64(s.Mallocs)/float64(c.Runs[i].Inputs))
		}
	}
	return all
}

// allAllocs are the allocations of all its processes for each record.
func (c *Contestant) allAllocs() []float64 {
	return c.series(func(r *Race) float64 {
		all := r.App.Mallocs
		if r.Sidecar != nil {
			all += r.Sidecar.Mallocs
		}
		return float64(all) / float64(r.Inputs)
	})
}

// Latency is the paced load: each contestant's end-to-end medians by slice, in milliseconds.
type Latency struct {
	RatePerSecond int           `json:"rate_per_second"`
	Paths         []LatencyPath `json:"paths"`
	// Added is the sidecar's median less the bare loop's, slice by slice.
	Added          []float64 `json:"added_ms"`
	Lost, Repeated int
}

// LatencyPath is one way from the generator to the reader.
type LatencyPath struct {
	Name string `json:"name"`
	// Medians has one entry for each slice.
	Medians []float64 `json:"medians_ms"`
	// P50, P90 and P99 are over all slices, in milliseconds.
	P50, P90, P99 float64
	Sent, Seen    int
}

// Memory is the run with a handler that stalls.
type Memory struct {
	// Limit is GOMEMLIMIT of the process, Budget the consumer's share of it by default.
	Limit   int64 `json:"limit_bytes"`
	Budget  int64 `json:"budget_bytes"`
	Backlog int64 `json:"backlog_records"`
	// HeldRecords and HeldBytes are what the consumer held during the stall, as its budget counts
	// them.
	HeldRecords int64 `json:"held_records"`
	HeldBytes   int64 `json:"held_bytes"`
	PeakRSS     int64 `json:"peak_rss_bytes"`
	PeakHeap    int64 `json:"peak_heap_bytes"`
	// After is how many inputs were done within a second of the stall's end.
	After int64         `json:"done_after_the_stall"`
	Stall time.Duration `json:"stall_ns"`
}

// Result of a bench.
type Result struct {
	Broker      string        `json:"broker"`
	Go          string        `json:"go"`
	CPUs        int           `json:"cpus"`
	Records     int           `json:"records"`
	Size        int           `json:"size"`
	Partitions  int           `json:"partitions"`
	Took        time.Duration `json:"took_ns"`
	Contestants Contestants   `json:"contestants"`
	Latency     *Latency      `json:"latency,omitempty"`
	Memory      *Memory       `json:"memory,omitempty"`
	Pods        []*Pod        `json:"pods,omitempty"`
	Scale       *Scale        `json:"scale,omitempty"`
	Session     []*Session    `json:"session,omitempty"`
	Unread      []Unread      `json:"unread,omitempty"`
	Sliced      []*Sliced     `json:"slices,omitempty"`
	Goals       []Goal        `json:"goals"`
	// Wrong are counts that do not add up. Any makes the exit code 1.
	Wrong []string `json:"wrong"`
}

// Contestants are all that ran on one load.
type Contestants []*Contestant

// named returns an empty one where it did not run.
func (all Contestants) named(name string) *Contestant {
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	return &Contestant{Name: name}
}

func (all *Contestants) add(name string, run Race) {
	c := all.named(name)
	if len(c.Runs) == 0 {
		*all = append(*all, c)
	}
	c.Runs = append(c.Runs, run)
}

func (r *Result) contestant(name string) *Contestant { return r.Contestants.named(name) }

func (r *Result) add(name string, run Race) { r.Contestants.add(name, run) }

// err is ErrWrong where a count does not add up.
func (r *Result) err() error {
	if n := len(r.Wrong); n > 0 {
		return fmt.Errorf("%w: %d, see above", ErrWrong, n)
	}
	return nil
}
