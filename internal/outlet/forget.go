package outlet

import "time"

// forget makes a client forget a topic that was created anew: it would fail its records until the
// process ends. It has failed everything of it when it says so, and learns of the new one with the
// next record. The other client may be at work in the new one already.
func (o *Outlet) forget(t *Topic, again bool) {
	forgot := &t.forgot
	if again {
		forgot = &t.forgotAgain
	}
	now, last := time.Now().UnixNano(), forgot.Load()
	if now-last < int64(goneRetry) || o.closed.Load() || !forgot.CompareAndSwap(last, now) {
		return
	}
	o.cfg.Log.Warn("an output topic was deleted and created anew: its records go to the new one", "topic", t.name)
	o.wg.Go(func() { // locks of the client and the partition may be held here
		if again {
			if other, err := o.other(); err == nil {
				other.PurgeTopicsFromProducing(t.name)
				o.triesAgain.forget(t.name)
			}
			return
		}
		t.awaitBack()
		t.unlearn()
		o.refresh(t)
	})
}
