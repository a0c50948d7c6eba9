package telemetry

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// Observe has read called whenever somebody collects, to tell the values of these rows. The
// returned function ends that, after it gave a provider that sends by itself the last values: what
// happened since it sent would never be told. read must not wait for who calls that function.
func (p *Part) Observe(read func(*Reading), rows ...*Metric) (stop func()) {
	if p == nil {
		return func() {}
	}
	one := &observer{read}
	g := groups.join(p, rows, one)
	if g == nil {
		return func() {}
	}
	return func() {
		flush(p.provider)
		groups.leave(g, one)
	}
}

type observer struct{ read func(*Reading) }

// group is all of a process that tells the same rows of a part: two consumers, say. They are read
// in one collection, or the values of partitions that are told as one would be those of the last
// consumer alone.
type group struct {
	key        groupKey
	registered metric.Registration
	known      map[*Metric]metric.Observable

	mu        sync.Mutex // one collection at a time
	apart     apart
	observers []*observer
}

type groupKey struct {
	provider   any
	name, rows string
}

type groupTable struct {
	mu sync.Mutex
	of map[groupKey]*group
}

var groups = groupTable{of: map[groupKey]*group{}}

// join enters an observer, and returns its group; nil: the provider takes none.
func (t *groupTable) join(p *Part, rows []*Metric, o *observer) *group {
	names := make([]string, len(rows))
	for i, m := range rows {
		names[i] = m.Name
	}
	key := groupKey{provider: p.provider, name: p.name, rows: strings.Join(names, " ")}
	if !reflect.ValueOf(p.provider).Comparable() {
		key.provider = o // nobody shares it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.of[key]; g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.observers = append(g.observers, o)
		return g
	}
	g := &group{
		key: key, known: make(map[*Metric]metric.Observable, len(rows)), observers: []*observer{o},
		apart: apart{most: p.partitions, since: make(map[Place]uint64)},
	}
	all := make([]metric.Observable, 0, len(rows))
	for _, m := range rows {
		in, err := p.observable(m)
		tell(m, err)
		g.known[m] = in
		all = append(all, in)
	}
	var err error
	if g.registered, err = p.meter.RegisterCallback(g.collect, all...); err != nil {
		otel.Handle(fmt.Errorf("ackmark: metrics of a part: %w", err))
		return nil
	}
	t.of[key] = g
	return g
}

// leave takes an observer out: it is not read any more. The last one ends the group.
func (t *groupTable) leave(g *group, o *observer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g.mu.Lock()
	g.observers = slices.DeleteFunc(g.observers, func(other *observer) bool { return other == o })
	over := len(g.observers) == 0
	g.mu.Unlock()
	if !over || t.of[g.key] != g {
		return
	}
	delete(t.of, g.key)
	if err := g.registered.Unregister(); err != nil {
		otel.Handle(err)
	}
}

// collect reads all observers.
func (g *group) collect(_ context.Context, to metric.Observer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apart.now++
	r := &Reading{to: to, known: g.known, apart: &g.apart}
	for _, o := range g.observers {
		o.read(r)
	}
	r.finish()
	return nil
}

// lastFlush is how long a collector may take for the last values of a part.
const lastFlush = time.Second

// flush has a provider send what there is, if it is one that sends.
func flush(provider metric.MeterProvider) {
	if w, ok := provider.(whole); ok {
		provider = w.MeterProvider
	}
	sends, ok := provider.(interface{ ForceFlush(context.Context) error })
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFlush)
	defer cancel()
	if err := sends.ForceFlush(ctx); err != nil {
		otel.Handle(fmt.Errorf("ackmark: the last metrics of a part: %w", err))
	}
}
