package producer

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
)

// way is the direct way to Kafka: it takes frames from the window like a stream does, in order, and
// produces them with a client of the process's own. The client's mu guards what stands below the
// line.
type way struct {
	c      *client
	direct *direct
	tasks  sync.WaitGroup

	// The feeder's own, used again for each frame.
	units   []Unit
	outputs []Record
	parts   []int32

	stopped bool          // takes no more frames
	open    int           // units produced and not reported
	held    int64         // bytes of frames that kgo reads
	drained chan struct{} // closed when stopped and nothing is open
}

// feed produces what the window has, until the way is stopped.
func (w *way) feed() {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for !w.stopped {
		// A frame's buffer is kgo's until its last unit is reported; without the bound, one slow
		// record in each would hold many times the limit (S9).
		if w.held <= pinnedFactor*max(c.limit.bytes, 1<<20) {
			if f := c.win.send(cost{noLimit, noLimit}, 0); f != nil {
				w.produce(f)
				continue
			}
		}
		c.idle = true
		c.writable.Wait()
		c.idle = false
	}
	w.checkDrained()
}

// produce hands a frame's units to kgo. The lock is given up meanwhile.
func (w *way) produce(f *frame) {
	c := w.c
	r := &wayReport{w: w, first: f.first, left: f.len(), buf: f.buf}
	r.buf.Ref()
	w.open += r.left
	w.held += int64(r.buf.Len())
	names := c.topics.names
	c.mu.Unlock()
	err := w.decode(r.buf.ReadOnlyData(), names)
	if err == nil {
		err = w.direct.Deliver(context.Background(), w.units, r)
	}
	c.mu.Lock()
	if err != nil { // nothing of it was taken: it is sent again, by whoever comes next; what follows must not overtake it
		c.cfg.Logger.Error("the direct way to Kafka ended", "error", err)
		w.stopped = true
		r.done(r.left)
		c.announce()
	}
}

// decode reads encoded units back. Keys, values and headers alias the frame.
func (w *way) decode(data []byte, names []string) error {
	var list wire.Units
	if err := list.Parse(data, func(uint32, string) error { return nil }); err != nil {
		return err
	}
	var u wire.Unit
	var out wire.Output
	// Two passes: slices of what grows would point to what it grew from.
	ends := w.parts[:0]
	w.outputs = w.outputs[:0]
	for list.Next(&u) {
		for {
			ok, err := u.Next(&out)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if int(out.Topic) >= len(names) {
				return fmt.Errorf("producer: topic index %d of %d", out.Topic, len(names))
			}
			rec := Record{Topic: names[out.Topic], Key: out.Key, Value: out.Value, Headers: out.Headers, Timestamp: out.Timestamp()}
			if out.Partition >= 0 {
				rec.Partition = new(out.Partition)
			}
			w.outputs = append(w.outputs, rec)
		}
		ends = append(ends, int32(len(w.outputs)))
	}
	w.parts = ends
	w.units = w.units[:0]
	from := int32(0)
	for _, end := range ends {
		w.units = append(w.units, Unit{Outputs: w.outputs[from:end]})
		from = end
	}
	return nil
}

// checkDrained is called with mu held.
func (w *way) checkDrained() {
	if w.stopped && w.open == 0 {
		select {
		case <-w.drained:
		default:
			close(w.drained)
		}
	}
}

// wayReport books the reports of one frame's units in the window.
type wayReport struct {
	w     *way
	first uint64
	left  int
	buf   mem.Buffer
}

// Acked implements Reporter.
func (r *wayReport) Acked(first, n int) { r.book(first, n, nil) }

// Failed implements Reporter.
func (r *wayReport) Failed(unit int, err *Error) { r.book(unit, 1, err) }

func (r *wayReport) book(first, n int, err *Error) {
	c := r.w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.win.taken.records
	c.win.report(r.first+uint64(first), n, err)
	c.fall.records += uint64(before - c.win.taken.records)
	for id, rel := range c.releases {
		if !c.win.holdsSent(rel.epochs) {
			close(rel.answered)
			delete(c.releases, id)
		}
	}
	r.done(n)
	c.afterReports()
}

// done counts units off. The caller holds mu.
func (r *wayReport) done(n int) {
	r.w.open -= n
	if r.left -= n; r.left == 0 {
		r.w.held -= int64(r.buf.Len())
		r.buf.Free()
	}
	r.w.checkDrained()
}
