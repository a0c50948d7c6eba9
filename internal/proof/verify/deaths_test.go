package verify

import (
	"errors"

	"github.com/ackmark/ackmark/internal/donemeta"
)

func (r *run) commitSet(p Partition, offset int64, set ...donemeta.Run) {
	r.Committed(Commit{Member: "a", Generation: 1, Partition: p, Offset: offset, Set: set})
}

// will commits as one does: it knows no leader epoch.
func (r *run) will(p Partition, offset int64, set ...donemeta.Run) {
	r.Committed(Commit{Member: "a", Generation: 1, Partition: p, Offset: offset, Set: set, LeaderEpoch: -1})
}

// deliver hands units over that nobody reports.
// cutOffAndWilled is a process that is cut off from its sidecar, whose will commits both inputs.
func (r *run) cutOffAndWilled() {
	r.deliver("p", 1, 0, 0, 1)
	r.write(0, 1)
	r.ack(1, 0, 0, 1)
	r.CutOff("p", true)
	r.will(in0, 2)
}

func (r *run) deliver(process string, epoch uint64, first int64, ids ...uint64) {
	units := make([]Unit, len(ids))
	for i, id := range ids {
		units[i] = Unit{Epoch: epoch, Offset: first + int64(i), Outputs: [][]byte{value(id)}}
	}
	r.Delivered(process, units)
}

func run1(offset int64) donemeta.Run { return donemeta.Run{First: offset, Last: offset} }

// Processes die, and commits say what is done above their offset.
var deaths = []told{
	{name: "a done-set of what is done", play: func(r *run) {
		r.write(0, 2, 3, 5)
		r.ack(1, 0, 0)
		r.ack(1, 2, 2, 3)
		r.ack(1, 5, 5)
		r.commitSet(in0, 1, donemeta.Run{First: 2, Last: 3}, run1(5))
		r.write(1)
		r.ack(1, 1, 1)
		r.commitSet(in0, 4, run1(5))
	}},
	{name: "a done-set that is off by one", play: func(r *run) {
		r.write(0, 2, 3)
		r.ack(1, 0, 0)
		r.ack(1, 2, 2, 3)
		r.commitSet(in0, 1, donemeta.Run{First: 3, Last: 4})
	}, want: []Name{DoneSetWrong, OldAckCounted}},
	{name: "a done-set beyond the log", play: func(r *run) {
		r.write(2)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2), run1(10))
	}, want: []Name{CommitBeyondLog}},
	{name: "a done-set that nobody can read", play: func(r *run) {
		r.Committed(Commit{Member: "a", Generation: 1, Partition: in0, SetError: errors.New("damaged")})
	}, want: []Name{DoneSetForeign}},
	{name: "a done-set of an older assignment's acks", play: func(r *run) {
		r.write(2)
		r.ack(1, 2, 2)
		r.commit(in0, 0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.commitSet(in0, 0, run1(2))
	}, want: []Name{OldAckCounted}},
	{name: "an inherited done-set", play: func(r *run) {
		r.write(2, 0)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2))
		r.EpochStart("p", 3, "a", in0, 0)
		r.ack(3, 0, 0)
		r.commitSet(in0, 1, run1(2))
		r.write(1)
		r.ack(3, 1, 1)
		r.commit(in0, 3)
	}},
	{name: "a done-set forgets", play: func(r *run) {
		r.write(0, 2)
		r.ack(1, 0, 0)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2))
		r.commit(in0, 1)
	}, want: []Name{DoneSetForgot}},
	{name: "an input of the done-set is handed out", play: func(r *run) {
		r.write(2)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2))
		r.EpochStart("p", 3, "a", in0, 0)
		r.HandedOutBy("p", 3, in0, 1, value(1))
		r.HandedOutBy("p", 3, in0, 2, value(2))
	}, want: []Name{HandedAgain}},
	{name: "the old assignment goes on with what it has", play: func(r *run) {
		r.write(2)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2))
		r.EpochStart("q", 1, "b", in0, 0)
		r.HandedOutBy("p", 1, in0, 2, value(2))
	}},
	{name: "what the done-set has does not repeat", play: func(r *run) {
		r.handOut(0, 1, 2)
		r.write(0, 2)
		r.ack(1, 2, 2)
		r.commitSet(in0, 0, run1(2))
		if b := r.Incident("killed", in0); b.Done != 1 || b.Unacked != 1 {
			r.violate("bound", in0, "%v", b)
		}
		r.write(0, 2)
	}, want: []Name{TooManyDuplicates}},
	{name: "commit behind a control record", play: func(r *run) {
		r.all()
		r.Committed(Commit{Member: "a", Generation: 1, Partition: in0, Offset: 11, LogEnd: 11})
	}},
	{name: "an operator's reset wipes the done-set", play: func(r *run) {
		r.handOut(0, 1, 2)
		r.write(0, 2)
		r.ack(1, 0, 0)
		r.ack(1, 2, 2)
		r.commitSet(in0, 1, run1(2))
		r.Reset(in0, 0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.HandedOutBy("p", 3, in0, 2, value(2))
		r.write(0, 2)
		r.ack(3, 0, 0)
		r.commit(in0, 1)
	}},

	{name: "a will", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1, 2, 3)
		r.write(0, 1, 3)
		r.ProcessGone("p")
		r.write(2)
		r.will(in0, 4)
		r.Left("a", true)
		r.EpochStart("q", 1, "b", in0, 4)
	}},
	{name: "a will with a done-set", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.deliver("p", 1, 2, 2)
		r.write(0, 2)
		r.ProcessGone("p")
		r.will(in0, 1, run1(2))
		r.Left("a", true)
	}},
	{name: "a will beyond the mark", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.deliver("p", 1, 2, 2)
		r.write(0, 2)
		r.ProcessGone("p")
		r.will(in0, 3)
		r.Left("a", true)
	}, want: []Name{PrematureCommit, OldAckCounted}},
	{name: "a will of what its process let go of a moment before, in the generation that stands", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.Unassigned("a", in0) // it joined again without it
		r.ProcessGone("p")
		r.will(in0, 1)
	}},
	{name: "a will of what its process lost while it was cut off from its sidecar", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.CutOff("p", true)
		r.Unassigned("a", in0)
		r.Released("p", 1)
		r.will(in0, 1)
	}},
	{name: "the commit of a process that is cut off comes after its will's, which is made again", play: func(r *run) {
		r.cutOffAndWilled()
		r.commit(in0, 1)
		r.will(in0, 2)
		r.Left("a", true)
	}},
	{name: "it is not made again", play: func(r *run) {
		r.cutOffAndWilled()
		r.commit(in0, 1)
		r.Left("a", true)
	}, want: []Name{RewindLeft}},
	{name: "the second of its commits goes back, too", play: func(r *run) {
		r.cutOffAndWilled()
		r.commit(in0, 2)
		r.commit(in0, 1)
	}, want: []Name{CommitBack}},
	{name: "a commit below a will's of a process that hears its sidecar", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.will(in0, 2)
		r.commit(in0, 1)
	}, want: []Name{CommitBack}},
	{name: "a will of what its process has given up, while both hear each other", play: func(r *run) {
		r.CutOff("p", true)
		r.CutOff("p", false)
		r.EpochStart("p", 2, "a", in0, 0)
		r.deliver("p", 2, 0, 0)
		r.write(0)
		r.Unassigned("a", in0)
		r.Released("p", 2)
		r.will(in0, 1)
	}, want: []Name{CommitNotHeld}},
	{name: "the living commit what they have let go of", play: func(r *run) {
		r.write(0)
		r.ack(1, 0, 0)
		r.Unassigned("a", in0)
		r.commit(in0, 1)
	}, want: []Name{CommitNotHeld}},
	{name: "a will of what somebody else has been given", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.Unassigned("a", in0)
		r.Assigned("b", 2, in0)
		r.ProcessGone("p")
		r.will(in0, 1)
	}, want: []Name{CommitNotHeld}},
	{name: "a will of what nobody was ever given", play: func(r *run) {
		r.Unassigned("a", in0)
		r.Assigned("b", 1, in0)
		r.Unassigned("b", in0)
		r.ProcessGone("p")
		r.will(in0, 0)
	}, want: []Name{CommitNotHeld}},
	{name: "a will knows an earlier assignment only", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.ProcessGone("p")
		r.will(in0, 1)
	}},
	{name: "a will counts what another process did", play: func(r *run) {
		r.EpochStart("q", 1, "b", in0, 0)
		r.deliver("q", 1, 0, 0)
		r.write(0)
		r.EpochStart("p", 3, "a", in0, 0)
		r.ProcessGone("p")
		r.will(in0, 1)
	}, want: []Name{OldAckCounted}},
	{name: "a will of what a former sidecar wrote and nobody reported", play: func(r *run) {
		r.handOut(0, 1)
		r.deliver("p", 1, 0, 0, 1)
		r.write(0)
		r.Unreported("sidecar killed", "p") // and the process dies before it has sent it again
		r.ProcessGone("p")
		r.Left("a", true)
	}},
	{name: "a will of what a former sidecar wrote and this one, too", play: func(r *run) {
		r.handOut(0, 1)
		r.deliver("p", 1, 0, 0, 1)
		r.write(0)
		r.Unreported("sidecar killed", "p")
		r.write(0)
		r.ProcessGone("p")
		r.Left("a", true)
	}, want: []Name{WillIncomplete}},
	{name: "a will leaves without a commit", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0)
		r.ProcessGone("p")
		r.Left("a", true)
	}, want: []Name{WillIncomplete}},
	{name: "a will forgets its done-set", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.deliver("p", 1, 2, 2)
		r.write(0, 2)
		r.ProcessGone("p")
		r.will(in0, 1)
		r.Left("a", true)
	}, want: []Name{WillIncomplete}},
	{name: "a will that the broker refuses", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.ProcessGone("p")
		r.CommitRefused(Commit{Member: "a", Partition: in0, Offset: 1})
		r.Left("a", true)
		if r.Willed("p", 1) {
			r.violate("willed", in0, "the broker took nothing")
		}
	}},
	{name: "a will does not name what was released", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.Released("p", 1)
		r.ProcessGone("p")
		r.Left("a", true)
	}},
	{name: "a member leaves by itself with something on its way", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.Left("a", false)
		r.write(0)
	}},
	{name: "a late commit of the dead, repaired", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.ProcessGone("p")
		r.will(in0, 2)
		r.commit(in0, 0)
		r.will(in0, 2)
		r.Left("a", true)
	}},
	{name: "a late commit of the dead, not repaired", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.ProcessGone("p")
		r.will(in0, 2)
		r.commit(in0, 0)
		r.Left("a", true)
	}, want: []Name{RewindLeft}},
	{name: "a late commit of the dead after the will's last reading", play: func(r *run) {
		r.handOut(0, 1)
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.ProcessGone("p")
		r.will(in0, 2)
		r.OffsetsRead()
		r.commit(in0, 0)
		r.Left("a", true)
		if r.Willed("p", 1) || r.Counts().Raced != 1 {
			r.violate("willed", in0, "the will was taken back")
		}
		r.Incident("taken over", in0)
		r.EpochStart("q", 1, "b", in0, 0)
		r.deliver("q", 1, 0, 0, 1)
		r.write(0, 1)
	}},
	{name: "a late commit of the dead, the will has read before its own only", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.ProcessGone("p")
		r.OffsetsRead()
		r.will(in0, 2)
		r.commit(in0, 0)
		r.Left("a", true)
	}, want: []Name{RewindLeft}},
	{name: "a late commit of the dead that the will has read", play: func(r *run) {
		r.deliver("p", 1, 0, 0, 1)
		r.write(0, 1)
		r.ProcessGone("p")
		r.will(in0, 2)
		r.OffsetsRead()
		r.commit(in0, 0)
		r.OffsetsRead()
		r.Left("a", true)
	}, want: []Name{RewindLeft}},
	{name: "a late commit undoes the done-set only", play: func(r *run) {
		r.deliver("p", 1, 2, 2)
		r.write(2)
		r.ProcessGone("p")
		r.will(in0, 0, run1(2))
		r.commit(in0, 0)
		r.Left("a", true)
	}, want: []Name{RewindLeft}},
	{name: "a late commit of the living", play: func(r *run) {
		r.write(0, 1)
		r.ack(1, 0, 0, 1)
		r.ProcessStopped("p")
		r.ProcessContinued("p")
		r.commit(in0, 2)
		r.commit(in0, 0)
	}, want: []Name{CommitBack}},
	{name: "a commit after the leave", play: func(r *run) {
		r.Left("a", true)
		r.commit(in0, 0)
	}, want: []Name{ClosedCommitted}},
	{name: "a member that comes back under its id commits", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.write(0)
		r.CutOff("p", true)
		r.will(in0, 1)
		r.Left("a", true)
		r.Joined("a", 3)
		r.Assigned("a", 3, in0)
		r.EpochStart("p", 3, "a", in0, 1)
		r.write(1)
		r.ack(3, 1, 1)
		r.commitAs("a", 3, in0, 2)
	}},
	{name: "it commits as who it was before", play: func(r *run) {
		r.Left("a", true)
		r.Joined("a", 3)
		r.commitAs("a", 2, in0, 0)
	}, want: []Name{ClosedCommitted}},
	{name: "it leaves again, and commits", play: func(r *run) {
		r.Left("a", true)
		r.Joined("a", 3)
		r.Left("a", false)
		r.commitAs("a", 3, in0, 0)
	}, want: []Name{ClosedCommitted}},
	{name: "it comes back, writes what its will closed, and a second will ends it", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.Left("a", true)
		r.Joined("a", 3)
		r.write(0)
		r.Left("a", true)
	}, want: []Name{ClosedWrote}},
	{name: "a woken session writes", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.ProcessStopped("p")
		r.Left("a", true)
		r.ProcessContinued("p")
		r.write(0)
	}, want: []Name{ClosedWrote}},
	{name: "the next holder writes", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.ProcessGone("p")
		r.Left("a", true)
		r.EpochStart("q", 1, "b", in0, 0)
		r.deliver("q", 1, 0, 0)
		r.write(0)
	}},
	{name: "a woken process writes past its sidecar", play: func(r *run) {
		r.HasOwnWay("p")
		r.deliver("p", 1, 0, 0)
		r.ProcessStopped("p")
		r.Left("a", true)
		r.write(0)
	}},
	{name: "unreported units repeat with another sidecar", play: func(r *run) {
		r.handOut(0, 1)
		r.write(0, 1)
		r.deliver("p", 1, 0, 0, 1)
		if n := r.Unreported("sidecar killed", "p"); n != 2 {
			r.violate("bound", in0, "%d", n)
		}
		r.write(0, 1)
	}},
	{name: "another sidecar does not know whose session the one before it closed", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.Left("a", true)
		r.Unreported("another sidecar", "p")
		r.write(0)
	}},
	{name: "a closed session writes after its partition alone was given up", play: func(r *run) {
		r.deliver("p", 1, 0, 0)
		r.Left("a", true)
		r.Unreported("lets go", "p", in0)
		r.write(0)
	}, want: []Name{ClosedWrote}},
	{name: "a reported unit repeats with another sidecar", play: func(r *run) {
		r.handOut(0, 1)
		r.write(0, 1)
		r.deliver("p", 1, 0, 0)
		r.ack(1, 1, 1)
		r.Unreported("sidecar killed", "p", in0)
		r.write(0, 1)
	}, want: []Name{TooManyDuplicates}},
	{name: "what a fence took from an assignment repeats with the next holder", play: func(r *run) {
		r.handOut(0, 1)
		r.write(0, 1)
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0, Outputs: [][]byte{value(0)}}})
		d.Fenced(0, errors.New("SESSION_FENCED"))
		r.Unreported("lets go", "p", in0)
		r.write(0)
	}},
	{name: "what a fence took from an assignment repeats twice", play: func(r *run) {
		r.handOut(0, 1)
		r.write(0, 1)
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0, Outputs: [][]byte{value(0)}}})
		d.Fenced(0, errors.New("SESSION_FENCED"))
		r.Unreported("lets go", "p", in0)
		r.Unreported("lets go", "p", in0)
		r.write(0, 0)
	}, want: []Name{TooManyDuplicates}},
	{name: "what a fence took from another partition's assignment repeats", play: func(r *run) {
		r.handOut(0, 1)
		r.write(0, 1)
		d := r.Delivered("p", []Unit{{Epoch: 1, Offset: 0, Outputs: [][]byte{value(0)}}})
		d.Fenced(0, errors.New("SESSION_FENCED"))
		r.Unreported("lets go", "p", in1)
		r.write(0)
	}, want: []Name{TooManyDuplicates}},
	{name: "a topic is created again", play: func(r *run) {
		r.all()
		r.Recreated("in")
		r.Appended(in0, 0, value(20))
		r.commit(in0, 0)
	}},
	{name: "an old offset in a topic that was created again", play: func(r *run) {
		r.write(0, 1)
		r.ack(1, 0, 0, 1)
		r.Recreated("in")
		r.Appended(in0, 0, value(20))
		r.commit(in0, 1)
	}, want: []Name{PrematureCommit}},
}
