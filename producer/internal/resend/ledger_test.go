package resend

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/unit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// pair is a client's queue and a sidecar's ledger with a stream between them that breaks.
type pair struct {
	t     *rapid.T
	queue *Queue[struct{}, failure]
	led   ledger.Ledger
	took  uint64 // units that the queue took; each unit's data is its number in this order
	told  map[uint64]bool
	fate  map[uint64]map[bool]bool // what the sidecar knows: acked, failed, or both where it is received twice
	wire  []*ledger.Message        // sent and not received
	data  map[*ledger.Message][]uint64
	open  []openUnit
	fails int
}

type openUnit struct {
	m *ledger.Message
	i int32
}

var pairCredit = unit.Cost{Bytes: 600, Records: 40}

func newPair(t *rapid.T) *pair {
	p := &pair{
		t: t, led: ledger.New(true), told: make(map[uint64]bool), fate: make(map[uint64]map[bool]bool),
		data: make(map[*ledger.Message][]uint64),
	}
	p.queue = newQueue(200, func(f result) {
		for k := range f.N {
			id := f.Call.ID*10 + uint64(f.First+k)
			if p.told[id] {
				t.Fatalf("unit %d is told twice", id)
			}
			if p.told[id] = true; !p.fate[id][f.Err == nil] {
				t.Fatalf("unit %d is told as acked %v, but it ended as %v", id, f.Err == nil, p.fate[id])
			}
		}
	})
	return p
}

// add makes the queue take units, calls of ten.
func (p *pair) add(n int) {
	for range n {
		f := p.queue.Open()
		f.Data = binary.BigEndian.AppendUint64(f.Data, p.took)
		p.queue.Add(1, 8, 1, call{ID: p.took / 10}, int(p.took%10))
		p.took++
	}
}

// send puts a message on the stream.
func (p *pair) send() bool {
	f := p.queue.Send(pairCredit, 0)
	if f == nil {
		return false
	}
	m := new(ledger.Message)
	m.Begin(f.First, f.Len())
	for _, s := range f.slots {
		m.Add(ledger.Cost{Bytes: s.Cost().Bytes, Records: int64(s.Cost().Records)})
	}
	f.each(func(_ int, data []byte) { p.data[m] = append(p.data[m], binary.BigEndian.Uint64(data)) })
	p.wire = append(p.wire, m)
	return true
}

// receive takes the next message off the stream. A client that keeps to its queue never exceeds
// the credit.
func (p *pair) receive() bool {
	if len(p.wire) == 0 {
		return false
	}
	m := p.wire[0]
	p.wire = p.wire[1:]
	if _, err := p.led.Receive(m, ledger.Cost{Bytes: pairCredit.Bytes, Records: int64(pairCredit.Records)}); err != nil {
		p.t.Fatal(err)
	}
	for i := range m.Len() {
		p.open = append(p.open, openUnit{m, int32(i)})
	}
	return true
}

func (p *pair) end(k int, acked bool) {
	u := p.open[k]
	p.open[k] = p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	if p.fails == ledger.MaxTold {
		acked = true // more than that are not remembered
	}
	id := p.data[u.m][u.i]
	if p.fate[id] == nil {
		p.fate[id] = make(map[bool]bool)
	}
	p.fate[id][acked] = true
	if acked {
		p.led.Ack(u.m, u.i)
		return
	}
	p.fails++
	p.led.Fail(u.m, u.i, &sidecarpb.UnitFailure{Error: &sidecarpb.Error{Code: "X"}})
}

// report takes what the ledger has to say, and lets the client hear it or not.
func (p *pair) report(arrives bool) {
	var r ledger.Report
	for more := true; more; {
		if _, more = p.led.Take(&r); !arrives {
			continue
		}
		hear := func(first, n uint64, err *failure) {
			if wrong := p.queue.Check(first, n); wrong != nil {
				p.t.Fatal(wrong)
			}
			p.queue.Report(first, int(n), err)
		}
		for _, x := range r.Acked {
			hear(x.First, x.Count, nil)
		}
		for _, f := range r.Failed {
			hear(f.GetSequence(), 1, &failure{Code: "X"})
		}
	}
}

// resume is a stream that broke, with what was on it, and another one.
func (p *pair) resume() {
	p.wire = nil
	high, ok, err := p.led.Resume(ranges(p.queue.Unreported()), pairCredit.Records)
	if err != nil || !ok {
		p.t.Fatalf("%v, %v: the session does not go on", ok, err)
	}
	if err := p.queue.Received(high); err != nil {
		p.t.Fatal(err)
	}
	p.queue.Resume(high, nil)
}

func ranges(list []wire.Range) (out []*sidecarpb.Range) {
	for _, r := range list {
		out = append(out, &sidecarpb.Range{First: r.First, Count: r.Count})
	}
	return out
}

// anew is another sidecar, which knows nothing.
func (p *pair) anew() {
	p.wire, p.open, p.fails, p.led = nil, nil, 0, ledger.New(true)
	p.queue.Rebuild(0, 1, nil)
}

// The client's queue and the sidecar's ledger agree about each unit, whatever is sent, ends, is
// reported, and is lost with a stream, or with the sidecar: each unit is told exactly once, as what
// it was, and all the credit comes back on both sides (S12).
func TestQueueAndLedgerAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"add", "send", "send", "receive", "receive", "end", "end", "end", "end", "report", "lose", "break", "anew"}).Draw(t, "step") {
			case "add":
				p.add(rapid.IntRange(1, 30).Draw(t, "units"))
			case "send":
				p.send()
			case "receive":
				p.receive()
			case "end":
				for range min(len(p.open), rapid.IntRange(1, 9).Draw(t, "how many")) {
					p.end(rapid.IntRange(0, len(p.open)-1).Draw(t, "which"), rapid.IntRange(0, 4).Draw(t, "fails") > 0)
				}
			case "report":
				p.report(true)
			case "lose":
				p.report(false)
				p.resume()
			case "break":
				p.resume()
			case "anew":
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					p.anew()
				}
			}
		}
		for uint64(len(p.told)) < p.took {
			before := len(p.told)
			for p.send() || p.receive() {
			}
			for len(p.open) > 0 {
				p.end(0, true)
			}
			if p.report(true); len(p.told) == before {
				t.Fatalf("%d of %d units are told, and nothing moves", before, p.took)
			}
		}
		if out := p.led.Outstanding(); out != (ledger.Outstanding{}) || p.led.Open() != 0 || p.queue.taken != (unit.Cost{}) || p.queue.sent != (unit.Cost{}) {
			t.Fatalf("left over: %+v and %d open in the ledger, %+v taken and %+v sent in the queue", out, p.led.Open(), p.queue.taken, p.queue.sent)
		}
	})
}
