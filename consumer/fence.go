package consumer

// Fence ends every stay at once, as if the membership were lost: nothing of them is committed any more, Hooks.Lost is called, and the group is joined
// again. It is for whoever learns from elsewhere that this process was taken for dead: a sidecar that has executed its will (S8). Fence does not wait; when it
// returns nothing done from then on counts, and no commit that is not on its way already goes out. why is logged.
func (c *Consumer) Fence(why error) {
	if why == nil {
		why = ErrLost
	}
	for _, p := range c.held() {
		p.fence(ErrLost)
		p.end(ErrLost)
	}
	c.fencedBy.Store(&why)
	wake(c.fenceKick)
}

// rejoin is the slow part of Fence: it waits for a rebalance step that may run.
func (c *Consumer) rejoin() {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	why := *c.fencedBy.Load()
	if c.closing.Load() {
		return
	}
	c.lose(why.Error())
	// The join finds out whether the group still knows this member, and onAssigned takes up what it keeps, from what is committed by then.
	c.client.Load().ForceRebalance()
}
