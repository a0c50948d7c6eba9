package consumer

import (
	"errors"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// inherit applies the done-set that belongs to the offset the assignment begins from. One that does
// not is ignored: an operator who moves the group's offset means every input from there on to be
// done again (S11), and a topic that was created anew has other inputs under these offsets.
func (p *partition) inherit(f found) {
	a := p.assignment
	if f.offset != a.Start {
		return
	}
	var runs []donemeta.Run
	if a.TopicID != ([16]byte{}) {
		var err error
		runs, err = donemeta.Parse(f.metadata, donemeta.Binding{TopicID: a.TopicID, Base: f.offset, LeaderEpoch: f.epoch}, nil)
		if err != nil && !errors.Is(err, donemeta.ErrNotOurs) {
			p.around.log.Warn("a done-set was not applied: inputs above the committed offset that were done are handed out again",
				"topic", a.Topic, "partition", a.Partition, "offset", f.offset, "err", err)
		}
		if err != nil {
			runs = nil
		}
	}
	if len(runs) > 0 {
		a.DoneSet = f.metadata
	}
	p.core.Inherit(runs, f.metadata, f.epoch)
}
