package routes

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
)

// Setter is what some users may set while the sidecar runs.
type Setter struct {
	UIDs         []uint32 // nil: the sidecar's own user, and root
	Apps, Topics []string // with a '*' at the end for any rest; nil: all
}

// ForbiddenError says that somebody may not set a route, whichever it is.
type ForbiddenError struct{ Why string }

func (e *ForbiddenError) Error() string { return e.Why }

// Who sets a route: a user that the system tells of, or nobody of whom it is known.
type Who struct {
	Known bool
	UID   uint32
}

// Restrict replaces who may set what, and forgets what was set and could not be set any more, by
// who did or for an app that the list has not. It returns that, sorted. No setters at all are the
// default: the sidecar's own user (own) and root may set all.
func (t *Table) Restrict(own int, list []Setter) []Key {
	if list == nil {
		list = []Setter{{}}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own, t.setters = own, list
	var gone []Key
	for k, s := range t.set {
		if t.allow(s.by, k) != nil || t.Apps.Unroutable(k.App, k.Topic, s.Share > 0) != nil {
			gone = append(gone, k)
			delete(t.set, k)
		}
	}
	slices.SortFunc(gone, func(a, b Key) int { return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Topic, b.Topic)) })
	return gone
}

// allow tells why somebody may not set a route, or nil. mu is held.
func (t *Table) allow(by Who, k Key) error {
	const only = "who may connect may not therefore say which way records go: only the sidecar's own user and root may, or whom its route_setters name, over its unix socket"
	if !by.Known {
		return &ForbiddenError{only}
	}
	known := false
	for _, r := range t.setters {
		if !r.of(by.UID, t.own) {
			continue
		}
		known = true
		if covers(r.Apps, k.App) && covers(r.Topics, k.Topic) {
			return nil
		}
	}
	if known {
		return &ForbiddenError{fmt.Sprintf("uid %d may set routes, but not of app %.128q and topic %.255q: the sidecar's route_setters do not name them", by.UID, k.App, k.Topic)}
	}
	return &ForbiddenError{only}
}

func (r Setter) of(uid uint32, own int) bool {
	if r.UIDs == nil {
		return uid == 0 || int64(uid) == int64(own)
	}
	return slices.Contains(r.UIDs, uid)
}

// covers tells whether a list has a name. All of them ([route.All]) are covered by a list of all
// alone: a prefix's star is no name.
func covers(list []string, name string) bool {
	if name == route.All {
		return list == nil || slices.Contains(list, route.All)
	}
	return list == nil || apps.Matches(list, name)
}
