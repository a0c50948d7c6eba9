package producer

// WithBootClock returns the configuration with another boot-time clock: the real one does not follow a bubble's time.
func (c DialConfig) WithBootClock(now func() uint64) DialConfig {
	c.boot = now
	return c
}
