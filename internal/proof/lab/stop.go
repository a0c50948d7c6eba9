package lab

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What SIGSTOP is here. A stopped process reads nothing, writes nothing and opens no connection;
// what it had written before still arrives, and what others send to it waits in the socket until it
// goes on, then in order. Its handlers stand still, and so does whatever asks to deliver. It closes
// no connection: nobody learns from a stopped process that it has given up.
//
// What the model does not cover: goroutines and timers inside of the process go on, since a bubble
// has one clock. What they decide meanwhile (a deadline passed, a keepalive unanswered) shows when
// the process goes on, where a real one decides it then. And work that was read before the stop but
// not finished is finished inside, as if a little earlier; its result waits in front of the socket.

// stop makes the process stand still.
func (h *host) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead.Load() || h.stopped.Swap(true) {
		return
	}
	h.goesOn = make(chan struct{})
}

// goOn is SIGCONT.
func (h *host) goOn() {
	h.mu.Lock()
	was := h.stopped.Swap(false)
	ends, closes, asleep := slices.Clone(h.ends), h.closes, h.asleep
	h.closes, h.asleep = nil, nil
	if was {
		close(h.goesOn)
	}
	h.mu.Unlock()
	if !was {
		return
	}
	for _, c := range ends {
		c.in.poke()
		c.out.poke()
	}
	for _, s := range asleep {
		s.poke()
	}
	for _, c := range closes {
		_ = c.Close()
	}
}

// wake sees to it that goOn wakes who waits in a stream, which may be one that is over and that the
// host has forgotten. False: the host goes on already.
func (h *host) wake(s *stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped.Load() {
		return false
	}
	h.asleep = append(h.asleep, s)
	return true
}

// running waits until the process does not stand still.
func (h *host) running(ctx context.Context) error {
	for {
		h.mu.Lock()
		stopped, goesOn := h.stopped.Load(), h.goesOn
		h.mu.Unlock()
		if !stopped {
			return nil
		}
		select {
		case <-goesOn:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// closesLater tells that a process that stands still wants to close a connection: that happens when
// it goes on.
func (h *host) closesLater(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped.Load() {
		return false
	}
	h.closes = append(h.closes, c)
	return true
}

// byWill tells the leave that a sidecar asks for from that of a member itself, which kgo gives this
// reason for, and from the reaper's.
func byWill(m kmsg.LeaveGroupRequestMember) bool {
	return m.Reason != nil && strings.HasPrefix(*m.Reason, "ackmark")
}
