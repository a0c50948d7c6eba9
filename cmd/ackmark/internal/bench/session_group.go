package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// groupRun is the processes of one mode while they run, and what they work on.
type groupRun struct {
	*bench
	*Session
	name                 string
	input, output, group string
	apps                 []*process
	server               *process // nil: they have none
	sent                 int      // inputs so far
}

const (
	joinEvery = 50 * time.Millisecond
	doneEvery = 10 * time.Millisecond // what the end of a run is known to
)

// startGroup returns when all processes have joined the group and have their share of the
// partitions, which are empty.
func (b *bench) startGroup(ctx context.Context, s *Session, mode *SessionMode, round int) (g *groupRun, err error) {
	g = &groupRun{bench: b, Session: s, name: mode.Name, group: b.cluster.name("group")}
	defer func() {
		if err != nil {
			g.end(ctx)
		}
	}()
	if g.input, err = b.cluster.createTopic(ctx, "input", s.Partitions); err != nil {
		return g, err
	}
	if g.output, err = b.cluster.createTopic(ctx, "output", s.Partitions); err != nil {
		return g, err
	}
	app := spec{
		Role: roleSession, SessionEvery: s.SessionEvery, RoundTrip: s.RoundTrip,
		Brokers: b.brokers, Group: g.group, Input: g.input, Output: g.output, Concurrency: b.opts.Concurrency,
	}
	ids := b.cluster.name("transactions")
	if mode == s.sidecars() {
		app.Role, app.CommitEvery = transactions(mode.Name)
		if g.server, err = b.startServer(ctx, b.opts, &app, round); err != nil {
			return g, err
		}
	}
	for i := range s.Processes {
		if mode == s.own() {
			app.TransactionalID = fmt.Sprintf("%s-%d", ids, i)
		}
		app.Profile = b.profile(fmt.Sprintf("%s-%02d", app.Role, i), round)
		p, err := b.opts.start(ctx, app)
		if err != nil {
			return g, err
		}
		g.apps = append(g.apps, p)
	}
	return g, g.joined(ctx)
}

// end ends what still runs, and removes what the processes worked on.
func (g *groupRun) end(ctx context.Context) {
	killAll(g.apps)
	if g.server != nil {
		g.server.kill()
	}
	g.cluster.remove(context.WithoutCancel(ctx), g.group, g.input, g.output)
}

// joined waits for the group.
func (g *groupRun) joined(ctx context.Context) error {
	for {
		groups, err := g.cluster.admin.DescribeGroups(ctx, g.group)
		if err == nil && shared(groups[g.group], g.Processes, g.Partitions) {
			return nil
		}
		for _, p := range g.apps {
			if !p.Running() {
				_, err := p.usage(ctx) // which has ended, and why
				return err
			}
		}
		if err := pause(ctx, joinEvery); err != nil {
			return fmt.Errorf("bench: %d processes did not share out %d partitions of %s: %w", g.Processes, g.Partitions, g.group, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// shared tells whether a group has so many members that have so many partitions, each as many. A
// cooperative group gives away none before that.
func shared(described kadm.DescribedGroup, members, partitions int) bool {
	if described.State != "Stable" || len(described.Members) != members {
		return false
	}
	return !slices.ContainsFunc(described.Members, func(m kadm.DescribedGroupMember) bool {
		has := 0
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, topic := range assigned.Topics {
				has += len(topic.Partitions)
			}
		}
		return has != partitions/members
	})
}

// moment is what all processes have used up to then.
type moment struct {
	apps    Usage
	sidecar *Usage
	brokers *time.Duration
}

func (g *groupRun) look(ctx context.Context) (m moment, err error) {
	for _, p := range g.apps {
		u, err := p.usage(ctx)
		if err != nil {
			return m, err
		}
		m.apps.add(u)
	}
	if g.server != nil {
		u, err := g.server.usage(ctx)
		if err != nil {
			return m, err
		}
		m.sidecar = &u
	}
	m.brokers, err = g.brokersCPU(ctx)
	return m, err
}

// since fills in a load that took from an earlier moment until this one.
func (m moment) since(start moment, l *SessionLoad) {
	l.Apps = m.apps.Since(start.apps)
	if m.sidecar != nil {
		used := m.sidecar.Since(*start.sidecar)
		l.Sidecar = &used
	}
	if m.brokers != nil {
		cpu := *m.brokers - *start.brokers
		l.BrokersCPU = &cpu
	}
}

// settling is how long a paced load goes before it is measured.
func settling(paced time.Duration) time.Duration { return paced / 5 }

func (s *Session) recordsIn(d time.Duration) int { return int(d.Seconds() * float64(s.rate())) }

// pacedRecords are those of paced.
func (s *Session) pacedRecords(lasts time.Duration) int {
	return s.recordsIn(settling(lasts)) + s.recordsIn(lasts)
}

// paced is an open loop: so many records a second, whatever becomes of them. It returns the sorted
// latencies in milliseconds.
func (g *groupRun) paced(ctx context.Context, l *load, lasts time.Duration, took *SessionLoad) (ms []float64, err error) {
	if _, err := g.pass(ctx, l, g.recordsIn(settling(lasts))); err != nil {
		return nil, err
	}
	before, err := g.look(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if ms, err = g.pass(ctx, l, g.recordsIn(lasts)); err != nil {
		return nil, err
	}
	took.Records, took.Wall = len(ms), time.Since(began)
	after, err := g.look(ctx)
	if err != nil {
		return nil, err
	}
	after.since(before, took)
	slices.Sort(ms)
	return ms, nil
}

func (g *groupRun) pass(ctx context.Context, l *load, n int) (ms []float64, err error) {
	first := g.sent
	g.sent += n
	l.send(g.input, first, n, g.rate())
	ms, lost, err := l.collect(ctx, first, n)
	if err == nil && lost > 0 {
		err = fmt.Errorf("bench: %s: %d of %d paced records did not come out within %s", g.name, lost, n, sliceSettles)
	}
	return ms, err
}

// saturated writes the inputs in a transaction, which nobody may read before its end: that is the
// common start.
func (g *groupRun) saturated(ctx context.Context, records int, took *SessionLoad) error {
	opts, err := settings.KafkaOptions(g.opts.Kafka)
	if err != nil {
		return err
	}
	writer, err := kgo.NewClient(append(opts, kgo.SeedBrokers(g.brokers...), kgo.TransactionalID(g.cluster.name("inputs")), kgo.TransactionTimeout(runTimeout))...)
	if err != nil {
		return err
	}
	defer writer.Close()
	if err := writer.BeginTransaction(); err != nil {
		return err
	}
	if err := fill(ctx, writer, g.input, g.sent, records, g.opts.Size); err != nil {
		return fmt.Errorf("bench: writing the inputs: %w", err)
	}
	g.sent += records
	ends, err := g.cluster.admin.ListEndOffsets(ctx, g.input) // before the markers
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	before, err := g.look(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := writer.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("bench: the inputs: %w", err)
	}
	if err := g.allCommitted(ctx, ends); err != nil {
		return err
	}
	took.Records, took.Wall = records, time.Since(began)
	after, err := g.look(ctx)
	if err == nil {
		after.since(before, took)
	}
	return err
}

// allCommitted waits until the group's offsets are where the inputs end.
func (g *groupRun) allCommitted(ctx context.Context, ends kadm.ListedOffsets) error {
	for {
		offsets, err := g.cluster.admin.FetchOffsets(ctx, g.group)
		if err != nil {
			return err
		}
		behind := false
		ends.Each(func(end kadm.ListedOffset) {
			at, ok := offsets.Lookup(g.input, end.Partition)
			behind = behind || end.Offset > 0 && (!ok || at.At < end.Offset)
		})
		if !behind {
			return nil
		}
		for _, p := range g.apps {
			if !p.Running() {
				_, err := p.usage(ctx)
				return err
			}
		}
		if err := pause(ctx, doneEvery); err != nil {
			return fmt.Errorf("bench: %s: not all inputs were committed: %w", g.name, err)
		}
	}
}

// check compares the counts with the inputs: each came out once for a reader of committed records,
// and all are committed. The inputs of the saturated load end with a marker.
func (g *groupRun) check(ctx context.Context, round int) error {
	wrong, err := g.cluster.verify(ctx, g.output, g.brokers, g.opts.Kafka, g.sent)
	if err != nil {
		return err
	}
	_, uncommitted, err := g.cluster.committed(ctx, g.group, g.input, 1)
	for _, what := range append(wrong, uncommitted...) {
		g.result.Wrong = append(g.result.Wrong, fmt.Sprintf("%d processes, %s, round %d: %s", g.Processes, g.name, round, what))
	}
	return err
}
