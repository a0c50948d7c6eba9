package sidecar

import (
	"fmt"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// topicNames are the topics that one stream has named, by index. They come in pages: one high index
// must not take the memory of all below it. The zero value is empty. The receiver owns it.
type topicNames struct {
	pages [][]streamTopic
	// kept is how many bytes are taken of the session's share. Only the receiver changes it, for a
	// name that is new; whoever holds the session's books against its share reads it meanwhile.
	kept atomic.Int64
}

// streamTopic is a topic as one stream named it.
type streamTopic struct {
	name   string
	topic  *topic
	refuse *sidecarpb.Error // why this app may not write to it
}

const (
	namePage = 256
	pageCost = namePage*40 + 64
	// nameCost is what a name that is no topic's takes beside its text, twice: in the name and in
	// the refusal.
	nameCost = 256
)

// at returns the topic of an index, or nil.
func (n *topicNames) at(index uint32) *streamTopic {
	page := index / namePage
	if uint64(page) >= uint64(len(n.pages)) || n.pages[page] == nil {
		return nil
	}
	if st := &n.pages[page][index%namePage]; *st != (streamTopic{}) {
		return st
	}
	return nil
}

// place makes room for an index.
func (n *topicNames) place(index uint32, kept *limit.Share) (*streamTopic, bool) {
	page := index / namePage
	if int(page) >= len(n.pages) {
		n.pages = append(n.pages, make([][]streamTopic, int(page)+1-len(n.pages))...)
	}
	if n.pages[page] == nil {
		if !kept.Take(pageCost) {
			return nil, false
		}
		n.kept.Add(pageCost)
		n.pages[page] = make([]streamTopic, namePage)
	}
	return &n.pages[page][index%namePage], true
}

// forget gives back what the names took: their stream is over.
func (n *topicNames) forget(kept *limit.Share) {
	kept.Give(n.kept.Swap(0))
	n.pages = nil
}

// name gives a topic index its name on this stream.
func (d *delivery) name(index uint32, name string) error {
	if index > maxTopicIndex {
		return fmt.Errorf("topic index %d: the highest is %d", index, maxTopicIndex)
	}
	name = name[:min(len(name), maxTopicName+1)] // a longer one is no topic's; what is kept for each index must be bounded (S9)
	if st := d.names.at(index); st != nil {
		if st.name == name || st.name == "" && st.refuse != nil {
			return nil
		}
		return fmt.Errorf("topic index %d has another name already: an index keeps its name", index)
	}
	kept := &d.session.stock.kept
	st, ok := d.names.place(index, kept)
	if !ok {
		return d.session.noRoom(fmt.Sprintf("topic index %d", index))
	}
	*st = d.named(name, kept)
	return nil
}

// named looks a name up. The text of one that is refused counts: there is no end of such names.
func (d *delivery) named(name string, kept *limit.Share) streamTopic {
	refused := d.session.app.refuse(name)
	if refused != nil {
		d.server.apps.refusals.note(d.server.log, peer.Of(d.stream.Context()), d.session.app.Name, refusedTopic, refused.GetMessage())
	} else {
		t, err := d.server.topics.get(d.session.app, name)
		if err == nil {
			return streamTopic{name: t.name, topic: t}
		}
		refused = topicError(d.session.app, err)
	}
	cost := int64(nameCost + 2*len(name))
	if !kept.Take(cost) {
		return streamTopic{refuse: tooManyNames}
	}
	d.names.kept.Add(cost)
	return streamTopic{name: name, refuse: refused}
}

// tooManyNames is said of names for whose own refusal there is no room.
var tooManyNames = wire.Errorf(wire.CodeTooManyTopics, "this stream has named too many topics that it may not write to, or that do not exist: correct their names")
