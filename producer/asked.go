package producer

import (
	"maps"
	"slices"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// asked are requests that the sidecar has not answered, by their ids. The client's lock guards
// them.
type asked[Q any] struct {
	open map[uint64]*request[Q]
	last uint64
}

type request[Q any] struct {
	id       uint64
	of       Q
	answered chan struct{} // closed at the answer, or when none is needed any more
}

func (a *asked[Q]) ask(of Q) *request[Q] {
	a.last++
	q := &request[Q]{a.last, of, make(chan struct{})}
	if a.open == nil {
		a.open = map[uint64]*request[Q]{}
	}
	a.open[q.id] = q
	return q
}

// answer ends the wait for one.
func (a *asked[Q]) answer(id uint64) {
	if q := a.open[id]; q != nil {
		close(q.answered)
		delete(a.open, id)
	}
}

// releases are Releases, of epochs. Without a stream they wait for one that goes on with the
// session, and are told there again, because a will must not commit their epochs.
type releases struct{ asked[release] }

type release struct {
	epochs []uint64
	given  bool // up: nothing of them is committed any more
}

func releaseOf(q *request[release]) *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{
		Release: &sidecarpb.Release{RequestId: q.id, Epochs: q.of.epochs, GivenUp: q.of.given}}}
}

// answerAll ends the wait for all.
func (a *releases) answerAll() {
	for id := range a.open {
		a.answer(id)
	}
}

// answerUnless ends the wait for those of whose epochs nothing is held.
func (a *releases) answerUnless(holds func(epochs []uint64) bool) {
	for id, q := range a.open {
		if !holds(q.of.epochs) {
			a.answer(id)
		}
	}
}

// messages are all of them, in order, for a new stream.
func (a *releases) messages() (list []*sidecarpb.DeliveryStreamRequest) {
	for _, id := range slices.Sorted(maps.Keys(a.open)) {
		list = append(list, releaseOf(a.open[id]))
	}
	return list
}

// inherits are the questions of static members whether a will of their former process is still to
// come.
type inherits struct{ asked[staticMember] }

type staticMember struct{ group, instanceID string }

// forget is for one whose asker does not wait any more.
func (a *inherits) forget(q *request[staticMember]) { delete(a.open, q.id) }

// send returns the message that asks a sidecar; one that would not understand it is not asked, and
// there is nothing to wait for.
func (a *inherits) send(q *request[staticMember], sidecar *sidecarpb.Welcome) (list []*sidecarpb.DeliveryStreamRequest) {
	if !slices.Contains(sidecar.GetFeatures(), featureInherit) {
		a.answer(q.id)
		return nil
	}
	return []*sidecarpb.DeliveryStreamRequest{{Kind: &sidecarpb.DeliveryStreamRequest_Inherit{
		Inherit: &sidecarpb.Inherit{RequestId: q.id, Group: q.of.group, InstanceId: q.of.instanceID}}}}
}

// messages are all of them, for a new stream.
func (a *inherits) messages(sidecar *sidecarpb.Welcome) (list []*sidecarpb.DeliveryStreamRequest) {
	for _, q := range a.open {
		list = append(list, a.send(q, sidecar)...)
	}
	return list
}
