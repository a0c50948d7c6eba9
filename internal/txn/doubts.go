package txn

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// doubts are partitions of which records have failed since then because the topic or the partition
// was not there, though it had been. Where it was created anew, or its leader has just moved, a
// broker may not have heard of it yet: no record is to blame, for a while. Whether there is such a
// topic is asked before the units are tried again.
type doubts map[place]time.Time

const (
	// doubtFor is for how long they are tried again. Others' units wait with them.
	doubtFor = 5 * time.Second
	// doubtAgain is how long it is, at least, until there is doubt again where nothing has been
	// written since.
	doubtAgain = time.Minute
)

// excuse takes the units out of those that are to blame whose partitions may yet come, and returns
// the error of one; nil: there are none.
func (t *topics) excuse(units map[int]error, now time.Time) (why error) {
	for at, err := range units {
		of, is := errors.AsType[*RecordError](err)
		if !is || !errors.Is(err, kerr.UnknownTopicOrPartition) || !t.doubts.allow(place{of.Topic, of.Partition}, now) {
			continue
		}
		t.unlearn(of.Topic)
		delete(units, at)
		why = err
	}
	return why
}

// allow tells whether a record of a partition that fails now is tried again.
func (d doubts) allow(at place, now time.Time) bool {
	since, known := d[at]
	switch {
	case known && now.Sub(since) < doubtAgain:
		return now.Sub(since) < doubtFor
	case len(d) >= maxRefused:
		clear(d)
	}
	d[at] = now
	return true
}

// trust ends the doubts about the partitions that a committed window has written to.
func (d doubts) trust(w *window) {
	if len(d) == 0 {
		return
	}
	for _, rec := range w.records {
		delete(d, place{rec.Topic, rec.Partition})
	}
}
