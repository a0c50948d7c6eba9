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
	opts := []kgo.Opt{kgo.ClientID("ackmark"), kgo.WithLogger(kgoLog{cfg.Logger})}
	opts = append(opts, cfg.Options...)
	wrong := configerr.For(directConfig)
	if b, bad := hostport.FirstBad(cfg.Brokers); bad {
		wrong.Wrong("Brokers", b, hostport.Remedy)
		return nil, wrong.Err()
	}
	if len(cfg.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(cfg.Brokers...))
	}
	out, err := outlet.New(outlet.Config{
		Options: opts, Partitioner: kgo.StickyKeyPartitioner(nil), MaxRecordBytes: maxDirectRecord, Log: cfg.Logger,
	})
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

// isDefaultSeed tells that nobody named a broker: kgo would try 127.0.0.1:9092, and a forgotten
// setting would look like a broker that is down.
func isDefaultSeed(cl *kgo.Client) bool {
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return len(seeds) == 0 || len(seeds) == 1 && seeds[0] == "127.0.0.1"
}
