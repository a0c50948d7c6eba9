package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// checkStart names, as soon as the pipeline runs, a dead-letter topic that does not exist: without it that would be found out by the
// first rejected input, which then halts its partition. It warns until the topic is there. What is healthy goes on.
func (p *Pipeline) checkStart(ctx context.Context) {
	if _, ok := p.cfg.Producer.(producer.TopicChecker); !ok || p.cfg.DeadLetter.Topic == "" {
		return
	}
	for pause := checkEvery; ; pause = min(2*pause, checkAtLeast) {
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		err := p.checkLetters(asking)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		p.log.Warn("dead letters cannot be written", "err", err)
		if !sleep(ctx, pause) {
			return
		}
	}
}

const (
	checkEvery   = 5 * time.Second
	checkAtLeast = 5 * time.Minute
)

// checkLetters asks whether the dead-letter topic is there. Nil also when nobody can tell.
func (p *Pipeline) checkLetters(ctx context.Context) error {
	c, ok := p.cfg.Producer.(producer.TopicChecker)
	if !ok || p.cfg.DeadLetter.Topic == "" {
		return nil
	}
	if err := c.CheckTopics(ctx, p.cfg.DeadLetter.Topic); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("pipeline: Config.DeadLetter.Topic: %w", err)
	}
	return nil
}
