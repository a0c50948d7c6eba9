package producer

// addFate queues what a Reporter must be told, joined with the fate before if it continues it. The
// caller holds mu and, when it is done, calls afterReports or notify.
func (c *client) addFate(f fate) {
	if n := len(c.fates); n > 0 && f.err == nil {
		last := &c.fates[n-1]
		if last.err == nil && last.call.id == f.call.id && last.index+last.n == f.index {
			last.n += f.n
			return
		}
	}
	c.fates = append(c.fates, f)
}

// afterReports lets go on who waits for what the reports gave back. The caller holds mu.
func (c *client) afterReports() {
	c.notify()
	c.grant()
	if c.idle {
		c.writable.Signal() // credit came back
	}
}

func (c *client) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// reportLoop calls the Reporters until run has stopped and everything is reported.
func (c *client) reportLoop() {
	var list []fate
	for range c.wake {
		for {
			c.settle(list)
			clear(list)
			c.mu.Lock()
			list, c.fates = c.fates, list[:0]
			if c.telling = len(list) > 0; !c.telling {
				for _, ch := range c.listening {
					close(ch)
				}
				c.listening = nil
			}
			c.mu.Unlock()
			if len(list) == 0 {
				break
			}
			for _, f := range list {
				f.tell()
			}
		}
		if c.finished() {
			return
		}
	}
}

func (f *fate) tell() {
	if f.err == nil {
		f.call.r.Acked(f.index, f.n)
		return
	}
	for i := range f.n {
		f.call.r.Failed(f.index+i, f.err)
	}
}

// settle takes what was reported off the books, after the reports: Flush promises that they were
// made.
func (c *client) settle(list []fate) {
	if len(list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range list {
		c.tally.remove(f.call.batch, f.n)
		if f.err != nil && f.err.Code == CodeClosed {
			c.dropped += f.n
		}
	}
}

func (c *client) finished() bool {
	select {
	case <-c.stopped:
	default:
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed && c.tally.pending == 0
}
