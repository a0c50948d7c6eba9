package producer

// Refuser is implemented by producers that may learn, at any time, that they can never deliver: the
// sidecar client.
//
// The sidecar refuses an app for good that it does not know, that has a wrong token, that speaks
// for a group or runs as a user that it may not, or that speaks another version: a running sidecar
// does not change its mind, its lists are read at its start. Whatever can pass while both run is
// tried again and is no such refusal: no sidecar, one that drains or is full, a member that another
// process still holds, a certificate that does not verify.
//
// A pipeline ends by itself then. With a consumer of your own, end its Run, without a drain that
// would wait in vain:
//
//	ctx, cancel := context.WithCancelCause(ctx)
//	p.(producer.Refuser).OnRefused(func(e *producer.Error) { cancel(fmt.Errorf("%w: %w", consumer.ErrNoDrain, e)) })
type Refuser interface {
	// OnRefused registers a function that is called once, with an error that is not Retryable, when
	// the producer is refused for good: it delivers nothing any more, and every call returns that
	// error. End the process: started again it asks again. If that has happened already, the
	// function is called soon. It is called from a goroutine of the producer, which Close awaits:
	// do not call Close in it.
	OnRefused(fn func(*Error))
}

// OnRefused implements [Refuser].
func (c *client) OnRefused(fn func(*Error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch fatal := c.fatal; {
	case c.closed:
	case fatal != nil:
		c.tasks.Go(func() { fn(fatal) })
	default:
		c.onRefused = append(c.onRefused, fn)
	}
}
