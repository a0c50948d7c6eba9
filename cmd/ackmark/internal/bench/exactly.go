package bench

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// once is in the names of contestants whose sidecar commits in transactions; the interval follows.
const once = "-exactly-once-"

// Commit intervals that are measured: the default first.
var commitEvery = []time.Duration{100 * time.Millisecond, 20 * time.Millisecond}

// onceEvery is the contestant of an interval.
func onceEvery(every time.Duration) string { return viaSidecar + once + every.String() }

// exactlyOnce lists the contestants of the part, beside the sidecar at-least-once.
func (o Options) exactlyOnce() (names []string) {
	for _, every := range o.CommitEvery {
		names = append(names, onceEvery(every))
	}
	return names
}

// transactions tells whether a contestant's sidecar has some, and how often it ends them.
func transactions(name string) (role string, every time.Duration) {
	role, interval, is := strings.Cut(name, once)
	if !is {
		return name, 0
	}
	every, _ = time.ParseDuration(interval)
	return role, every
}

// countCommitted is the number of records that a reader of committed records sees.
func (c *cluster) countCommitted(ctx context.Context, topic string, brokers []string, kafka map[string]string) (n int, err error) {
	opts, err := settings.KafkaOptions(kafka)
	if err != nil {
		return 0, err
	}
	opts = append(opts, kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	err = reader.Topic(ctx, opts, topic, func(*kgo.Record) { n++ })
	return n, err
}

// exactlyGoals hold exactly-once against at-least-once through the sidecar.
func exactlyGoals(r *Result, add func(Goal, []float64)) {
	plain := r.contestant(viaSidecar)
	for _, c := range r.Contestants {
		if role, every := transactions(c.Name); every > 0 {
			add(Goal{Name: "G5", What: c.Name + " / " + role + ", speed", Must: 0.9, Stretch: 1, AtLeast: true}, pairs(plain.walls(), c.walls()))
		}
	}
	if r.Latency == nil {
		return
	}
	for _, p := range r.Latency.Paths {
		_, every := transactions(p.Name)
		if most, has := latencyGoal[every]; has {
			add(Goal{Name: "G5", What: p.Name + ", median latency to a reader of committed records", Unit: " ms", Must: most, Stretch: most / 2}, p.Medians)
		}
	}
}

// latencyGoal is the longest median, in milliseconds, by the commit interval.
var latencyGoal = map[time.Duration]float64{100 * time.Millisecond: 120, 20 * time.Millisecond: 40}
