package producer

import (
	"maps"
	"slices"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// releases are the Releases that the sidecar has not answered. Without a stream they wait for one
// that goes on with the session, and are told there again, because a will must not commit their
// epochs. The client's lock guards them.
type releases struct {
	open map[uint64]*release
	last uint64
}

type release struct {
	id       uint64
	epochs   []uint64
	answered chan struct{} // closed at the answer, or when the session is lost
}

func (r *release) message() *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{
		Release: &sidecarpb.Release{RequestId: r.id, Epochs: r.epochs}}}
}

func (a *releases) ask(epochs []uint64) *release {
	a.last++
	r := &release{a.last, epochs, make(chan struct{})}
	if a.open == nil {
		a.open = map[uint64]*release{}
	}
	a.open[r.id] = r
	return r
}

// answer ends the wait for one.
func (a *releases) answer(id uint64) {
	if r := a.open[id]; r != nil {
		close(r.answered)
		delete(a.open, id)
	}
}

// answerAll ends the wait for all.
func (a *releases) answerAll() {
	for id := range a.open {
		a.answer(id)
	}
}

// answerUnless ends the wait for those of whose epochs nothing is held.
func (a *releases) answerUnless(holds func(epochs []uint64) bool) {
	for id, r := range a.open {
		if !holds(r.epochs) {
			a.answer(id)
		}
	}
}

// messages are all of them, in order, for a new stream.
func (a *releases) messages() (list []*sidecarpb.DeliveryStreamRequest) {
	for _, id := range slices.Sorted(maps.Keys(a.open)) {
		list = append(list, a.open[id].message())
	}
	return list
}

// inherits are the questions of static members whether a will of their former process is still to
// come. The client's lock guards them.
type inherits struct {
	open map[uint64]*inherit
	last uint64
}

type inherit struct {
	id                uint64
	group, instanceID string
	over              chan struct{} // closed when there is nothing to wait for
}

func (a *inherits) ask(group, instanceID string) *inherit {
	a.last++
	q := &inherit{a.last, group, instanceID, make(chan struct{})}
	if a.open == nil {
		a.open = map[uint64]*inherit{}
	}
	a.open[q.id] = q
	return q
}

func (a *inherits) answer(id uint64) {
	if q := a.open[id]; q != nil {
		close(q.over)
		delete(a.open, id)
	}
}

// forget is for one whose asker does not wait any more.
func (a *inherits) forget(q *inherit) { delete(a.open, q.id) }

// send returns the message that asks a sidecar; one that would not understand it is not asked, and
// there is nothing to wait for.
func (a *inherits) send(q *inherit, sidecar *sidecarpb.Welcome) (list []*sidecarpb.DeliveryStreamRequest) {
	if !slices.Contains(sidecar.GetFeatures(), featureInherit) {
		a.answer(q.id)
		return nil
	}
	return []*sidecarpb.DeliveryStreamRequest{{Kind: &sidecarpb.DeliveryStreamRequest_Inherit{
		Inherit: &sidecarpb.Inherit{RequestId: q.id, Group: q.group, InstanceId: q.instanceID}}}}
}

// messages are all of them, for a new stream.
func (a *inherits) messages(sidecar *sidecarpb.Welcome) (list []*sidecarpb.DeliveryStreamRequest) {
	for _, q := range a.open {
		list = append(list, a.send(q, sidecar)...)
	}
	return list
}
