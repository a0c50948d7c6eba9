package apps

import (
	"maps"
	"slices"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
)

// Listed tells that there is a list: whoever is not in it is refused.
func (as *Apps) Listed() bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	return len(as.cfg.List) > 0
}

// List is the list in force.
func (as *Apps) List() []Entry {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.cfg.List
}

// Generation is the number of lists that were replaced. Who was admitted looks at it before and
// after it is where Replace's caller finds it.
func (as *Apps) Generation() uint64 { return as.generation.Load() }

// Replace puts another list in force, and other limits of one app. It returns the apps that may do
// less than before, or are known by another token: what they have begun was begun under the old
// list.
func (as *Apps) Replace(list []Entry, bytes int64, records int) (lost []*App) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.cfg.List, as.cfg.Bytes, as.cfg.Records = list, bytes, records
	wanted := make(map[string]Entry, len(list))
	for _, e := range list {
		wanted[e.Name] = e
		if old, here := as.leftOut[e.Name]; here {
			as.byName[e.Name] = old
			delete(as.leftOut, e.Name)
		}
	}
	if len(list) == 0 { // whoever comes is served
		maps.Copy(as.byName, as.leftOut)
		clear(as.leftOut)
	}
	for name, a := range as.byName {
		e, stays := wanted[name]
		if !stays && len(list) > 0 {
			as.leftOut[name] = a
			delete(as.byName, name)
			lost = append(lost, a)
			continue
		}
		if !stays {
			e = Entry{Name: name} // without a list an app may do all
		}
		if a.replace(e, &as.cfg) {
			lost = append(lost, a)
		}
		delete(wanted, name)
	}
	as.share(len(list))
	for name, e := range wanted {
		as.byName[name] = as.newApp(e)
	}
	as.generation.Add(1)
	return lost
}

// replace tells whether the app lost something by its new entry.
func (a *App) replace(e Entry, c *Config) (lost bool) {
	old := a.entry.Load()
	a.entry.Store(&e)
	a.Outstanding.Limit(c.Bytes, c.Records)
	a.Pinned.Limit(2*c.Bytes, 2*c.Records)
	a.Ring.ByToken(e.Token != "")
	return old.Token != e.Token || !covers(e.Topics, old.Topics) || !covers(e.Groups, old.Groups)
}

// covers tells whether a list allows all that another one does; nil is all.
func covers(list, other []string) bool {
	if list == nil || slices.Contains(list, "*") {
		return true
	}
	return other != nil && !slices.ContainsFunc(other, func(name string) bool { return !Matches(list, name) })
}

// share gives the rings of so many listed apps, and of those that are left out, their parts. Of an
// app that is retired, what is left goes with its last report. mu is held.
func (as *Apps) share(listed int) {
	maps.DeleteFunc(as.leftOut, func(_ string, a *App) bool { return a.idle() })
	var all []*limit.Share
	for a := range maps.Values(as.byName) {
		all = append(all, a.Ring.Places())
	}
	for a := range maps.Values(as.leftOut) {
		all = append(all, a.Ring.Places())
	}
	holders := MaxApps
	if listed > 0 {
		holders = listed + len(as.leftOut)
	}
	as.reports.Holders(holders, all)
}
