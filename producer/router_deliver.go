package producer

import (
	"context"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Deliver implements Producer.
func (r *router) Deliver(ctx context.Context, units []Unit, to Reporter) error {
	if err := r.start(); err != nil {
		return err
	}
	if len(units) == 0 {
		return context.Cause(ctx)
	}
	if _, bad := checkUnits(units); bad != nil {
		return bad // before a key of it waits for its way
	}
	p, err := r.enter(ctx, units)
	if err != nil {
		return err
	}
	c := newRouted(r, to, p)
	if p.kinds == nil {
		err = c.deliverWhole(ctx, units, route.Path(p.whole))
	} else {
		err = c.deliverParts(ctx, units, p)
	}
	if err != nil {
		r.leave(p.tickets[route.Sidecar])
		r.leave(p.tickets[route.Direct])
	}
	return err
}

// deliverWhole is for a call of which all units go one way.
func (c *routed) deliverWhole(ctx context.Context, units []Unit, way route.Path) error {
	part := &c.parts[way]
	part.left.Store(int64(len(units)))
	if way == route.Sidecar {
		return c.r.side.Deliver(ctx, units, part)
	}
	part.sources = sourcesOf(units)
	return c.r.own.Deliver(ctx, units, part)
}

// sourcesOf are the units' inputs, nil if they have none.
func sourcesOf(units []Unit) []Source {
	if units[0].Source.Epoch == 0 {
		return nil
	}
	out := make([]Source, len(units))
	for i := range units {
		out[i] = units[i].Source
	}
	return out
}

// deliverParts is for a call of which some units go one way and some the other. Of a unit that is
// split, the part that goes through the sidecar has no source: the sidecar would take its input for
// done when only that part is, and a will would commit what may be lost. It is told of the input
// when both parts are acknowledged.
func (c *routed) deliverParts(ctx context.Context, units []Unit, p *plan) error {
	var parts [2][]Unit
	add := func(way route.Path, at int, u Unit) {
		parts[way] = append(parts[way], u)
		c.parts[way].index = append(c.parts[way].index, at)
	}
	for i := range units {
		switch u := units[i]; p.kinds[i] {
		case bySplit:
			c.split(i, u, p.outputs[i], add)
		default:
			add(route.Path(p.kinds[i]), i, u)
			if p.kinds[i] == byDirect {
				c.parts[route.Direct].sources = append(c.parts[route.Direct].sources, u.Source)
			}
		}
	}
	for way := range parts {
		c.parts[way].left.Store(int64(len(parts[way])))
	}
	// All or none: space on the direct way first, then the sidecar's client, which may say no; then
	// nothing is left that could.
	out, err := c.r.own.start()
	if err != nil {
		return err
	}
	total := costOf(parts[route.Direct])
	if err := c.r.own.acquire(ctx, total); err != nil {
		return err
	}
	c.r.splitting(len(c.splits))
	if len(parts[route.Sidecar]) > 0 {
		if err := c.r.side.Deliver(ctx, parts[route.Sidecar], &c.parts[route.Sidecar]); err != nil {
			c.r.own.budget.Release(total.Bytes, total.Records)
			c.r.splitting(-len(c.splits))
			return err
		}
	}
	if err := c.r.own.take(context.WithoutCancel(ctx), out, parts[route.Direct], &c.parts[route.Direct], total); err != nil { // closed meanwhile
		for i := range parts[route.Direct] {
			c.parts[route.Direct].Failed(i, errClosed())
		}
	}
	return nil
}

func costOf(units []Unit) unit.Cost {
	total, _ := checkUnits(units)
	return total
}

// costOfNothing is what units without outputs cost in the client's books.
func costOfNothing(n int) unit.Cost { return unit.Cost{Bytes: int64(n) * unitOverhead, Records: n} }

// splitting counts units of which both ways have a part.
func (r *router) splitting(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.split += n
}

// split divides the outputs of a unit.
func (c *routed) split(at int, u Unit, ways []route.Path, add func(route.Path, int, Unit)) {
	s := &splitUnit{source: u.Source, left: 2}
	var outs [2][]Record
	for j, way := range ways {
		outs[way] = append(outs[way], u.Outputs[j])
		s.outputs[way] = append(s.outputs[way], j)
	}
	if c.splits == nil {
		c.splits = map[int]*splitUnit{}
	}
	c.splits[at] = s
	add(route.Sidecar, at, Unit{Outputs: outs[route.Sidecar]})
	add(route.Direct, at, Unit{Source: u.Source, Outputs: outs[route.Direct]})
	c.parts[route.Direct].sources = append(c.parts[route.Direct].sources, Source{}) // told of when both parts are through
}

// Emit implements Producer.
func (r *router) Emit(ctx context.Context, rec Record) (Ack, error) {
	return awaitEmit(ctx, func(fn func(Ack, error)) error { return r.emit(ctx, rec, fn) })
}

// EmitAsync implements Producer.
func (r *router) EmitAsync(rec Record, fn func(Ack, error)) {
	if err := r.emit(context.Background(), rec, fn); err != nil {
		fn(Ack{}, err)
	}
}

// emit queues one record; fn is called if and only if the error is nil.
func (r *router) emit(ctx context.Context, rec Record, fn func(Ack, error)) error {
	if err := r.start(); err != nil {
		return err
	}
	if bad := (*unit.Record)(&rec).Invalid(); bad != nil {
		return (*Error)(bad)
	}
	outputs := [1]Record{rec}
	p, err := r.enter(ctx, []Unit{{Outputs: outputs[:]}})
	if err != nil {
		return err
	}
	way := route.Path(p.whole)
	told := func(a Ack, err error) {
		fn(a, err)
		r.leave(p.tickets[way])
	}
	if way == route.Sidecar {
		err = r.side.emit(ctx, rec, told)
	} else {
		err = r.own.emit(ctx, &rec, told)
	}
	if err != nil {
		r.leave(p.tickets[way])
	}
	return err
}
