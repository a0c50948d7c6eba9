package topics

import (
	"testing"
	"unsafe"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
)

// A session that names one topic keeps little of it, all that is kept is taken of its share, a high
// index with the pages below it, and given back at the end.
func TestNamesCostWhatTheyKeep(t *testing.T) {
	if size := unsafe.Sizeof(Named{}); size > nameSize {
		t.Errorf("a name has %d bytes, and counts as %d", size, nameSize)
	}
	share := newShare(1 << 20)
	var n Names
	if _, ok := n.Place(0, share); !ok || n.Kept() > 1500 {
		t.Errorf("the first topic keeps %d bytes", n.Kept())
	}
	before := n.Kept()
	if _, ok := n.Place(1, share); !ok || n.Kept() != before {
		t.Errorf("a second one on the same page: %d bytes, %d before", n.Kept(), before)
	}
	const highest = 1<<16 - 1
	if _, ok := n.Place(highest, share); !ok {
		t.Fatal("no room for the highest index")
	}
	if list := int64(cap(n.pages)) * int64(unsafe.Sizeof(n.pages[0])); n.Kept() < list/2+2*pageCost-slotCost {
		t.Errorf("%d bytes are counted, the list alone has %d", n.Kept(), list)
	}
	if n.At(highest) != nil || n.At(5) != nil || n.At(highest-namePage) != nil {
		t.Error("topics that nobody named")
	}
	if got := share.Held(); got != n.Kept() {
		t.Errorf("%d bytes of the share are taken, %d counted", got, n.Kept())
	}
	if n.Forget(share); share.Held() != 0 || n.Kept() != 0 {
		t.Errorf("%d bytes are kept at the end", share.Held())
	}
}

// What has no room is not made.
func TestNamesWithoutRoom(t *testing.T) {
	share := newShare(pageCost + slotCost)
	var n Names
	if _, ok := n.Place(0, share); !ok {
		t.Fatal("no room for one page")
	}
	if _, ok := n.Place(namePage, share); ok || len(n.pages) != 1 {
		t.Errorf("a page beyond the share: %d pages", len(n.pages))
	}
}

// newShare is one with room for so many bytes, and half as many more.
func newShare(room int64) *limit.Share {
	share := limit.NewCommons(2*room, 1).Share()
	return &share
}
