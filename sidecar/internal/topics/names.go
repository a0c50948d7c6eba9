package topics

import (
	"sync/atomic"

	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Names are the topics that one stream has named, by index. They come in pages: one high index
// must not take the memory of all below it. The zero value is empty. The receiver owns it.
type Names struct {
	pages [][]Named
	// kept is how many bytes are taken of the session's share. Only the receiver changes it, for a
	// name that is new; whoever holds the session's books against its share reads it meanwhile.
	kept atomic.Int64
}

// Named is a topic as one stream named it.
type Named struct {
	Name   string
	Topic  *Topic
	Flow   *flows.Flow      // what the app writes to it
	Refuse *sidecarpb.Error // why this app may not write to it
}

// Most apps name a topic or two: a page is what each session has, idle or not.
const (
	namePage = 8
	nameSize = 40 // of a Named
	pageCost = namePage*nameSize + 64
	slotCost = 24 // of a page that is not there, below one that is
	// nameCost is what a name that is no topic's takes beside its text, twice: in the name and in
	// the refusal.
	nameCost = 256
)

// At returns the topic of an index, or nil.
func (n *Names) At(index uint32) *Named {
	page := index / namePage
	if uint64(page) >= uint64(len(n.pages)) || n.pages[page] == nil {
		return nil
	}
	if st := &n.pages[page][index%namePage]; *st != (Named{}) {
		return st
	}
	return nil
}

// Place makes room for an index.
func (n *Names) Place(index uint32, kept *limit.Share) (*Named, bool) {
	page := index / namePage
	if int(page) >= len(n.pages) || n.pages[page] == nil {
		more := max(int(page)+1-len(n.pages), 0)
		cost := int64(pageCost + more*slotCost)
		if !kept.Take(cost) {
			return nil, false
		}
		n.kept.Add(cost)
		n.pages = append(n.pages, make([][]Named, more)...)
		n.pages[page] = make([]Named, namePage)
	}
	return &n.pages[page][index%namePage], true
}

// Forget gives back what the names took: their stream is over.
func (n *Names) Forget(kept *limit.Share) {
	kept.Give(n.kept.Swap(0))
	n.pages = nil
}

// Refuse takes what the text of a name that is refused costs: there is no end of such names.
func (n *Names) Refuse(name string, kept *limit.Share) bool {
	cost := int64(nameCost + 2*len(name))
	if !kept.Take(cost) {
		return false
	}
	n.kept.Add(cost)
	return true
}

// Kept is how many bytes are taken.
func (n *Names) Kept() int64 { return n.kept.Load() }
