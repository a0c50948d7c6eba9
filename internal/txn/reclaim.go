package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reclaim takes an id again that this process had, after something has happened to it: an answer
// was lost, or the coordinator knows another epoch than ours. It takes nothing from a successor.
//
// A successor takes an id with an open transaction in two steps: its first InitProducerID aborts
// the transaction, at our epoch and one, and is told to come again; its second one gets an epoch.
// An EndTxn of ours that meets the first one is told UNKNOWN_SERVER_ERROR (Kafka 4.3.1: an
// IllegalStateException, "already a pending state PREPARE_EPOCH_FENCE") or INVALID_TXN_STATE. In
// between the id looks as after a timeout, or after an abort of our own. So somebody who may be
// there is let go first; and what we send names the epoch that we have seen as ours, which the
// coordinator takes only if nobody has got one since. It would take the one before it, too, but
// forgets that one when it moves to another broker.
//
// It tries for ever; an error is ErrTaken, another one for good, or the context's. Where markers
// are not waited for to the end, it is errStuck. Of an id that has expired it is errExpired, too.
func (d *ids) reclaim(ctx context.Context, mine producing, wait markers) (now producing, end ending, err error) {
	var aborted time.Time // seen first
	end = untold
	for begun := time.Now(); ; {
		s, err := d.describe(ctx, mine.id)
		if errors.Is(err, kerr.TransactionalIDNotFound) {
			return mine, end, mine.hasExpired()
		}
		if err != nil && isSetup(err) {
			return mine, end, d.cfg.setupError(mine.id, err)
		}
		if err != nil {
			if !d.sleep(ctx, initPause) {
				return mine, end, context.Cause(ctx)
			}
			continue
		}
		if isStale(mine, s) && time.Since(begun) < staleFor {
			if !d.sleep(ctx, initPause) {
				return mine, end, context.Cause(ctx)
			}
			continue
		}
		who := judge(mine, s)
		if who == ofOthers {
			return mine, end, takenBy(mine, s)
		}
		if !end.isCertain() {
			end = cmp.Or(endOf(mine, s), end)
		}
		if wait.isStuck(s, end, time.Since(begun)) {
			return mine, end, errStuck
		}
		if isDecided(s) && s.ProducerEpoch > lastEpoch { // it would know neither this producer nor the next one
			if !d.sleep(ctx, lookPause) {
				return mine, end, context.Cause(ctx)
			}
			continue
		}
		if who == takenSoon && (aborted.IsZero() || time.Since(aborted) < d.takePause) {
			if aborted.IsZero() && s.State == "CompleteAbort" {
				aborted = time.Now()
			}
			if !d.sleep(ctx, lookPause) {
				return mine, end, context.Cause(ctx)
			}
			continue
		}
		as := mine
		if who != unclear {
			as.pid, as.epoch = s.ProducerID, s.ProducerEpoch
		}
		got, err := d.initAs(ctx, as)
		switch {
		case err == nil && as.isForgottenBy(got.pid, got.epoch): // between the look and the taking
			return mine, end, mine.hasExpired()
		case err == nil:
			return got, end, nil
		case isFence(err), hasNoEpoch(who, s, err):
			if now, err := d.describe(ctx, mine.id); err == nil {
				s = now
			}
			return mine, end, fmt.Errorf("%w: %w", takenBy(mine, s), err)
		case errors.Is(err, kerr.ConcurrentTransactions):
			if !d.sleep(ctx, lookPause) {
				return mine, end, context.Cause(ctx)
			}
		default:
			if err := d.afterInit(ctx, mine.id, err); err != nil {
				return mine, end, err
			}
		}
	}
}

// hasNoEpoch tells that a coordinator has no epoch to give under the one that was named, and never
// will: it has the last one, which we have not heard of, or which is a successor's.
func hasNoEpoch(who owner, s *kmsg.DescribeTransactionsResponseTransactionState, err error) bool {
	return who == unclear && s.ProducerEpoch == lastEpoch && errors.Is(err, kerr.UnknownServerError)
}

const (
	// takePause is how long a successor may take from its first InitProducerID to its second.
	takePause = time.Second
	// staleFor is how long a coordinator that does not know our last epoch is asked again.
	staleFor = 10 * time.Second
	// lookPause is between two looks at an id.
	lookPause = 25 * time.Millisecond
)

// takenBy is ErrTaken, by whom: nobody but its epoch tells.
func takenBy(mine producing, s *kmsg.DescribeTransactionsResponseTransactionState) error {
	if s.ProducerID == mine.pid && s.ProducerEpoch <= mine.epoch { // who knows better does not say
		return fmt.Errorf("%w %q: the coordinator does not know our producer epoch %d any more (state %s)", ErrTaken, mine.id, mine.epoch, s.State)
	}
	return fmt.Errorf("%w %q: its producer epoch is %d by now, ours was %d (state %s)", ErrTaken, mine.id, s.ProducerEpoch, mine.epoch, s.State)
}

// ending is what the coordinator says of how our last transaction ended.
type ending uint8

const (
	untold       ending = iota
	wasOpen             // and is aborted by taking the id, if its EndTxn does not come before that
	wasCommitted        // for certain
	wasAborted          // for certain
)

// isCertain tells that nobody else need be asked.
func (e ending) isCertain() bool { return e >= wasCommitted }

// endOf reads it from a state. That speaks of our last transaction only if the epoch is the next
// one: at ours it is the one before, or none; below it is told by a coordinator that does not know
// yet that it is one no more.
func endOf(mine producing, s *kmsg.DescribeTransactionsResponseTransactionState) ending {
	next := s.ProducerID == mine.pid && s.ProducerEpoch == mine.epoch+1 ||
		s.ProducerID != mine.pid && mine.epoch == lastEpoch && s.ProducerEpoch == 0
	switch {
	case isStale(mine, s):
		return untold
	case s.State == "Ongoing":
		return wasOpen
	case !next:
		return untold
	case s.State == "PrepareCommit", s.State == "CompleteCommit":
		return wasCommitted
	case s.State == "PrepareAbort", s.State == "CompleteAbort":
		return wasAborted
	}
	return untold
}

// isStale tells that a coordinator does not know our last epoch.
func isStale(mine producing, s *kmsg.DescribeTransactionsResponseTransactionState) bool {
	return s.ProducerID == mine.pid && s.ProducerEpoch < mine.epoch
}

// lastEpoch of a producer id: behind it come a new one and epoch 0.
const lastEpoch = math.MaxInt16 - 1

// owner is who can have an id, as far as its state tells.
type owner uint8

const (
	ofUs      owner = iota // nobody else
	takenSoon              // a successor may be about to
	unclear                // us, by a request whose answer was lost, or a successor: the coordinator knows
	ofOthers               // a successor
)

// judge tells who can have an id. Every taking moves the epoch, and every transaction's end.
func judge(mine producing, s *kmsg.DescribeTransactionsResponseTransactionState) owner {
	switch {
	case mine.isHeld(s):
		return ofUs
	case s.ProducerID != mine.pid && mine.epoch == lastEpoch && s.ProducerEpoch == 0:
		return unclear
	case s.ProducerID != mine.pid:
		return ofOthers
	case s.ProducerEpoch == mine.epoch:
		return ofUs
	case isStale(mine, s):
		return unclear
	case s.ProducerEpoch != mine.epoch+1:
		return ofOthers
	}
	switch s.State {
	case "PrepareCommit", "CompleteCommit": // one that was taken from us would be an epoch further
		return ofUs
	case "PrepareAbort", "CompleteAbort", "PrepareEpochFence":
		return takenSoon
	case "Empty":
		return unclear
	}
	return ofOthers
}

// describe asks the coordinator once.
func (d *ids) describe(ctx context.Context, id string) (*kmsg.DescribeTransactionsResponseTransactionState, error) {
	return describe(ctx, d.plain, id)
}

// describe is ids.describe by any client.
func describe(ctx context.Context, cl *kgo.Client, id string) (*kmsg.DescribeTransactionsResponseTransactionState, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(ctx, cl)
	switch {
	case err != nil:
		return nil, err
	case len(resp.TransactionStates) != 1:
		return nil, errNoAnswer
	}
	s := &resp.TransactionStates[0]
	return s, kerr.ErrorForCode(s.ErrorCode)
}

// initAs takes an id once under the epoch that we have of it: the coordinator refuses it if another
// one has taken it since. One that was aborted keeps its epoch, any other gets the next one.
func (d *ids) initAs(ctx context.Context, as producing) (producing, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &as.id, int32(d.cfg.Timeout.Milliseconds())
	req.ProducerID = as.pid
	req.ProducerEpoch = as.epoch
	resp, err := req.RequestWith(ctx, d.plain)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return as, err
	}
	return producing{id: as.id, pid: resp.ProducerID, epoch: resp.ProducerEpoch}, nil
}
