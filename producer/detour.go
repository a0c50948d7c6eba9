package producer

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// detour is the direct way to Kafka while the sidecar is not used: it takes frames from the queue
// like a stream does, in order, and produces them with a client of the process's own. mu guards
// what stands below the line.
type detour struct {
	*shared
	direct *direct
	tasks  sync.WaitGroup

	// The feeder's own, used again for each frame.
	units   []Unit
	outputs []Record
	topics  []uint32 // of outputs
	parts   []int32

	stopped bool          // takes no more frames
	open    int           // units produced and not reported
	held    int64         // bytes of frames that kgo reads
	drained chan struct{} // closed when stopped and nothing is open
}

// feed produces what the queue has, until the detour is stopped.
func (d *detour) feed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.stopped {
		// A frame's buffer is kgo's until its last unit is reported; without the bound, one slow
		// record in each would hold many times the limit (S9).
		if d.held <= d.books.mayPin() {
			if f := d.books.queue.Send(unit.Cost{Bytes: noLimit, Records: noLimit}, 0); f != nil {
				d.produce(f)
				continue
			}
		}
		d.idle = true
		d.writable.Wait()
		d.idle = false
	}
	d.checkDrained()
}

// produce hands a frame's units to kgo. The lock is given up meanwhile.
func (d *detour) produce(f *resend.Frame) {
	r := &detourReport{detour: d, first: f.First, left: f.Len(), buf: f.Buf}
	r.buf.Ref()
	d.open += r.left
	d.held += int64(r.buf.Len())
	names := d.books.topics.names
	d.mu.Unlock()
	err := d.decode(r.buf.ReadOnlyData(), names)
	if err == nil {
		r.to = topicsOf(d.topics, d.parts)
		err = d.direct.Deliver(context.Background(), d.units, r)
	}
	d.mu.Lock()
	if err != nil { // nothing of it was taken: it is sent again, by whoever comes next; what follows must not overtake it
		d.cfg.Logger.Error("the direct way to Kafka ended", "error", err)
		d.stopped = true
		r.done(r.left)
		d.link.announce()
	}
}

// stop lets it take no more, and awaits the feeder.
func (d *detour) stop() {
	d.mu.Lock()
	d.stopped = true
	d.writable.Broadcast()
	d.mu.Unlock()
	d.tasks.Wait()
}

// decode reads encoded units back. Keys, values and headers alias the frame.
func (d *detour) decode(data []byte, names []string) error {
	var list wire.Units
	if err := list.Parse(data, func(uint32, string) error { return nil }); err != nil {
		return err
	}
	var u wire.Unit
	var out wire.Output
	// Two passes: slices of what grows would point to what it grew from.
	ends := d.parts[:0]
	d.outputs, d.topics = d.outputs[:0], d.topics[:0]
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
			d.outputs, d.topics = append(d.outputs, rec), append(d.topics, out.Topic)
		}
		ends = append(ends, int32(len(d.outputs)))
	}
	d.parts = ends
	d.units = d.units[:0]
	from := int32(0)
	for _, end := range ends {
		d.units = append(d.units, Unit{Outputs: d.outputs[from:end]})
		from = end
	}
	return nil
}

// checkDrained is called with mu held.
func (d *detour) checkDrained() {
	if d.stopped && d.open == 0 {
		select {
		case <-d.drained:
		default:
			close(d.drained)
		}
	}
}

// detourReport books the reports of one frame's units in the queue.
type detourReport struct {
	detour *detour
	first  uint64
	left   int
	buf    mem.Buffer
	to     frameTopics
}

// frameTopics are the topics of a frame's records. Of most frames all go to one.
type frameTopics struct {
	each []uint32 // one record's after the other; one: of all records
	ends []int32  // of each unit in it; nil: all go to one
}

// topicsOf keeps the topics of records, of units with these ends: the slices are used again.
func topicsOf(records []uint32, ends []int32) frameTopics {
	last := int32(0)
	alike := len(records) > 0
	for _, end := range ends {
		alike, last = alike && end > last, end
	}
	if alike && !slices.ContainsFunc(records, func(topic uint32) bool { return topic != records[0] }) {
		return frameTopics{each: []uint32{records[0]}}
	}
	return frameTopics{slices.Clone(records), slices.Clone(ends)}
}

// count counts the records of some units, so many in all.
func (t *frameTopics) count(u *usage, first, n, records int) {
	u.direct += uint64(records)
	if t.ends == nil {
		u.add(t.each[0], records)
		return
	}
	begin := int32(0)
	if first > 0 {
		begin = t.ends[first-1]
	}
	for _, topic := range t.each[begin:t.ends[first+n-1]] {
		u.add(topic, 1)
	}
}

// Acked implements Reporter.
func (r *detourReport) Acked(first, n int) { r.book(first, n, nil) }

// Failed implements Reporter.
func (r *detourReport) Failed(unit int, err *Error) { r.book(unit, 1, err) }

func (r *detourReport) book(first, n int, err *Error) {
	d := r.detour
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.books.queue
	before := queue.Taken().Records
	queue.Report(r.first+uint64(first), n, err)
	r.to.count(&d.fall.usage, first, n, before-queue.Taken().Records)
	d.releases.answerUnless(queue.HoldsSent)
	r.done(n)
	d.afterReports()
}

// done counts units off. The caller holds mu.
func (r *detourReport) done(n int) {
	r.detour.open -= n
	if r.left -= n; r.left == 0 {
		r.detour.held -= int64(r.buf.Len())
		r.buf.Free()
	}
	r.detour.checkDrained()
}
