package producer

import "time"

// SetFallback implements [Switcher].
func (c *client) SetFallback(mode FallbackMode) error {
	if err := c.cfg.Fallback.allows(mode); err != nil {
		return invalidConfig(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.isClosed() {
		return errClosed()
	}
	if mode == c.fall.mode {
		return nil
	}
	if c.committing {
		return invalidConfig(&ConfigError{Config: dialConfig, Field: "Fallback.Mode", Value: mode.String(), Remedy: remedyNoFallback})
	}
	c.cfg.Logger.Info("fallback mode changed", "target", c.cfg.Target, "from", c.fall.mode.String(), "to", mode.String())
	c.fall.mode = mode
	if mode == Forced && c.link.stream != nil {
		c.link.stream.depart()
	}
	c.link.announce()
	c.link.retryNow()
	return nil
}

// FallbackStats implements [Switcher].
func (c *client) FallbackStats() FallbackStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.fall.usage.stats(time.Now())
	s.Mode = c.fall.mode
	return s
}
