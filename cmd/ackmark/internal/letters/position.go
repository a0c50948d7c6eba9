package letters

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// Position says which letters of a partition were given back or discarded: all below the mark, and
// some above it. It is a group's commit: an offset, and a done-set in its metadata.
type Position struct {
	mark int64
	done []donemeta.Run // above the mark, apart from each other
}

// noEpoch is the leader epoch of all its commits: positions are moved on, and nothing is read by
// them that an unclean election could have changed below the mark.
const noEpoch = -1

// ErrForeign is a commit whose metadata is not what a position writes.
var ErrForeign = errors.New("its metadata is not what this command writes")

// ReadPosition reads a commit; an offset below 0 is none.
func ReadPosition(topicID [16]byte, offset int64, epoch int32, metadata string) (Position, error) {
	if offset < 0 {
		return Position{}, nil
	}
	runs, err := donemeta.Parse(metadata, donemeta.Binding{TopicID: topicID, Base: offset, LeaderEpoch: epoch}, nil)
	if err != nil {
		return Position{}, fmt.Errorf("%w (%w)", ErrForeign, err)
	}
	p := Position{mark: offset, done: runs}
	p.absorb()
	return p, nil
}

// Commit is what to commit: ok is false when the done-set does not fit.
func (p *Position) Commit(topicID [16]byte) (offset int64, epoch int32, metadata string, ok bool) {
	text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: topicID, Base: p.mark, LeaderEpoch: noEpoch}, p.done)
	return p.mark, noEpoch, string(text), kept == len(p.done)
}

// Mark is the first offset that is not done.
func (p *Position) Mark() int64 { return p.mark }

// Done tells whether a letter was given back or discarded.
func (p *Position) Done(offset int64) bool {
	if offset < p.mark {
		return true
	}
	i := p.from(offset)
	return i < len(p.done) && p.done[i].First <= offset
}

// from is the first run that does not end before an offset.
func (p *Position) from(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.done, offset, func(r donemeta.Run, at int64) int {
		if r.Last < at {
			return -1
		}
		return 1
	})
	return i
}

// Finish says that the offsets from first to last are done, or do not exist.
func (p *Position) Finish(first, last int64) {
	first = max(first, p.mark)
	if last < first {
		return
	}
	i := p.from(first - 1) // a run that ends right before is one with it
	j := i
	for j < len(p.done) && p.done[j].First <= last+1 {
		first, last = min(first, p.done[j].First), max(last, p.done[j].Last)
		j++
	}
	p.done = slices.Replace(p.done, i, j, donemeta.Run{First: first, Last: last})
	p.absorb()
}

// absorb moves the mark over what is done.
func (p *Position) absorb() {
	for len(p.done) > 0 && p.done[0].First <= p.mark {
		p.mark = max(p.mark, p.done[0].Last+1)
		p.done = p.done[1:]
	}
}

// Clone is a copy.
func (p *Position) Clone() Position {
	return Position{p.mark, slices.Clone(p.done)}
}
