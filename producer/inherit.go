package producer

import (
	"context"
	"slices"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureInherit is the ability to wait, before a static member joins its group, for the will of
// its former process.
const featureInherit = "inherit"

// Heir is implemented by producers that somebody else may commit for: the sidecar client.
type Heir interface {
	// Inherit waits until nobody commits any more for the former process of a static member: call
	// it before the member joins its group. As soon as it has joined, the broker refuses what is
	// committed in the name of the former process, and all that is done again.
	//
	// It returns nil at once where there is nothing to wait for: no sidecar runs, or it knows of no
	// such process, or is an older one. The error is that of a closed producer, or the context's
	// cause; then the member may join all the same, and repeat.
	Inherit(ctx context.Context, group, instanceID string) error
}

// heritage is what the client asked the sidecar to tell it. The client's mu guards it.
type heritage struct {
	asked map[uint64]*inheritance
	last  uint64
}

type inheritance struct {
	message *sidecarpb.DeliveryStreamRequest
	over    chan struct{} // closed when there is nothing to wait for
}

func (h *heritage) ask(group, instanceID string) (id uint64, in *inheritance) {
	h.last++
	in = &inheritance{over: make(chan struct{}), message: &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Inherit{
		Inherit: &sidecarpb.Inherit{RequestId: h.last, Group: group, InstanceId: instanceID}}}}
	if h.asked == nil {
		h.asked = map[uint64]*inheritance{}
	}
	h.asked[h.last] = in
	return h.last, in
}

func (h *heritage) answered(id uint64) {
	if in := h.asked[id]; in != nil {
		close(in.over)
		delete(h.asked, id)
	}
}

// Inherit implements [Heir].
func (c *client) Inherit(ctx context.Context, group, instanceID string) error {
	c.mu.Lock()
	if err := c.ready(); err != nil {
		c.mu.Unlock()
		return err
	}
	id, in := c.heritage.ask(group, instanceID)
	if c.stream != nil {
		c.tellHeir(c.stream, in, id)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.heritage.asked, id)
	}()
	for {
		c.mu.Lock()
		changed := c.changed
		// Where nobody listens there is no sidecar, and its wills have ended with it. Who goes
		// directly does not wait for it either.
		nobody := c.stream == nil && (c.session.gone || c.fall.way != nil || c.fatal != nil)
		c.mu.Unlock()
		if nobody {
			return nil
		}
		select {
		case <-in.over:
			return nil
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.done.Done():
			return errClosed()
		}
	}
}

// tellHeir sends the question, or answers it for a sidecar that would not understand. The caller
// holds mu.
func (c *client) tellHeir(s *stream, in *inheritance, id uint64) {
	if !slices.Contains(s.welcome.GetFeatures(), featureInherit) {
		c.heritage.answered(id)
		return
	}
	s.controls = append(s.controls, in.message)
	c.writable.Broadcast()
}
