package txn

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// unhosted are partitions of which records have failed since then because they were not there,
// though their topic was. Where it was created anew, or its leader has just moved, a
// broker may not have heard of it yet: no record is to blame, for a while. Whether there is such a
// topic is asked before the units are tried again.
type unhosted map[place]time.Time

const (
	// hostPatience is for how long they are tried again. Others' units wait with them.
	hostPatience = 5 * time.Second
	// hostAgain is how long it is until they are tried again like that where nothing has been
	// written since.
	hostAgain = time.Minute
)

// again takes the units out of those that are to blame whose partitions may yet come, and returns
// the error of one; nil: there are none.
func (t *topics) again(units map[int]error, now time.Time) (why error) {
	for at, err := range units {
		of, is := errors.AsType[*RecordError](err)
		if !is || !errors.Is(err, kerr.UnknownTopicOrPartition) || !t.unhosted.allow(place{of.Topic, of.Partition}, now) {
			continue
		}
		t.unlearn(of.Topic)
		delete(units, at)
		why = err
	}
	return why
}

// allow tells whether a record of a partition that fails now is tried again.
func (u unhosted) allow(at place, now time.Time) bool {
	since, known := u[at]
	switch {
	case known && now.Sub(since) < hostAgain:
		return now.Sub(since) < hostPatience
	case len(u) >= maxRefused:
		clear(u)
	}
	u[at] = now
	return true
}

// written forgets the partitions that a committed window has written to: they are there.
func (u unhosted) written(w *window) {
	if len(u) == 0 {
		return
	}
	for _, rec := range w.records {
		delete(u, place{rec.Topic, rec.Partition})
	}
}
