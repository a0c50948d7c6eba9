package consumer

import (
	"context"
	"fmt"
	"time"
)

// The client tells nothing of a fetch that found nothing. So where nothing comes of a partition,
// the broker is asked where its log ends: either all is read, or the partition is named. It counts
// for every cause, those that nobody knows among them.
const (
	firstLook   = 2 * time.Second  // after it began, if nothing told the end of its log
	lookAfter   = 15 * time.Second // since something came, or since the last look
	unreadAfter = time.Minute      // with more to read, or with no answer: then it is named
)

// UnreadError tells that nothing comes of a partition that is held and neither paused nor halted,
// although its log goes on, or its leader does not say whether it does. It is asked for all the
// time.
type UnreadError struct {
	Topic     string
	Partition int32
	Quiet     time.Duration // since something came, or since all was read
	Next      int64         // the offset to read next
	LogEnd    int64         // -1: not known
	Err       error         // why it is not known whether there is more; nil: there is
}

func (e *UnreadError) Error() string {
	at := fmt.Sprintf("consumer: topic %s partition %d is not read: nothing has come of it for %s", e.Topic, e.Partition, e.Quiet.Round(time.Second))
	if e.Err != nil {
		return fmt.Sprintf("%s, and its leader does not say whether there is more than offset %d: %v; it is asked again", at, e.Next, e.Err)
	}
	return fmt.Sprintf("%s, and its log goes on from offset %d to %d; it is asked for all the time: if it lasts, look at its leader, then restart this process",
		at, e.Next, e.LogEnd)
}

func (e *UnreadError) Unwrap() error { return e.Err }

// quiet is since when nothing comes of a partition. Under its lock, as monotonic nanoseconds.
type quiet struct {
	since  int64 // something came, all was read, or it was paused; 0: it just began
	looked int64
	err    error // of that look
	told   bool
}

// wantsLook tells that the broker is to be asked where the log ends.
func (p *partition) wantsLook(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.quiet
	if s.since == 0 || p.paused || len(p.parked.recs) > 0 || !p.core.State().Reads() {
		s.since = now
	}
	if s.looked == 0 && p.ends.high < 0 {
		return now-s.since >= int64(firstLook)
	}
	return now-max(s.since, s.looked) >= int64(lookAfter)
}

// lookedAt takes the answer.
func (p *partition) lookedAt(end listed, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.quiet
	s.looked, s.err = now, end.err
	if end.err != nil {
		return
	}
	p.ends.high = max(p.ends.high, end.offset)
	if end.offset <= p.readTo() {
		p.heard(now)
	}
}

// heard is told that something came, or that there is nothing to come. Under mu.
func (p *partition) heard(now int64) { p.quiet.since, p.quiet.told = now, false }

// unread is nil for a partition that is read, or need not be. It needs a look after the silence
// began, and a young one: a process that stood still knows nothing. Under mu.
func (p *partition) unread(now int64) *UnreadError {
	s := &p.quiet
	if s.looked <= s.since || now-s.since < int64(unreadAfter) || now-s.looked > 2*int64(lookAfter) || p.paused || !p.core.State().Reads() {
		return nil
	}
	return &UnreadError{
		Topic: p.assignment.Topic, Partition: p.assignment.Partition, Quiet: time.Duration(now - s.since), Next: p.readTo(), LogEnd: p.ends.high, Err: s.err,
	}
}

// freshUnread is unread, once in a silence.
func (p *partition) freshUnread(now int64) *UnreadError {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet.told {
		return nil
	}
	e := p.unread(now)
	p.quiet.told = e != nil
	return e
}

// look asks for the ends of logs that nothing comes of, and names what is not read. One look is on
// its way at a time.
func (gd *guard) look(ctx context.Context, now int64) {
	if gd.looking.Load() {
		return
	}
	due, names := []*partition(nil), map[string][]int32{}
	var first *UnreadError
	count := 0
	for _, p := range gd.parts.all() {
		if e := p.freshUnread(now); e != nil {
			first, count = e, count+1
		}
		if p.wantsLook(now) {
			due = append(due, p)
			names[p.assignment.Topic] = append(names[p.assignment.Topic], p.assignment.Partition)
		}
	}
	if first != nil {
		gd.log.Error("partitions are not read", "partitions", count, "one", first)
	}
	if len(due) == 0 {
		return
	}
	gd.looking.Store(true)
	gd.life.Go(func() {
		defer gd.looking.Store(false)
		ends := gd.survey.listAt(ctx, gd.brokers.client.Load(), atEnd, names)
		if ctx.Err() != nil {
			return
		}
		for _, p := range due {
			p.lookedAt(ends[topicPartition{p.assignment.Topic, p.assignment.Partition}], gd.clock.now())
		}
	})
}
