package sidecar

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// rest is how long who sends waits for more. A goroutine that has sent a message has a stack of 8
// KiB or more, and keeps it while it waits for the next one: the collector halves a stack only if
// less than a quarter of it is in use, and within gRPC that never is. So nobody waits for long.
const rest = 20 * time.Millisecond

// ending is how receiving or sending ended.
type ending struct {
	err    error // what the stream ends with
	unsent bool  // the stream is broken
	quiet  bool  // the client has nothing more to say after Goodbye
}

// beginSending sends Welcome, and then what the session has to say.
func (s *streams) beginSending(d *stream, sess *session) {
	welcome := d.welcome
	d.welcome = nil
	d.senders.Go(func() {
		if err := d.rpc.Send(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Welcome{Welcome: welcome}}); err != nil {
			d.ends <- ending{err: err}
			return
		}
		s.send(d, sess)
	})
}

// send writes what the session has to say, until it or the stream has ended, or it rests.
func (s *streams) send(d *stream, sess *session) {
	var out outgoing
	idle := time.NewTimer(rest)
	defer idle.Stop()
	for {
		select {
		case <-d.wake:
		case <-idle.C:
			if sess.rests(d, func() { d.senders.Go(func() { s.send(d, sess) }) }) {
				return
			}
			continue // it was woken just now
		}
		if err := sess.take(d, &out); err != nil {
			d.ends <- ending{err: endStatus(err)}
			return
		}
		s.sessions.creditReported(sess)
		if err := d.write(&out); err != nil {
			d.ends <- ending{err: err, unsent: true}
			return
		}
		if out.last {
			d.said = &ending{err: s.goodbye(out.again)}
			d.ends <- *d.said
			return
		}
		idle.Reset(rest)
	}
}

// rests tells that nothing is to be sent; begin is called, once, when there is something again.
func (s *session) rests(d *stream, begin func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.woken {
		return false
	}
	if !d.stopped {
		d.begin = begin
	}
	return true
}

// stopSending ends sending: who is about to wait, or to begin, sends nothing more.
func (s *session) stopSending(d *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stopped, d.begin = true, nil
	d.notify()
}

// notify has the sender look. session.mu is held.
func (d *stream) notify() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (s *streams) goodbye(again bool) error {
	if again || s.drain.begun.Load() {
		return status.Error(codes.Unavailable, "DRAINING: everything received is reported; connect again when the sidecar is back")
	}
	return nil
}

func (d *stream) write(out *outgoing) error {
	if len(out.Acked)+len(out.Failed) > 0 {
		pool := wire.Pool()
		buf := pool.Get(32*len(out.Acked) + 64)
		*buf = wire.AppendReports((*buf)[:0], out.Acked, out.Failed)
		raw := wire.Raw{Buffers: mem.BufferSlice{mem.NewBuffer(buf, pool)}}
		err := d.rpc.SendMsg(&raw)
		raw.Buffers.Free()
		if err != nil {
			return err
		}
	}
	for _, m := range out.cold {
		if err := d.rpc.Send(m); err != nil {
			return err
		}
	}
	return nil
}
