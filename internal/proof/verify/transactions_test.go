package verify

import "github.com/ackmark/ackmark/internal/donemeta"

// window is a transaction in the making, of an exactly-once process p.
type window struct {
	*Transaction
	r *run
}

func (r *run) begin() window { return r.beginBy("") }

func (r *run) beginBy(taker string) window {
	r.ExactlyOnce("p")
	return window{r.Begun("orders-0", taker), r}
}

// write lets outputs appear in the log, invisible until the end.
func (w window) write(ids ...uint64) window {
	for _, id := range ids {
		w.Output(out, w.r.next, key(id), value(id))
		w.r.next++
	}
	return w
}

// hand hands the units of inputs over, which lie in partition 0, and returns their call.
func (r *run) hand(ids ...uint64) *Delivery {
	units := make([]Unit, len(ids))
	for i, id := range ids {
		units[i] = Unit{Epoch: 1, Offset: int64(id), Outputs: [][]byte{value(id)}}
	}
	return r.Delivered("p", units)
}

func (w window) offset(p Partition, offset int64, done ...donemeta.Run) window {
	return w.offsetAs("a", 1, p, offset, done...)
}

func (w window) offsetAs(member string, generation int32, p Partition, offset int64, done ...donemeta.Run) window {
	w.Offsets(Commit{Member: member, Generation: generation, Partition: p, Offset: offset, LeaderEpoch: -1, Set: done})
	return w
}

func (w window) commit() { w.Committed(nil) }

// Every case has a neighbour in which the same thing is done right.
var transactions = []told{
	{name: "windows", play: func(r *run) {
		d := r.hand(0, 1, 2, 3)
		r.begin().write(1, 0).offset(in0, 2).commit()
		d.Acked(0, 2)
		r.Settle()
		r.begin().write(3).offset(in0, 2, donemeta.Run{First: 3, Last: 3}).commit()
		r.begin().write(2).offset(in0, 4).commit()
		d.Acked(2, 2)
		r.Settle()
	}},
	{name: "nothing of an aborted one counts", play: func(r *run) {
		r.hand(0, 1)
		r.begin().write(0, 1).offset(in0, 5).Aborted()
		r.begin().write(0, 1).offset(in0, 2).commit()
	}},
	{name: "a window of filtered inputs", cfg: CheckerConfig{Expect: func(uint64) int { return 0 }}, play: func(r *run) {
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0}, {Epoch: 1, Offset: 1}})
		r.begin().offset(in0, 2).commit()
		d.Acked(0, 2)
		r.Settle()
	}},
	{name: "an offset whose output is another transaction's", play: func(r *run) {
		r.hand(0, 1)
		r.begin().write(0, 1).offset(in0, 1).commit()
		r.begin().offset(in0, 2).commit()
	}, want: []Name{OutputsAlone, OffsetAlone}},
	{name: "an offset without an output", play: func(r *run) {
		r.hand(0, 1)
		r.begin().write(0).offset(in0, 2).commit()
	}, want: []Name{OffsetAlone, PrematureCommit}},
	{name: "a done-set without an output", play: func(r *run) {
		r.hand(0, 1, 2)
		r.begin().write(0).offset(in0, 1, donemeta.Run{First: 2, Last: 2}).commit()
	}, want: []Name{OffsetAlone, DoneSetWrong}},
	{name: "filtered inputs, reported before the end", cfg: CheckerConfig{Expect: func(uint64) int { return 0 }}, play: func(r *run) {
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0}, {Epoch: 1, Offset: 1}})
		w := r.begin().offset(in0, 2)
		d.Acked(0, 2)
		r.Settle()
		w.commit()
	}, want: []Name{FalseAck}},
	{name: "one of two outputs", cfg: CheckerConfig{PerInput: 2}, play: func(r *run) {
		r.hand(0)
		r.begin().write(0).offset(in0, 1).commit()
	}, want: []Name{OffsetAlone, PrematureCommit}},
	{name: "an output that was plain before is none of this transaction's", play: func(r *run) {
		r.hand(0)
		r.Checker.Durable(out, 0, key(0), value(0))
		r.next = 1
		r.begin().offset(in0, 1).commit()
	}, want: []Name{OffsetAlone}},
	{name: "a dead letter with its offset", play: func(r *run) {
		r.hand(0)
		w := r.begin()
		w.DeadLettered(value(0))
		w.offset(in0, 1).commit()
	}},
	{name: "a dead letter without its offset", play: func(r *run) {
		r.hand(0)
		w := r.begin()
		w.DeadLettered(value(0))
		w.commit()
	}, want: []Name{OutputsAlone}},
	{name: "the dead letter again", play: func(r *run) {
		r.hand(0)
		for range 2 {
			w := r.begin()
			w.DeadLettered(value(0))
			w.offset(in0, 1).commit()
		}
	}, want: []Name{OutputTwice, OutputsAlone}},
	{name: "outputs whose commit the broker refused", play: func(r *run) {
		r.hand(0)
		r.begin().write(0).offset(in0, 1).Committed(func(Commit) bool { return false })
	}, want: []Name{OutputsAlone}},
	{name: "a commit that is sent again with the right generation", play: func(r *run) {
		r.hand(0)
		r.Assigned("b", 2, in0)
		r.Assigned("a", 3, in0)
		r.begin().write(0).offsetAs("a", 1, in0, 1).offsetAs("a", 3, in0, 1).Committed(func(c Commit) bool { return c.Generation == 3 })
	}},
	{name: "a commit of a stale generation", play: func(r *run) {
		r.hand(0)
		r.Assigned("b", 2, in0)
		r.Assigned("a", 3, in0)
		r.begin().write(0).offset(in0, 1).commit()
	}, want: []Name{CommitStale}},
	{name: "a commit for somebody else's partition", play: func(r *run) {
		r.hand(0)
		r.Assigned("b", 2, in0)
		r.begin().write(0).offset(in0, 1).commit()
	}, want: []Name{CommitNotHeld}},
	{name: "the partition moves after its commit was taken", play: func(r *run) {
		r.hand(0)
		w := r.begin().write(0).offset(in0, 1)
		r.Assigned("b", 2, in0)
		w.commit()
	}},
	{name: "its will leaves the group after its commit was taken", play: func(r *run) {
		r.hand(0)
		w := r.begin().write(0).offset(in0, 1)
		r.ProcessGone("p")
		r.Left("a", true)
		w.commit()
	}},
	{name: "its will leaves the group before that", play: func(r *run) {
		r.hand(0)
		w := r.begin().write(0)
		r.ProcessGone("p")
		r.Left("a", true)
		w.offset(in0, 1).commit()
	}, want: []Name{ClosedWrote, ClosedCommitted}},
	{name: "its will leaves the group, and only another partition's commit was taken", play: func(r *run) {
		r.hand(0)
		w := r.begin().write(0).offset(in1, 5)
		r.ProcessGone("p")
		r.Left("a", true)
		w.commit()
	}, want: []Name{ClosedWrote, OutputsAlone}},
	{name: "nobody has the partition that a member lost without a word", play: func(r *run) {
		r.hand(0)
		r.Unassigned("a", in0)
		r.begin().write(0).offset(in0, 1).commit()
	}},
	{name: "a commit after that, in the next generation", play: func(r *run) {
		r.hand(0)
		r.Unassigned("a", in0)
		r.begin().write(0).offsetAs("a", 2, in0, 1).commit()
	}, want: []Name{CommitNotHeld}},
	{name: "a commit without a member", play: func(r *run) {
		r.hand(0)
		r.begin().write(0).offsetAs("", -1, in0, 1).commit()
	}, want: []Name{CommitAnonymous}},
	{name: "a transaction takes the offset back", play: func(r *run) {
		r.hand(0, 1, 2)
		r.begin().write(0, 1).offset(in0, 2).commit()
		r.begin().write(2).offset(in0, 1, donemeta.Run{First: 2, Last: 2}).commit()
	}, want: []Name{CommitBack}},
	{name: "the dead are no excuse for it", play: func(r *run) {
		r.hand(0, 1, 2)
		r.begin().write(0, 1).offset(in0, 2).commit()
		r.ProcessGone("p")
		r.begin().write(2).offset(in0, 1, donemeta.Run{First: 2, Last: 2}).commit()
	}, want: []Name{CommitBack}},
	{name: "a done-set is left out", play: func(r *run) {
		r.hand(0, 1, 2)
		r.begin().write(2).offset(in0, 0, donemeta.Run{First: 2, Last: 2}).commit()
		r.begin().write(0).offset(in0, 1).commit()
	}, want: []Name{DoneSetForgot}},
	{name: "an input that this assignment had not handed over", play: func(r *run) {
		r.hand(0)
		r.begin().write(0, 1).offset(in0, 2).commit()
	}, want: []Name{OldAckCounted}},
	{name: "a new assignment begins where a transaction was", play: func(r *run) {
		r.hand(0, 2)
		r.begin().write(0, 2).offset(in0, 1, donemeta.Run{First: 2, Last: 2}).commit()
		r.EpochStart("p", 3, "a", in0, 1)
		r.Delivered("p", []Unit{{Epoch: 3, Offset: 1}})
		r.begin().write(1).offset(in0, 3).commit()
	}},

	{name: "an output again in a later transaction", play: func(r *run) {
		r.hand(0, 1)
		r.begin().write(0).offset(in0, 1).commit()
		r.Incident("killed")
		r.begin().write(0, 1).offset(in0, 2).commit()
	}, want: []Name{OutputTwice, OutputsAlone}},
	{name: "an output twice in one transaction", play: func(r *run) {
		r.hand(0)
		r.begin().write(0, 0).offset(in0, 1).commit()
	}, want: []Name{OutputTwice}},
	{name: "an output again in no transaction", play: func(r *run) {
		r.hand(0)
		r.begin().write(0).offset(in0, 1).commit()
		r.Incident("killed")
		r.write(0)
	}, want: []Name{OutputTwice}},
	{name: "what was at least once may repeat in a transaction", play: func(r *run) {
		r.handOut(0)
		r.write(0)
		r.Incident("killed")
		r.hand(0)
		r.begin().write(0).offset(in0, 1).commit()
	}},
	{name: "a replay by the operator's will, in transactions", play: func(r *run) {
		r.hand(0)
		r.begin().write(0).offset(in0, 1).commit()
		r.Reset(in0, 0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.Delivered("p", []Unit{{Epoch: 3, Offset: 0}})
		r.begin().write(0).offset(in0, 1).commit()
	}},

	{name: "a plain commit of an exactly-once process", play: func(r *run) {
		r.ExactlyOnce("p")
		r.write(0)
		r.ack(1, 0, 0)
		r.commit(in0, 1)
	}, want: []Name{CommitBeside, FalseAck}},
	{name: "a plain done-set of an exactly-once process", play: func(r *run) {
		r.ExactlyOnce("p")
		r.write(1)
		r.ack(1, 1, 1)
		r.Committed(Commit{Member: "a", Generation: 1, Partition: in0, Set: []donemeta.Run{{First: 1, Last: 1}}})
	}, want: []Name{CommitBeside, FalseAck}},
	{name: "a stay's start is committed plainly", play: func(r *run) {
		r.ExactlyOnce("p")
		r.commit(in0, 0)
	}},
	{name: "an at-least-once process commits plainly beside it", play: func(r *run) {
		r.ExactlyOnce("another")
		r.write(0)
		r.ack(1, 0, 0)
		r.commit(in0, 1)
	}},

	{name: "reported before the end", play: func(r *run) {
		d := r.hand(0)
		w := r.begin().write(0).offset(in0, 1)
		d.Acked(0, 1)
		r.Settle()
		w.commit()
	}, want: []Name{FalseAck}},
	{name: "reported with outputs, but without the offset", play: func(r *run) {
		r.ExactlyOnce("p")
		r.write(0)
		r.ack(1, 0, 0)
		r.Settle()
	}, want: []Name{FalseAck}},
	{name: "reported after an abort", play: func(r *run) {
		d := r.hand(0)
		r.begin().write(0).offset(in0, 1).Aborted()
		d.Acked(0, 1)
		r.Settle()
	}, want: []Name{FalseAck}},

	{name: "a reader sees the log's order, not that of the ends", play: func(r *run) {
		r.EpochStart("p", 2, "a", in1, 5)
		r.Delivered("p", []Unit{{Epoch: 2, Offset: 5}, {Epoch: 2, Offset: 6}})
		first := r.begin().write(10).offset(in1, 6)
		r.begin().write(11).offset(in1, 5, donemeta.Run{First: 6, Last: 6}).commit()
		first.offset(in1, 7).commit()
	}},
	{name: "out of order in the log", play: func(r *run) {
		r.Delivered("p", []Unit{{Epoch: 2, Offset: 5}, {Epoch: 2, Offset: 6}})
		open := r.begin().write(0)
		r.begin().write(11).offset(in1, 5, donemeta.Run{First: 6, Last: 6}).commit()
		r.begin().write(10).offset(in1, 7).commit()
		if r.Has(Reordered) {
			r.violate(KeySplit, out, "no reader has seen it yet")
		}
		open.Aborted()
	}, want: []Name{Reordered}},
	{name: "plain outputs wait for a reader, too", play: func(r *run) {
		open := r.begin().write(0)
		r.write(11)
		open.Aborted()
		r.write(10)
	}, want: []Name{Reordered}},

	{name: "the younger sidecar goes on", play: func(r *run) {
		r.hand(0, 1)
		r.Took("orders-0", "older")
		r.beginBy("older").write(0).offset(in0, 1).commit()
		r.Took("orders-0", "younger")
		r.Took("orders-0", "younger") // a new client of the same
		r.beginBy("younger").write(1).offset(in0, 2).commit()
	}},
	{name: "the older sidecar takes its id back", play: func(r *run) {
		r.hand(0, 1)
		r.Took("orders-0", "older")
		r.beginBy("older").write(0).offset(in0, 1).commit()
		r.Took("orders-0", "younger")
		r.Took("orders-0", "older")
		r.beginBy("older").write(1).offset(in0, 2).commit()
	}, want: []Name{OlderGoesOn}},

	{name: "inputs of a transaction are there when it is committed", play: func(r *run) {
		w := r.Begun("feed", "")
		w.Input(in1, 8, AppendValue(nil, ID{Global: 13, Key: 10, Seq: 3}, nil))
		aborted := r.Begun("feed-1", "")
		aborted.Input(in1, 9, AppendValue(nil, ID{Global: 14, Key: 10, Seq: 4}, nil))
		aborted.Aborted()
		w.Committed(nil)
		if n := r.Counts().Inputs; n != 14 {
			r.violate(LagLeft, in1, "%d inputs", n)
		}
	}},
}

// What only the end can tell.
var openEnds = []ending{
	{"the whole job in windows", func(r *run) {
		first := r.hand(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		second := r.Delivered("p", []Unit{{Epoch: 2, Offset: 5}, {Epoch: 2, Offset: 6}, {Epoch: 2, Offset: 7}})
		r.begin().write(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).offset(in0, 10).offset(in1, 8).commit()
		first.Acked(0, 10)
		second.Acked(0, 3)
	}, nil},
	{"a transaction is left open", func(r *run) {
		r.all()
		r.begin().write(9)
	}, []Name{LeftOpen}},
}
