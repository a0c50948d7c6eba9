package producer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/kgoopt"
	"github.com/ackmark/ackmark/internal/outlet"
)

// checkOptions refuses the options that would break a promise, by name.
func checkOptions(opts []kgo.Opt) error {
	if i := slices.Index(opts, nil); i >= 0 {
		return fmt.Errorf("DirectConfig.Options[%d] is nil: remove it", i)
	}
	if err := refused(kgoopt.Check(kgoopt.Direct, opts)); err != nil {
		return err
	}
	theirs, err := kgoopt.Probe(opts)
	if err != nil {
		return fmt.Errorf("DirectConfig.Options: %w", err)
	}
	defer theirs.Close()
	plain, err := kgoopt.Probe(nil)
	if err != nil {
		return err
	}
	defer plain.Close()
	return refused(kgoopt.CheckValues(kgoopt.Direct, theirs, plain))
}

func refused(list []kgoopt.Refusal) error {
	var errs []error
	for _, r := range list {
		field := "DirectConfig.Options"
		if r.Index >= 0 {
			field = fmt.Sprintf("DirectConfig.Options[%d]", r.Index)
		}
		errs = append(errs, fmt.Errorf("%s: kgo.%s is refused: %s; %s", field, r.Option, r.Reason, r.Remedy))
	}
	return errors.Join(errs...)
}

// maxDirectRecord is the largest record that is tried, before compression. Kafka alone knows what
// it takes.
const maxDirectRecord = 64 << 20

func newDirectOutlet(cfg DirectConfig) (*outlet.Outlet, error) {
	if err := checkOptions(cfg.Options); err != nil {
		return nil, err
	}
	opts := []kgo.Opt{kgo.ClientID("ackmark"), kgo.WithLogger(kgoLog{cfg.Logger})}
	opts = append(opts, cfg.Options...)
	if b, bad := hostport.FirstBad(cfg.Brokers); bad {
		return nil, fmt.Errorf("DirectConfig.Brokers: %q: %s", b, hostport.Remedy)
	}
	if len(cfg.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(cfg.Brokers...))
	}
	out, err := outlet.New(outlet.Config{
		Options: opts, Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: maxDirectRecord, Log: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("DirectConfig.Options: %w", err)
	}
	if cl := out.Client(); len(cfg.Brokers) == 0 && isDefaultSeed(cl) {
		err = errors.New("DirectConfig.Brokers: no broker given: name at least one host:port, or use kgo.SeedBrokers in Options")
	} else if cl.OptValue(kgo.RequiredAcks) != kgo.AllISRAcks() {
		err = errors.New("DirectConfig.Options: kgo.RequiredAcks is refused: only acks=all makes an acknowledgement durable; remove it")
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// isDefaultSeed tells that nobody named a broker: kgo would try 127.0.0.1:9092, and a forgotten
// setting would look like a broker that is down.
func isDefaultSeed(cl *kgo.Client) bool {
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return len(seeds) == 0 || len(seeds) == 1 && seeds[0] == "127.0.0.1"
}
