package txn

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// keepEvery is how often the ids without a client are taken again where nothing else is done
	// with them. They prove that the others are ours, and what has expired proves nothing.
	keepEvery = 10 * time.Minute
	// leastKeepEvery is the same where the brokers forget sooner than that.
	leastKeepEvery = time.Second
	// keepRatio is how often they are taken again while they live.
	keepRatio = 4
	// lookEvery is how often an idle lane looks whether its ids are its own.
	lookEvery = 5 * time.Second

	expiration     = "transactional.id.expiration.ms"
	expirationWait = 2 * time.Second
)

// startKeeping asks beside the lane how long ids live, where that may be asked, so that they are
// kept where the brokers forget them sooner than usual.
func (d *ids) startKeeping() {
	d.kept = time.Now()
	d.running.Go(func() {
		live, err := d.askExpiration()
		if err != nil {
			d.cfg.Log.Debug("how long transactional ids live cannot be asked", "err", err)
			return
		}
		d.live.Store(int64(live))
		d.wake()
	})
}

// askExpiration asks one broker after the other until one answers. It takes DESCRIBE_CONFIGS on the
// cluster.
func (d *ids) askExpiration() (live time.Duration, err error) {
	all := kmsg.NewPtrMetadataRequest()
	all.Topics = []kmsg.MetadataRequestTopic{} // none
	brokers, err := all.RequestWith(d.ctx, d.plain)
	if err != nil {
		return 0, err
	}
	err = errNoAnswer
	for _, b := range brokers.Brokers {
		if live, err = d.askBroker(b.NodeID); err == nil || isSetup(err) {
			break
		}
	}
	return live, err
}

func (d *ids) askBroker(node int32) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(d.ctx, expirationWait)
	defer cancel()
	of := kmsg.NewDescribeConfigsRequestResource()
	of.ResourceType, of.ResourceName, of.ConfigNames = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(node)), []string{expiration}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = append(req.Resources, of)
	resp, err := req.RequestWith(ctx, d.plain)
	if err != nil {
		return 0, err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return 0, err
		}
		for _, c := range r.Configs {
			if c.Name == expiration && c.Value != nil {
				ms, err := strconv.ParseInt(*c.Value, 10, 32)
				return time.Duration(ms) * time.Millisecond, err
			}
		}
	}
	return 0, errNoAnswer
}

// keptFor is how long it is until ids are taken again that are not used.
func (d *ids) keptFor() time.Duration {
	if live := time.Duration(d.live.Load()); live > 0 {
		return min(d.keepEvery, max(live/keepRatio, leastKeepEvery))
	}
	return d.keepEvery
}

// keep takes the ids without a client again, under their epochs, when it is time. Between windows.
// Who finds one taken has a successor that it has not heard of, or does what it does in a window.
func (d *ids) keep() error {
	uncertain := d.uncertain.Swap(false)
	if !uncertain && time.Now().Before(d.keepAt()) {
		return nil
	}
	for i := range d.bares {
		b := &d.bares[i]
		if b.aside != nil || !uncertain && time.Since(b.used) < d.keptFor() {
			continue
		}
		ctx, cancel := context.WithTimeout(d.ctx, d.bareWait)
		_, err := d.retakeBare(ctx, b, aWhile)
		cancel()
		if !isTaken(err) {
			continue // or it could not be asked for: there is time
		}
		if err := d.verifyBare(b, err); err != nil {
			return err
		}
	}
	d.kept = time.Now()
	return nil
}

// look asks beside the lane whether somebody has taken the ids without a client, as a successor
// that has begun has. Where nothing is done with the ids nobody else would notice it for long. What
// is true of it is found out by keep.
func (d *ids) look() {
	if !d.looking.CompareAndSwap(false, true) {
		return
	}
	bares := d.inHand()
	d.running.Go(func() {
		defer d.looking.Store(false)
		ctx, cancel := context.WithTimeout(d.ctx, d.lookEvery)
		defer cancel()
		for _, b := range bares {
			if s, err := d.describe(ctx, b.id); err == nil && b.isOther(s) {
				d.uncertain.Store(true)
				d.wake()
				return
			}
		}
	})
}

// inHand are the ids without a client that are not aside: such a one is changed by who takes it
// again, and not known to us as it is.
func (d *ids) inHand() (bares []producing) {
	for i := range d.bares {
		if b := &d.bares[i]; b.aside == nil {
			bares = append(bares, b.producing)
		}
	}
	return bares
}

// keepAt is when it is time.
func (d *ids) keepAt() time.Time { return d.kept.Add(d.keptFor()) }
