package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
)

// checkStart asks the producer, as soon as the pipeline runs, for what else the first output or the
// first rejected input would find out. A producer that is refused, and a topic that the sidecar
// will never let this app write to, stop the pipeline: both are said by lists that are read at a
// start. A topic that does not exist, or that this principal may not write to, may be created or
// granted while the pipeline runs: the log names it until then, and what is healthy goes on.
func (p *Pipeline) checkStart(ctx context.Context) {
	if p.outputs.sink {
		return
	}
	asking, cancel := context.WithTimeout(ctx, checkTimeout)
	p.stopIfRefused(p.cfg.Producer.Check(asking))
	cancel()
	for pause := checkEvery; ctx.Err() == nil; pause = min(2*pause, checkAtLeast) {
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		err := p.checkTopics(asking)
		cancel()
		if err == nil || p.stopIfRefused(err) || ctx.Err() != nil {
			return
		}
		p.log.Warn("topics cannot be written to", "err", err)
		if !sleep(ctx, pause) {
			return
		}
	}
}

const (
	checkEvery   = 5 * time.Second
	checkAtLeast = 5 * time.Minute
)

// stopIfRefused stops the pipeline for what no waiting changes.
func (p *Pipeline) stopIfRefused(err error) bool {
	if !isRefusal(err) {
		return false
	}
	p.stopBy(&DeliveryError{Err: err})
	return true
}

// isRefusal looks at every error that was joined, since one topic may be missing and another one
// forbidden.
func isRefusal(err error) bool {
	if e, ok := err.(*producer.Error); ok { //nolint:errorlint // the chain is walked here
		return wire.CodeOf(e.Code).Blame == wire.OfProducer || e.Code == wire.CodeTopicNotAllowed
	}
	switch err := err.(type) { //nolint:errorlint // the chain is walked here
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), isRefusal)
	case interface{ Unwrap() error }:
		return isRefusal(err.Unwrap())
	}
	return err == kerr.SaslAuthenticationFailed //nolint:errorlint // the chain is walked here
}

// checkTopics asks whether the topics that are named beforehand can be written to. Nil also when
// nobody can tell.
func (p *Pipeline) checkTopics(ctx context.Context) error {
	c, ok := p.cfg.Producer.(producer.TopicChecker)
	if !ok {
		return nil
	}
	var errs []error
	for _, of := range []struct {
		field  string
		topics []string
	}{{"DeadLetter.Topic", letterTopic(p.cfg.DeadLetter)}, {"Outputs", p.cfg.Outputs}} {
		if len(of.topics) == 0 {
			continue
		}
		if err := c.CheckTopics(ctx, of.topics...); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			errs = append(errs, fmt.Errorf("pipeline: Config.%s: %w", of.field, err))
		}
	}
	return errors.Join(errs...)
}

func letterTopic(d DeadLetter) []string {
	if d.Topic == "" {
		return nil
	}
	return []string{d.Topic}
}
