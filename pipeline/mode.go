package pipeline

import (
	"context"
	"fmt"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/producer"
)

// Mode is what is promised of outputs when something dies. The zero Mode is AtLeastOnce.
type Mode uint8

// What Mode can be.
const (
	// AtLeastOnce: no input is lost; some are handled again, and their outputs repeated.
	AtLeastOnce Mode = iota
	// ExactlyOnce: a reader of committed records (isolation.level=read_committed) sees the outputs
	// of each input once, whatever dies. Outputs, dead letters among them, are committed in one
	// transaction with the offsets of their inputs. Handlers may still run again for an input whose
	// outputs nobody has seen: what they do elsewhere is not in the transaction.
	//
	// It needs a producer that commits: producer.Dial to a sidecar with a TransactionalID, or
	// producer.Direct with one. It sets Consumer.ReadCommitted and Consumer.CommitElsewhere.
	ExactlyOnce
)

func (m Mode) String() string {
	switch m {
	case AtLeastOnce:
		return "at-least-once"
	case ExactlyOnce:
		return "exactly-once"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: "" is AtLeastOnce.
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "", AtLeastOnce.String():
		*m = AtLeastOnce
	case ExactlyOnce.String():
		*m = ExactlyOnce
	default:
		return fmt.Errorf("mode %q: use at-least-once or exactly-once", text)
	}
	return nil
}

// validateMode refuses what would break the promise of the mode.
func (cfg Config) validateMode(wrong *configerr.List) {
	wrong.If(cfg.Mode > ExactlyOnce, "Mode", cfg.Mode, "use AtLeastOnce or ExactlyOnce")
	if cfg.Mode != ExactlyOnce {
		wrong.If(cfg.Consumer.CommitElsewhere, "Consumer.CommitElsewhere", true, "nobody would commit: leave it false, or set Mode to ExactlyOnce")
		return
	}
	const remedy = "ExactlyOnce needs a producer that commits the offsets: producer.Dial to a sidecar with a transactional id, or producer.Direct with DirectConfig.TransactionalID"
	if cfg.Producer == nil {
		wrong.Missing("Producer", remedy)
	} else if _, commits := cfg.Producer.(producer.Committer); !commits {
		wrong.Wrong("Producer", configerr.Words(fmt.Sprintf("%T", cfg.Producer)), remedy)
	}
	wrong.If(cfg.Consumer.CommitEvery != 0, "Consumer.CommitEvery", cfg.Consumer.CommitEvery,
		"in ExactlyOnce the producer commits; leave it 0, and set the sidecar's CommitEvery, or producer.DirectConfig.CommitEvery")
}

// forMode is the consumer's configuration in this mode.
func (cfg Config) forMode(c consumer.Config) consumer.Config {
	if cfg.Mode == ExactlyOnce {
		c.ReadCommitted, c.CommitElsewhere = true, true
	}
	return c
}

// crossed tells who commits what lies behind the last input of an assignment.
func (p *Pipeline) crossed(a *consumer.Assignment, offset int64) {
	if c, ok := p.cfg.Producer.(producer.Committer); ok {
		c.Crossed(a.Epoch, offset)
	}
}

// beginCommits has the producer commit, before the group is joined.
func (p *Pipeline) beginCommits() {
	c, ok := p.cfg.Producer.(producer.Committer)
	switch {
	case !ok:
	case p.cfg.Mode == ExactlyOnce:
		if err := c.CommitUnits(); err != nil {
			p.stopBy(&DeliveryError{Err: err})
		}
	case c.Committing():
		p.stopBy(&DeliveryError{Err: &producer.Error{Code: producer.CodeInvalidConfig, Partition: -1, Err: &ConfigError{Config: configName, Field: "Producer",
			Value: "in use exactly-once", Remedy: "a producer is for one mode: give the at-least-once pipeline one of its own"}}})
	}
}

// giveUp has the producer commit nothing any more of lost assignments, at once: what comes next
// may begin to read where their offsets are now.
func (p *Pipeline) giveUp(epochs []uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.cfg.Producer.Release(ctx, epochs) // the error says that the context has ended
}
