package txn

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// window is the units of one transaction, in order.
type window struct {
	number  uint64 // of all windows of the process another one
	runs    []Run
	units   int
	claims  []*Claim // of the units, each once
	opened  time.Time
	twin    *twin // of its outputs: its transaction was begun, or could not be; nil: there are none
	bare    *bare // of its offsets, once it closes without outputs
	parts   []part
	records []*kgo.Record // in order of the units
	first   []int         // of each unit: where its records begin in records
	bytes   int64
	limit   func(topic string) int32 // the client's, of a batch
	promises
	outcome
}

// alone tells that a record is larger than the client takes: it fails by itself, and no other with
// it.
func (w *window) alone(r *kgo.Record) bool {
	const overhead = 128 // of a batch with one record, about
	n := len(r.Key) + len(r.Value) + overhead
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n > int(w.limit(r.Topic))
}

func newWindow(now time.Time, limit func(topic string) int32) *window {
	w := &window{number: windows.Add(1), opened: now, limit: limit}
	w.begin()
	return w
}

// windows counts those of all lanes. A claim whose number is another lane's would be taken for one
// of the window's, and its offset be left out.
var windows atomic.Uint64

// add takes a unit in, before its first record is produced.
func (w *window) add(r Run) {
	if n := len(w.runs); n > 0 && w.runs[n-1].Batch == r.Batch && w.runs[n-1].To == r.From {
		w.runs[n-1].To = r.To
	} else {
		w.runs = append(w.runs, r)
	}
	for i := r.From; i < r.To; i++ {
		w.first = append(w.first, len(w.records))
		if st := r.Batch.Unit(i).Claim; st != nil && st.window != w.number {
			st.window = w.number
			w.claims = append(w.claims, st)
		}
	}
	w.units += r.To - r.From
}

// tell tells the batches that the window closes.
func (w *window) tell() {
	for _, r := range w.runs {
		if b, wants := r.Batch.(Following); wants {
			b.Closes()
		}
	}
}

// each calls fn for every unit, by its place in the window.
func (w *window) each(fn func(place int, b Batch, i int)) {
	place := 0
	for _, r := range w.runs {
		for i := r.From; i < r.To; i++ {
			fn(place, r.Batch, i)
			place++
		}
	}
}

// blamed are the places of the units whose records failed by their own fault, with the error; and
// the gravest error that is nobody's, or everybody's.
func (w *window) blamed() (units map[int]error, other error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	units = map[int]error{}
	of := map[*kgo.Record]error{}
	grave := ofWindow
	for _, f := range w.failures {
		b := blameRecord(f.err)
		if b != ofUnit {
			if other == nil || b > grave {
				other, grave = f.err, b
			}
			continue
		}
		of[f.rec] = f.err
	}
	for at, rec := range w.records {
		if err := of[rec]; err != nil {
			place, _ := slices.BinarySearch(w.first, at+1)
			if place--; units[place] == nil {
				units[place] = &RecordError{Output: at - w.first[place], Topic: rec.Topic, Partition: rec.Partition, Err: err, alone: w.alone(rec)}
			}
		}
	}
	return units, other
}

// stage notes in the trackers that the units are in a transaction. The places are of units whose
// inputs are not open: they would be visible without an offset.
func (w *window) stage() (strangers []int) {
	place := 0
	for _, r := range w.runs {
		var locked *Claims // for neighbours, too
		for i := r.From; i < r.To; i++ {
			if u := r.Batch.Unit(i); u.Claim != nil && !u.Crossing {
				if of := u.Claim.of; of != locked {
					locked.unlock()
					of.mu.Lock()
					locked = of
				}
				if u.Claim.core.Stage(u.Index, 1) == 0 && u.Claim.state != abandoned {
					strangers = append(strangers, place)
				}
			}
			place++
		}
		locked.unlock()
	}
	return strangers
}

// unlock unlocks the claims, if there are any.
func (s *Claims) unlock() {
	if s != nil {
		s.mu.Unlock()
	}
}

func (w *window) settle() {
	for _, st := range w.claims {
		st.of.mu.Lock()
		st.core.Settle()
		st.of.mu.Unlock()
	}
}

func (w *window) unstage() {
	for _, st := range w.claims {
		st.of.mu.Lock()
		st.core.Unstage()
		st.of.mu.Unlock()
	}
}

func (w *window) hasAbandoned() bool { return slices.ContainsFunc(w.claims, (*Claim).isAbandoned) }
