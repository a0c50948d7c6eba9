package brokerwatch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// markerBytes is the size of the batch with which the broker ends a transaction in a partition.
const markerBytes = 78

// producer is who writes a transaction. The broker takes nothing of an older epoch.
type producer struct {
	id    int64
	epoch int16
}

// transactional is what is known of a transactional id.
type transactional struct {
	open  *transaction
	next  *producer     // who would begin the next transaction, if nobody takes the id meanwhile
	limit time.Duration // after which the coordinator ends a transaction
	asked []string      // who asked for the id since
	owner string        // whose the transactions are
}

// transaction is one that has not ended.
type transaction struct {
	told    *verify.Transaction
	by      producer
	first   map[verify.Partition]int64
	commits []verify.Commit
	due     time.Time // when the coordinator ends it; zero: not known
}

// ending is a request that may end a transaction. The broker does so before it serves the next one.
type ending struct {
	id     string
	tx     *transaction
	taken  bool // by somebody who asked for the id, not by an end
	commit bool
	at     time.Time
	ends   map[verify.Partition]int64 // high watermarks before
}

// id returns what is known of a transactional id.
func (w *Watch) id(id string) *transactional {
	if w.ids[id] == nil {
		w.ids[id] = new(transactional)
	}
	return w.ids[id]
}

// transaction returns the transaction that a producer has open, or begins it. nil: the producer is
// older than what was seen, so the broker takes nothing of it.
func (w *Watch) transaction(id string, by producer, at time.Time) *transaction {
	x := w.id(id)
	if x.open != nil {
		if x.open.by == by {
			return x.open
		}
		if x.open.by.id == by.id && x.open.by.epoch > by.epoch {
			return nil
		}
		w.aborted(x) // by whoever took the id, and had no partition to write a marker to
	}
	if x.next != nil && x.next.id == by.id && x.next.epoch > by.epoch {
		return nil
	}
	w.owned(id, x, by)
	x.open = &transaction{told: w.checker.Begun(id, x.owner), by: by, first: make(map[verify.Partition]int64)}
	if x.limit > 0 {
		x.open.due = at.Add(x.limit)
	}
	return x.open
}

// owned finds out whose a transaction is that begins. The epoch rises by one for each taking: if it
// rose as often as somebody asked, all of them took the id, one after the other; if it did not
// rise, none did.
func (w *Watch) owned(id string, x *transactional, by producer) {
	rose := len(x.asked)
	if x.next != nil && x.next.id == by.id {
		rose = int(by.epoch) - int(x.next.epoch)
	}
	switch {
	case rose == 0 || len(x.asked) == 0:
		return
	case rose != len(x.asked):
		x.asked = x.asked[len(x.asked)-1:] // nobody knows whose were refused: not the last one
	}
	for _, taker := range x.asked {
		w.checker.Took(id, taker)
	}
	x.owner, x.asked = x.asked[len(x.asked)-1], nil
}

// initialize notes that somebody asks for a transactional id. If it is given, what was open is
// aborted.
func (w *Watch) initialize(req *kmsg.InitProducerIDRequest) {
	if req.TransactionalID == nil {
		return
	}
	x := w.id(*req.TransactionalID)
	x.limit = time.Duration(req.TransactionTimeoutMillis) * time.Millisecond
	if w.cfg.Taker != nil {
		x.asked = append(x.asked, w.cfg.Taker(req))
	}
	w.ends(*req.TransactionalID, ending{taken: true})
}

// end notes that somebody asks for the end of a transaction. A repetition, or one whose producer
// was fenced, ends nothing.
func (w *Watch) end(req *kmsg.EndTxnRequest) {
	if tx := w.id(req.TransactionalID).open; tx != nil && tx.by == (producer{req.ProducerID, req.ProducerEpoch}) {
		w.ends(req.TransactionalID, ending{commit: req.Commit})
	}
}

func (w *Watch) ends(id string, e ending) {
	tx := w.id(id).open
	if tx == nil {
		return
	}
	e.id, e.tx, e.at, e.ends = id, tx, time.Now(), make(map[verify.Partition]int64)
	for p := range tx.first {
		if info := w.cluster.PartitionInfo(p.Topic, p.Partition); info != nil {
			e.ends[p] = info.HighWatermark
		}
	}
	w.ending = &e
}

// ended feeds the end of a transaction if the broker has carried it out. handled: as in settle.
func (w *Watch) ended(e *ending, handled bool) bool {
	x := w.id(e.id)
	if x.open != e.tx {
		return true
	}
	inGroup := w.inGroup(e.at)
	applied := slices.ContainsFunc(e.tx.commits, inGroup)
	switch w.state(e.tx, e.ends) {
	case stillOpen:
		return false
	case unknown: // it has no records, so there is no marker
		if e.commit && !applied || !e.commit && (e.taken || !handled) {
			return false
		}
	}
	commit := e.commit
	if commit && !e.tx.due.IsZero() && !time.Now().Before(e.tx.due) { // it was the last moment for it
		if commit = applied; len(e.tx.commits) == 0 {
			w.fail(fmt.Errorf("a transaction of %s was ended at the very moment at which it timed out", e.id))
		}
	}
	if !commit {
		w.aborted(x)
		return true
	}
	e.tx.told.Committed(inGroup)
	w.closed(x)
	return true
}

func (w *Watch) aborted(x *transactional) {
	x.open.told.Aborted()
	w.closed(x)
}

// closed expects the next transaction under the next epoch (KIP-890).
func (w *Watch) closed(x *transactional) {
	x.next = &producer{x.open.by.id, x.open.by.epoch + 1}
	x.open = nil
}

type state int

const (
	unknown state = iota
	stillOpen
	over
)

// state tells from the log whether a transaction is over: the last stable offset of a partition
// stands at the first record of the first transaction that is open in it. Where that is another
// one's, a marker tells: nothing but a marker was appended since ends.
func (w *Watch) state(tx *transaction, ends map[verify.Partition]int64) state {
	s := unknown
	for p, first := range tx.first {
		info := w.cluster.PartitionInfo(p.Topic, p.Partition)
		if info == nil {
			continue
		}
		switch cmp.Compare(info.LastStableOffset, first) {
		case 0:
			return stillOpen
		case +1:
			return over
		}
		if end, known := ends[p]; known && info.HighWatermark > end {
			return over
		} else if known {
			s = stillOpen
		}
	}
	return s
}

// expire feeds the end of transactions that the coordinator has ended by itself.
func (w *Watch) expire() {
	now := time.Now()
	for _, x := range w.ids {
		if x.open == nil || x.open.due.IsZero() || now.Before(x.open.due) {
			continue
		}
		if s := w.state(x.open, nil); s == over || s == unknown && now.After(x.open.due) {
			w.aborted(x)
		}
	}
}

// inGroup returns what tells whether a commit is in the group since a time.
func (w *Watch) inGroup(since time.Time) func(verify.Commit) bool {
	g := w.cluster.GroupInfo(w.cfg.Group)
	return func(commit verify.Commit) bool {
		if g == nil {
			return false
		}
		now, ok := g.Commits[commit.Partition.Topic][commit.Partition.Partition]
		return ok && now.Offset == commit.Offset && now.Metadata == commit.Metadata && !now.At.Before(since)
	}
}

// offsets notes the commits that a transaction asks for. Whether the broker took them is seen when
// it ends.
func (w *Watch) offsets(req *kmsg.TxnOffsetCommitRequest) {
	w.sameTopics()
	var commits []verify.Commit
	for _, t := range req.Topics {
		topic := w.topicName(t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			commits = append(commits, w.read(committer{req.MemberID, req.Generation, req.InstanceID}, topic, said{p.Partition, p.Offset, p.LeaderEpoch, p.Metadata}))
		}
	}
	var tx *transaction
	if w.memberMayCommit(req.Group, req.MemberID, req.Generation) {
		tx = w.transaction(req.TransactionalID, producer{req.ProducerID, req.ProducerEpoch}, time.Now())
	}
	if tx == nil {
		w.checker.CommitRefused(commits...)
		return
	}
	tx.commits = append(tx.commits, commits...)
	tx.told.Offsets(commits...)
}

// grew tells whether a batch was appended, and not only markers of transactions that timed out in
// the same moment. Both are seen in two numbers: offsets and bytes.
func (w *Watch) grew(a appending, offsets, bytes int64) bool {
	n, due := int64(len(a.records)), w.dueIn(a.p)
	if due == 0 && offsets == n {
		return true // whatever a test deletes meanwhile
	}
	fits := func(batches int64) bool {
		markers := offsets - batches*n
		return markers >= 0 && markers <= due && bytes == batches*a.size+markers*markerBytes
	}
	with, without := fits(1), fits(0)
	if with == without {
		w.fail(fmt.Errorf("%v grew from %d to %d and by %d bytes by a batch of %d records and %d bytes", a.p, a.end, a.end+offsets, bytes, n, a.size))
	}
	return with
}

// dueIn counts the transactions of a partition that the coordinator may have ended by itself.
func (w *Watch) dueIn(p verify.Partition) (n int64) {
	for _, x := range w.ids {
		if x.open == nil || x.open.due.IsZero() || time.Now().Before(x.open.due) {
			continue
		}
		if _, has := x.open.first[p]; has {
			n++
		}
	}
	return n
}

// listener is told of records: the checker, or the transaction that they are in.
type listener struct {
	input  func(p verify.Partition, offset int64, value []byte)
	output func(p verify.Partition, offset int64, key, value []byte)
	letter func(value []byte)
}

// feed tells what a batch has that was appended.
func (w *Watch) feed(a appending) {
	to := listener{w.checker.Appended, w.checker.Durable, w.checker.DeadLettered}
	if a.id != "" {
		tx := w.transaction(a.id, a.by, a.at)
		if tx == nil {
			w.fail(fmt.Errorf("the broker took a batch of %s, producer %d epoch %d, which is older than another one", a.id, a.by.id, a.by.epoch))
			return
		}
		if _, has := tx.first[a.p]; !has {
			tx.first[a.p] = a.end
		}
		to = listener{tx.told.Input, tx.told.Output, tx.told.DeadLettered}
	}
	for i, r := range a.records {
		offset := a.end + int64(i)
		if slices.Contains(w.cfg.Inputs, a.p.Topic) {
			to.input(a.p, offset, r.Value)
		}
		if slices.Contains(w.cfg.Outputs, a.p.Topic) {
			to.output(a.p, offset, r.Key, r.Value)
		}
		if slices.Contains(w.cfg.DeadLetters, a.p.Topic) {
			to.letter(r.Value)
		}
	}
}
