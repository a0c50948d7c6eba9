package producer

import (
	"context"
	"sync"
	"time"

	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/producer/internal/tally"
)

// reports tells Reporters the fates of their units, from one goroutine, and counts the units that
// were taken and whose fate was not told. mu, the client's, guards what stands below it.
type reports struct {
	mu   *sync.Mutex
	wake chan struct{} // capacity 1: loop has work

	calls     uint64
	tally     tally.Tally
	fates     []fate          // to be told
	telling   bool            // loop has taken some and is at it
	listening []chan struct{} // closed when there is nothing to tell
	dropped   int             // units failed by Close
	over      bool            // no more will come: loop may end when everything is told
}

// begin counts a call of n units. The caller holds mu.
func (r *reports) begin(n int, to Reporter) resend.Call[owner] {
	r.calls++
	return resend.Call[owner]{ID: r.calls, Owner: owner{to, r.tally.Add(n)}}
}

// add queues a fate, joined with the one before if it continues it. The caller holds mu and, when
// it is done, calls notify.
func (r *reports) add(f fate) {
	if n := len(r.fates); n > 0 && f.Err == nil {
		last := &r.fates[n-1]
		if last.Err == nil && last.Call.ID == f.Call.ID && last.First+last.N == f.First {
			last.N += f.N
			return
		}
	}
	r.fates = append(r.fates, f)
}

// notify makes loop look.
func (r *reports) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// end says that there will be no more to tell than there is.
func (r *reports) end() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.notify()
}

// loop calls the Reporters until the end, when everything is told.
func (r *reports) loop() {
	var list []fate
	for range r.wake {
		for {
			if list = r.next(list); len(list) == 0 {
				break
			}
			for i := range list {
				tell(&list[i])
			}
		}
		if r.finished() {
			return
		}
	}
}

// next takes what was told off the books, after it was told, since Flush promises that; it returns
// what comes next.
func (r *reports) next(told []fate) (list []fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range told {
		f := &told[i]
		r.tally.Remove(f.Call.Owner.batch, f.N)
		if f.Err != nil && f.Err.Code == CodeClosed {
			r.dropped += f.N
		}
	}
	clear(told)
	list, r.fates = r.fates, told[:0]
	if r.telling = len(list) > 0; !r.telling {
		for _, ch := range r.listening {
			close(ch)
		}
		r.listening = nil
	}
	return list
}

func (r *reports) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over && r.tally.Pending() == 0
}

func tell(f *fate) {
	if f.Err == nil {
		f.Call.Owner.r.Acked(f.First, f.N)
		return
	}
	for i := range f.N {
		f.Call.Owner.r.Failed(f.First+i, f.Err)
	}
}

// awaitKnown waits until the Reporters were told everything that is known by now.
func (r *reports) awaitKnown(ctx context.Context) error {
	r.mu.Lock()
	if r.tally.Pending() == 0 { // nothing on its way to a Reporter; loop may be gone
		r.mu.Unlock()
		return nil
	}
	reached := make(barrier)
	r.add(fate{Call: r.begin(1, reached), N: 1})
	r.mu.Unlock()
	r.notify()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// barrier is a Reporter that marks a place in the queue of reports.
type barrier chan struct{}

// Acked implements Reporter.
func (b barrier) Acked(int, int) { close(b) }

// Failed implements Reporter.
func (b barrier) Failed(int, *Error) { close(b) }

// quietTimeout is how long awaitQuiet waits for Reporters, which must not block.
const quietTimeout = time.Second

// awaitQuiet waits until there is nothing to tell, for a while, or until done.
func (r *reports) awaitQuiet(done <-chan struct{}) {
	end := time.NewTimer(quietTimeout)
	defer end.Stop()
	for {
		r.mu.Lock()
		if !r.telling && len(r.fates) == 0 {
			r.mu.Unlock()
			return
		}
		quiet := make(chan struct{})
		r.listening = append(r.listening, quiet)
		r.mu.Unlock()
		r.notify()
		select {
		case <-quiet:
		case <-end.C:
			return
		case <-done:
			return
		}
	}
}
