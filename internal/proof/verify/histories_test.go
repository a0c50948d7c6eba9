package verify

import "errors"

var (
	in0 = Partition{"in", 0}
	in1 = Partition{"in", 1}
	out = Partition{"out", 0}
)

// run is a history in the making: inputs 0 to 9 of partition 0 lie at offsets 0 to 9, and 10 to 12
// of partition 1 at 5 to 7. Member a holds both from generation 1, in epochs 1 and 2 of process p.
type run struct {
	*Checker
	next int64 // output offset
}

func start(cfg CheckerConfig) *run {
	cfg.Group = "g"
	r := &run{Checker: NewChecker(cfg)}
	for i := range uint64(10) {
		r.Appended(in0, int64(i), value(i))
	}
	for i := range uint64(3) {
		r.Appended(in1, 5+int64(i), value(10+i))
	}
	r.Assigned("a", 1, in0, in1)
	r.EpochStart("p", 1, "a", in0, 0)
	r.EpochStart("p", 2, "a", in1, 5)
	return r
}

// value: every input has a key of its own in partition 0, and one key together in partition 1.
func value(id uint64) []byte {
	if id < 10 {
		return AppendValue(nil, ID{Global: id, Key: uint32(id)}, nil)
	}
	return AppendValue(nil, ID{Global: id, Key: 10, Seq: id - 10}, nil)
}

func key(id uint64) []byte { return KeyBytes(uint32(min(id, 10))) }

// write lets outputs appear in the log.
func (r *run) write(ids ...uint64) {
	for _, id := range ids {
		r.Durable(out, r.next, key(id), value(id))
		r.next++
	}
}

// ack hands units over and acknowledges them, whose outputs the case has written.
func (r *run) ack(epoch uint64, first int64, ids ...uint64) {
	units := make([]Unit, len(ids))
	for i, id := range ids {
		units[i] = Unit{Epoch: epoch, Offset: first + int64(i), Outputs: [][]byte{value(id)}}
	}
	r.Delivered("p", units).Acked(0, len(ids))
}

func (r *run) handOut(ids ...uint64) {
	for _, id := range ids {
		p, offset := in0, int64(id)
		if id >= 10 {
			p, offset = in1, int64(id)-5
		}
		r.HandedOut(p, offset, value(id))
	}
}

// all does the whole job in the way it is meant.
func (r *run) all() {
	r.write(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	r.ack(1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	r.ack(2, 5, 10, 11, 12)
	r.commit(in0, 10)
	r.commit(in1, 8)
}

func (r *run) commit(p Partition, offset int64) { r.commitAs("a", 1, p, offset) }

func (r *run) commitAs(member string, generation int32, p Partition, offset int64) {
	r.Committed(Commit{Member: member, Generation: generation, Partition: p, Offset: offset})
}

type told struct {
	name string
	cfg  CheckerConfig
	play func(r *run)
	want []Name // kinds found, each at least once
}

// Every case has a neighbour in which the same thing is done right.
var histories = []told{
	{name: "the whole job", play: func(r *run) { r.all() }},

	{name: "commit of what is done, out of order", play: func(r *run) {
		r.write(2, 0, 1)
		r.ack(1, 0, 0, 1, 2)
		r.commit(in0, 3)
	}},
	{name: "commit one too far", play: func(r *run) {
		r.write(2, 0, 1)
		r.ack(1, 0, 0, 1, 2)
		r.commit(in0, 4)
	}, want: []Name{PrematureCommit, OldAckCounted}},
	{name: "commit over a hole", play: func(r *run) {
		r.write(0, 2)
		r.ack(1, 0, 0, 1, 2)
		r.commit(in0, 3)
	}, want: []Name{PrematureCommit, FalseAck}},
	{name: "commit after the ack, before the log: the ack lied", play: func(r *run) {
		r.ack(1, 0, 0)
		r.commit(in0, 1)
	}, want: []Name{PrematureCommit, FalseAck}},
	{name: "commit of a gap", play: func(r *run) { r.commit(in1, 5) }},
	{name: "commit beyond the end", play: func(r *run) {
		r.all()
		r.commit(in1, 9)
	}, want: []Name{CommitBeyondLog}},
	{name: "a filtered input needs no output", cfg: CheckerConfig{Expect: func(id uint64) int { return int(id % 2) }}, play: func(r *run) {
		r.write(1)
		r.ack(1, 1, 1)
		r.commit(in0, 3)
	}},
	{name: "one of two outputs is missing", cfg: CheckerConfig{PerInput: 2}, play: func(r *run) {
		r.write(0)
		r.ack(1, 0, 0)
		r.commit(in0, 1)
	}, want: []Name{PrematureCommit}},
	{name: "a dead letter is an end", play: func(r *run) {
		r.DeadLettered(value(0))
		r.ack(1, 0, 0)
		r.commit(in0, 1)
	}},

	{name: "commit of the holder in a later generation", play: func(r *run) { r.commitAs("a", 4, in0, 0) }},
	{name: "commit of somebody else's partition", play: func(r *run) { r.commitAs("b", 1, in0, 0) }, want: []Name{CommitNotHeld}},
	{name: "commit after the partition moved", play: func(r *run) {
		r.Assigned("b", 2, in0)
		r.commitAs("a", 2, in0, 0)
	}, want: []Name{CommitNotHeld}},
	{name: "commit after letting go", play: func(r *run) {
		r.Unassigned("a", in0)
		r.commit(in0, 0)
	}, want: []Name{CommitNotHeld}},
	{name: "letting go of what is somebody else's by now", play: func(r *run) {
		r.Assigned("b", 2, in0)
		r.Unassigned("a", in0)
		r.commitAs("b", 2, in0, 0)
	}},
	{name: "commit of an old generation", play: func(r *run) {
		r.Assigned("b", 2, in0)
		r.Assigned("a", 3, in0)
		r.commitAs("a", 2, in0, 0)
	}, want: []Name{CommitStale}},
	{name: "commit without membership", play: func(r *run) { r.commitAs("", -1, in0, 0) }, want: []Name{CommitAnonymous}},

	{name: "commit goes back", play: func(r *run) {
		r.all()
		r.commit(in0, 9)
	}, want: []Name{CommitBack}},
	{name: "the same commit again", play: func(r *run) {
		r.all()
		r.commit(in0, 10)
	}},
	{name: "a refused request goes back", play: func(r *run) {
		r.all()
		r.Requested(Commit{Member: "b", Generation: 0, Partition: in0, Offset: 99})
	}},
	{name: "one commit after the other", play: func(r *run) {
		for range 2 {
			r.CommitSent("c")
			r.CommitAnswered("c", false)
		}
		r.CommitSent("c")
		r.CommitSent("another")
	}},
	{name: "two commits at a time", play: func(r *run) {
		r.CommitSent("c")
		r.CommitSent("c")
	}, want: []Name{CommitOverlap}},
	{name: "a commit given up", play: func(r *run) {
		r.CommitSent("c")
		r.CommitAnswered("c", true)
	}, want: []Name{CommitCancelled}},

	{name: "a new epoch does its own work", play: func(r *run) {
		r.write(0, 1)
		r.ack(1, 0, 0, 1)
		r.commit(in0, 1)
		r.EpochStart("p", 3, "a", in0, 1)
		r.Incident("moved")
		r.write(1)
		r.ack(3, 1, 1)
		r.commit(in0, 2)
	}},
	{name: "a late ack counts in the new epoch", play: func(r *run) {
		r.write(0, 1)
		r.commit(in0, 0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.ack(1, 0, 0, 1)
		r.commit(in0, 2)
	}, want: []Name{OldAckCounted}},
	{name: "an old tracker's mark", play: func(r *run) {
		r.write(0, 1, 2)
		r.ack(1, 0, 0, 1, 2)
		r.commit(in0, 1)
		r.EpochStart("p", 3, "a", in0, 3)
		r.commit(in0, 2)
	}, want: []Name{CommitBelowStart}},

	{name: "duplicates after an incident, within the bound", play: func(r *run) {
		r.handOut(0, 1, 2, 3)
		r.write(0, 1, 2)
		r.ack(1, 0, 0, 1)
		r.commit(in0, 2)
		if b := r.Incident("killed", in0); b.Total() != 2 || b.Done != 1 || b.Unacked != 1 {
			r.violate("bound", in0, "%v", b)
		}
		r.write(2, 3)
	}},
	{name: "a committed input repeats", play: func(r *run) {
		r.handOut(0, 1, 2)
		r.write(0, 1, 2)
		r.ack(1, 0, 0, 1)
		r.commit(in0, 2)
		r.Incident("killed")
		r.write(1)
	}, want: []Name{TooManyDuplicates}},
	{name: "one incident, two repetitions", play: func(r *run) {
		r.write(0)
		r.Incident("killed")
		r.write(0, 0)
	}, want: []Name{TooManyDuplicates}},
	{name: "an input that nobody had repeats", play: func(r *run) {
		r.handOut(0)
		r.write(0, 1)
		r.Incident("killed")
		r.write(1)
	}, want: []Name{TooManyDuplicates}},
	{name: "a replay by the operator's will", play: func(r *run) {
		r.all()
		r.Reset(in0, 5)
		r.write(5, 6)
		r.EpochStart("p", 3, "a", in0, 5)
		r.ack(3, 5, 5, 6)
		r.commit(in0, 7)
	}},
	{name: "duplicates may be allowed", cfg: CheckerConfig{DuplicatesAllowed: true}, play: func(r *run) { r.write(0, 0, 0) }},

	{name: "a key's outputs in order, with repeats between", cfg: CheckerConfig{DuplicatesAllowed: true}, play: func(r *run) { r.write(10, 11, 10, 11, 12) }},
	{name: "a key's outputs out of order", play: func(r *run) { r.write(10, 12, 11) }, want: []Name{Reordered}},
	{name: "a key in two partitions", play: func(r *run) {
		r.write(10)
		r.Durable(Partition{"out", 1}, 0, key(11), value(11))
	}, want: []Name{KeySplit}},

	{name: "memory within the bound", play: func(r *run) { r.MemorySample("heap", 10, 10) }},
	{name: "memory beyond the bound", play: func(r *run) { r.MemorySample("heap", 11, 10) }, want: []Name{MemoryExceeded}},

	{name: "every unit reported once", play: func(r *run) {
		r.write(0, 1)
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0}, {Epoch: 1, Offset: 1}, {Epoch: 1, Offset: 2}})
		d.Acked(1, 1)
		d.Failed(2, errors.New("MESSAGE_TOO_LARGE"))
		d.Acked(0, 1)
	}},
	{name: "a unit reported twice", play: func(r *run) {
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0}, {Epoch: 1, Offset: 1}})
		d.Acked(0, 1)
		d.Acked(0, 2)
	}, want: []Name{ReportedTwice}},
	{name: "acked after failed", play: func(r *run) {
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0}})
		d.Failed(0, errors.New("x"))
		d.Acked(0, 1)
	}, want: []Name{ReportedTwice}},
	{name: "a unit that is not there", play: func(r *run) { r.Delivered("p", []Unit{{}}).Acked(1, 1) }, want: []Name{WrongUnitReference}},
	{name: "a report of a refused call", play: func(r *run) {
		d := r.Delivered("p", []Unit{{}})
		d.Acked(0, 1)
		d.Refused()
	}, want: []Name{WrongUnitReference}},
	{name: "an ack of what is in no log", play: func(r *run) { r.ack(1, 0, 0); r.Settle() }, want: []Name{FalseAck}},
	{name: "an ack of what is", play: func(r *run) { r.write(0); r.ack(1, 0, 0); r.Settle() }},
	{name: "acks are the truth where nobody sees the log", cfg: CheckerConfig{AcksAreTruth: true}, play: func(r *run) {
		r.ack(1, 0, 0, 1)
		r.commit(in0, 2)
	}},
	{name: "acks are the truth, and there is none", cfg: CheckerConfig{AcksAreTruth: true}, play: func(r *run) {
		r.ack(1, 0, 0)
		r.commit(in0, 2)
	}, want: []Name{PrematureCommit, OldAckCounted}},

	{name: "an output of nothing", play: func(r *run) { r.Durable(out, 0, nil, []byte("hello")) }, want: []Name{UnknownOutput}},
	{name: "an output of an input that was not fed", play: func(r *run) { r.Durable(out, 0, nil, value(77)) }, want: []Name{UnknownOutput}},
	{name: "a dead letter of nothing", play: func(r *run) { r.DeadLettered([]byte("hello")) }, want: []Name{UnknownOutput}},
	{name: "a dead letter of a sound input", play: func(r *run) {
		r.Rejects(func(id uint64) bool { return id == 1 })
		r.DeadLettered(value(0))
	}, want: []Name{RejectedWrongly}},
	{name: "a dead letter of a poisoned one", play: func(r *run) {
		r.Rejects(func(id uint64) bool { return id == 0 })
		r.DeadLettered(value(0))
	}},
	{name: "two records mixed up", play: func(r *run) { r.Durable(out, 0, key(3), value(4)) }, want: []Name{CorruptOutput}},
	{name: "a damaged output", play: func(r *run) {
		v := AppendValue(nil, ID{Global: 0}, []byte("abc"))
		v[len(v)-1] = 'x'
		r.Durable(out, 0, key(0), v)
	}, want: []Name{CorruptOutput}},
}

type ending struct {
	name string
	play func(r *run)
	want []Name
}

// What only the end can tell. Each history begins with the whole job but for what it leaves out.
var finishes = []ending{
	{"the whole job", func(r *run) { r.all() }, nil},
	{"the whole job, as the handler saw it", func(r *run) { r.handOut(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12); r.all() }, nil},
	{"nothing is done", func(*run) {}, []Name{LostOutput, LagLeft}},
	{"an output is lost", func(r *run) {
		r.write(0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.ack(1, 0, 0, 1, 2)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in0, 3)
		r.commit(in1, 8)
	}, []Name{LostOutput, LagLeft}},
	{"the last commit is missing", func(r *run) {
		r.write(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in1, 8)
	}, []Name{LagLeft}},
	{"the last input alone is not committed", func(r *run) {
		r.write(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.ack(1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in0, 9)
		r.commit(in1, 8)
	}, []Name{LagLeft}},
	{"an acknowledgement that no log knows of", func(r *run) {
		r.write(0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12)
		r.ack(1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in0, 9)
		r.commit(in1, 8)
		r.ack(1, 9, 9) // after the last commit, which looks too
	}, []Name{FalseAck, LostOutput, LagLeft}},
	{"given up are only those that were said to be", func(r *run) {
		r.Excuse(in0, 0, 8, "out of range: Earliest")
		r.write(10, 11, 12)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in1, 8)
	}, []Name{LostOutput, LagLeft}},
	{"a stranded partition", func(r *run) {
		r.write(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.commit(in0, 0)
		r.Unassigned("a", in0)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in1, 8)
	}, []Name{LagLeft, Stranded}},
	{"a skipped input, made up for by somebody else's output", func(r *run) {
		r.handOut(0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.all()
	}, []Name{SkippedSilently}},
	{"a skipped input by explicit choice", func(r *run) {
		r.Excuse(in0, 0, 5, "out of range: Earliest")
		r.handOut(5, 6, 7, 8, 9, 10, 11, 12)
		r.write(5, 6, 7, 8, 9, 10, 11, 12)
		r.ack(1, 5, 5, 6, 7, 8, 9)
		r.ack(2, 5, 10, 11, 12)
		r.commit(in0, 10)
		r.commit(in1, 8)
	}, nil},
	{"a unit is never reported", func(r *run) {
		r.all()
		r.Delivered("p", []Unit{{Epoch: 1, Offset: 4}, {Epoch: 1, Offset: 5}}).Acked(0, 1)
	}, []Name{NeverReported}},
	{"a reset that a done-set swallows", func(r *run) {
		r.handOut(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.all()
		r.Reset(in0, 7)
		r.handOut(7, 9)
		r.EpochStart("p", 3, "a", in0, 7)
		r.ack(3, 7, 7, 8, 9)
		r.commit(in0, 10)
	}, []Name{SkippedSilently}},
	{"a reset that is replayed", func(r *run) {
		r.handOut(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		r.all()
		r.Reset(in0, 7)
		r.handOut(7, 8, 9)
		r.EpochStart("p", 3, "a", in0, 7)
		r.ack(3, 7, 7, 8, 9)
		r.commit(in0, 10)
	}, nil},
	{"nobody waits for the reports of the dead", func(r *run) {
		r.all()
		r.Delivered("p", []Unit{{Epoch: 1, Offset: 4}})
		r.ProcessGone("p")
	}, nil},
	{"nobody waits for the reports of a refused call", func(r *run) {
		r.all()
		r.Delivered("p", []Unit{{Epoch: 1, Offset: 4}}).Refused()
	}, nil},
}
