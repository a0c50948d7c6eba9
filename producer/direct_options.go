package producer

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/kgoopt"
	"github.com/ackmark/ackmark/internal/outlet"
)

// checkOptions refuses the options that would break a promise.
func checkOptions(opts []kgo.Opt) error {
	probe, err := kgoopt.Check(kgoopt.Direct, opts)
	if err != nil {
		return err
	}
	probe.Close()
	return nil
}

// maxDirectRecord is the largest record that is tried, before compression. Kafka alone knows what
// it takes.
const maxDirectRecord = 64 << 20

func newDirectOutlet(cfg DirectConfig) (*outlet.Outlet, error) {
	if err := checkOptions(cfg.Options); err != nil {
		return nil, err
	}
	wrong := configerr.For(directConfig)
	opts, err := cfg.clientOptions()
	if err != nil {
		return nil, err
	}
	made := outlet.Config{Options: opts, Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: maxDirectRecord, Log: cfg.Logger}
	if cfg.kafka != nil {
		made.Options, made.Retried = append(opts, cfg.kafka.Hooks()...), cfg.kafka.Retried
	}
	out, err := outlet.New(made)
	if err != nil {
		wrong.Failed("Options", configerr.Words("refused by the Kafka client"), err, "correct it")
		return nil, wrong.Err()
	}
	if cl := out.Client(); len(cfg.Brokers) == 0 && isDefaultSeed(cl) {
		wrong.Missing("Brokers", "name at least one host:port, or use kgo.SeedBrokers in Options")
		out.Close()
		return nil, wrong.Err()
	}
	return out, nil
}

// clientOptions are the user's, with what every client of this process has.
func (c *DirectConfig) clientOptions() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.ClientID("ackmark"), kgo.WithLogger(kgoLog{c.Logger}), kgo.ProducerLinger(directLinger)}
	opts = append(opts, c.Options...)
	if b, bad := hostport.FirstBad(c.Brokers); bad {
		wrong := configerr.For(directConfig)
		wrong.Wrong("Brokers", b, hostport.Remedy)
		return nil, wrong.Err()
	}
	if len(c.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(c.Brokers...))
	}
	return opts, nil
}

// isDefaultSeed tells that nobody named a broker: kgo would try 127.0.0.1:9092, and a forgotten
// setting would look like a broker that is down.
func isDefaultSeed(cl *kgo.Client) bool {
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return len(seeds) == 0 || len(seeds) == 1 && seeds[0] == "127.0.0.1"
}
