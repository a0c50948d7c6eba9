package sidecar

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
)

// name gives a topic index its name on this stream.
func (s *streams) name(d *stream, index uint32, name string) error {
	if index > maxTopicIndex {
		return fmt.Errorf("topic index %d: the highest is %d", index, maxTopicIndex)
	}
	name = name[:min(len(name), maxTopicName+1)] // a longer one is no topic's; what is kept for each index must be bounded (S9)
	if st := d.names.At(index); st != nil {
		if st.Name == name || st.Name == "" && st.Refuse != nil {
			return nil
		}
		return fmt.Errorf("topic index %d has another name already: an index keeps its name", index)
	}
	kept := d.session.held.Kept()
	st, ok := d.names.Place(index, kept)
	if !ok {
		return assigned.NoRoom(fmt.Sprintf("topic index %d", index))
	}
	*st = s.named(d, name, kept)
	return nil
}

// named looks a name up. The text of one that is refused counts: there is no end of such names.
func (s *streams) named(d *stream, name string, kept *limit.Share) topics.Named {
	refused := d.session.app.RefuseTopic(name)
	if refused != nil {
		s.apps.Refusals.Note(peer.Of(d.rpc.Context()), d.session.app.Name, apps.RefusedTopic, refused.GetMessage())
	} else {
		t, err := s.sink.topics.Get(name, &d.session.app.Named, apps.MaxTopics)
		if err == nil {
			return topics.Named{Name: t.Name, Topic: t, Flow: s.sink.flows.Of(d.session.app.Counts, t.Name)}
		}
		refused = apps.TopicError(d.session.app, err)
	}
	if !d.names.Refuse(name, kept) {
		return topics.Named{Refuse: tooManyNames}
	}
	return topics.Named{Name: name, Refuse: refused}
}

// tooManyNames is said of names for whose own refusal there is no room.
var tooManyNames = wire.Errorf(wire.CodeTooManyTopics, "this stream has named too many topics that it may not write to, or that do not exist: correct their names")
