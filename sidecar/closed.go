package sidecar

// closedIDs remembers the ids of sessions that are closed for good. The zero value is empty. Its
// owner's lock guards it.
type closedIDs struct {
	ids   map[string]struct{}
	order []string // a ring, once it is full
	next  int
}

// maxClosedIDs is more sessions than a pod loses in a day; each takes about 150 bytes.
const maxClosedIDs = 64 << 10

func (c *closedIDs) add(id string) {
	if c.ids == nil {
		c.ids = make(map[string]struct{})
	}
	if _, known := c.ids[id]; known {
		return
	}
	if len(c.order) < maxClosedIDs {
		c.order = append(c.order, id)
	} else {
		delete(c.ids, c.order[c.next])
		c.order[c.next] = id
		c.next = (c.next + 1) % maxClosedIDs
	}
	c.ids[id] = struct{}{}
}

func (c *closedIDs) holds(id string) bool {
	_, ok := c.ids[id]
	return ok
}
