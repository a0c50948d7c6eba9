package consumer

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/kgoopt"
)

// adopt checks the user's options and takes from them what Config leaves open.
func (cfg *Config) adopt() error {
	if i := slices.Index(cfg.Options, nil); i >= 0 {
		return &ConfigError{Field: fmt.Sprintf("Options[%d]", i), Value: "nil", Remedy: "drop it"}
	}
	if err := optionError(kgoopt.Check(kgoopt.Consumer, cfg.Options)); err != nil {
		return err
	}
	probe, err := newProbe(cfg.Options)
	if err != nil {
		return fmt.Errorf("consumer: Config.Options: %w", err)
	}
	defer probe.Close()
	if err := refuseValues(probe, cfg.AllowEager); err != nil {
		return err
	}
	cfg.dial = dialer(probe)
	if err := cfg.merge(probe); err != nil {
		return err
	}
	cfg.excluded, _ = probe.OptValue(kgo.ConsumeExcludeTopics).([]string)
	// Once more, now that the budget is known: an own decompressor must bound what a batch inflates
	// to itself, the client's does.
	bounded, err := newProbe(append([]kgo.Opt{kgo.MaxDecompressBatchBytes(cfg.maxDecompressBytes())}, cfg.Options...))
	if err != nil {
		return fmt.Errorf("consumer: Config.Options: %w", err)
	}
	defer bounded.Close()
	cfg.decompressor, _ = bounded.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	return nil
}

// newProbe builds a client to read option values from.
func newProbe(opts []kgo.Opt) (*kgo.Client, error) {
	return kgoopt.Probe(opts, kgo.SeedBrokers(noBroker), kgo.ConsumerGroup(noGroup))
}

// What the probe has where the user's options say nothing.
const (
	noBroker     = "no-broker.invalid:1"
	noGroup      = "\x00"
	kgoSession   = 45 * time.Second
	kgoRebalance = 60 * time.Second
	kgoHeartbeat = 3 * time.Second
)

// optionError is all refusals as one error, or nil.
func optionError(refused []kgoopt.Refusal) error {
	var errs []error
	for _, r := range refused {
		errs = append(errs, &OptionError{Option: r.Option, Reason: r.Reason, Remedy: r.Remedy})
	}
	return errors.Join(errs...)
}

// refuseValues is the second net, for options whose name could not be seen, and for those that only
// their value tells good from bad.
func refuseValues(cl *kgo.Client, allowEager bool) error {
	plain, err := newProbe(nil)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer plain.Close()
	if err := optionError(kgoopt.CheckValues(kgoopt.Consumer, cl, plain)); err != nil {
		return err
	}
	balancers, _ := cl.OptValue(kgo.Balancers).([]kgo.GroupBalancer)
	for _, b := range balancers {
		if !b.IsCooperative() && !allowEager {
			return &OptionError{
				Option: "Balancers", Reason: fmt.Sprintf("%q is eager: every rebalance would stop and drain all partitions", b.ProtocolName()),
				Remedy: "use kgo.CooperativeStickyBalancer(), or set Config.AllowEager if other members of the group need it",
			}
		}
	}
	return nil
}

// merge takes brokers, group, topics and timeouts from the options where Config leaves them open,
// and refuses contradictions.
func (cfg *Config) merge(probe *kgo.Client) error {
	contradiction := func(field string, value any, option string) error {
		return &ConfigError{Field: field, Value: fmt.Sprint(value), Remedy: "Config.Options has another kgo." + option + "; give it once"}
	}
	if brokers, _ := probe.OptValue(kgo.SeedBrokers).([]string); !slices.Equal(brokers, []string{noBroker}) {
		if len(cfg.Brokers) > 0 && !slices.Equal(cfg.Brokers, brokers) {
			return contradiction("Brokers", cfg.Brokers, "SeedBrokers")
		}
		cfg.Brokers = brokers
	}
	if group, _ := probe.OptValue(kgo.ConsumerGroup).(string); group != noGroup {
		if cfg.Group != "" && cfg.Group != group {
			return contradiction("Group", cfg.Group, "ConsumerGroup")
		}
		cfg.Group = group
	}
	if err := cfg.mergeTopics(probe, contradiction); err != nil {
		return err
	}
	if id := probe.OptValues(kgo.InstanceID); len(id) == 2 && id[1] == true {
		instance, _ := id[0].(string)
		if cfg.InstanceID != "" && cfg.InstanceID != instance {
			return contradiction("InstanceID", cfg.InstanceID, "InstanceID")
		}
		cfg.InstanceID = instance
	}
	cfg.mergeTimeouts(probe)
	return cfg.complete()
}

func (cfg *Config) mergeTopics(probe *kgo.Client, contradiction func(string, any, string) error) error {
	topics := optTopics(probe)
	regex, _ := probe.OptValue(kgo.ConsumeRegex).(bool)
	if len(topics) == 0 {
		if regex && len(cfg.Topics) > 0 {
			cfg.Regex, cfg.Topics = strings.Join(cfg.Topics, "|"), nil
		}
		return nil
	}
	if regex {
		all := strings.Join(topics, "|")
		if len(cfg.Topics) > 0 || cfg.Regex != "" && cfg.Regex != all {
			return contradiction("Topics", cfg.Topics, "ConsumeTopics")
		}
		cfg.Regex = all
		return nil
	}
	if cfg.Regex != "" || len(cfg.Topics) > 0 && !slices.Equal(slices.Sorted(slices.Values(cfg.Topics)), topics) {
		return contradiction("Topics", cfg.Topics, "ConsumeTopics")
	}
	cfg.Topics = topics
	return nil
}

// optTopics reads the topics of ConsumeTopics: sorted names since franz-go v1.22.3, the keys of a
// map before.
func optTopics(cl *kgo.Client) []string {
	if topics, ok := cl.OptValue(kgo.ConsumeTopics).([]string); ok {
		return slices.Sorted(slices.Values(topics))
	}
	v := reflect.ValueOf(cl.OptValue(kgo.ConsumeTopics))
	if v.Kind() != reflect.Map {
		return nil
	}
	var topics []string
	for _, k := range v.MapKeys() {
		topics = append(topics, k.String())
	}
	slices.Sort(topics)
	return topics
}

// mergeTimeouts: a field of Config wins over an option, an option over the default.
func (cfg *Config) mergeTimeouts(probe *kgo.Client) {
	for _, t := range []struct {
		field     *time.Duration
		option    any
		kgo, ours time.Duration
	}{
		{&cfg.SessionTimeout, kgo.SessionTimeout, kgoSession, DefaultSessionTimeout},
		{&cfg.RebalanceTimeout, kgo.RebalanceTimeout, kgoRebalance, DefaultRebalanceTimeout},
		{&cfg.HeartbeatInterval, kgo.HeartbeatInterval, kgoHeartbeat, 0},
	} {
		if d, _ := probe.OptValue(t.option).(time.Duration); d != t.kgo {
			def(t.field, d)
		}
		def(t.field, t.ours)
	}
	def(&cfg.HeartbeatInterval, min(DefaultHeartbeatInterval, cfg.SessionTimeout/4))
	def(&cfg.DrainTimeout, min(DefaultDrainTimeout, cfg.RebalanceTimeout/2))
}

// complete checks what must be there once the options are merged.
func (cfg *Config) complete() error {
	broker, badBroker := hostport.FirstBad(cfg.Brokers)
	switch {
	case len(cfg.Brokers) == 0:
		return &ConfigError{Field: "Brokers", Remedy: "the host:port of at least one broker"}
	case badBroker:
		return &ConfigError{Field: "Brokers", Value: fmt.Sprintf("%q", broker), Remedy: hostport.Remedy}
	case cfg.Group == "":
		return &ConfigError{Field: "Group", Remedy: "the name of the consumer group"}
	case len(cfg.Topics) == 0 && cfg.Regex == "":
		return &ConfigError{Field: "Topics", Remedy: "the topics to read, or a regular expression in Config.Regex"}
	case cfg.DrainTimeout >= cfg.RebalanceTimeout:
		return &ConfigError{
			Field: "DrainTimeout", Value: cfg.DrainTimeout.String(),
			Remedy: fmt.Sprintf("it must be below the RebalanceTimeout of %s, or the group goes on without the last commit", cfg.RebalanceTimeout),
		}
	case cfg.HeartbeatInterval >= cfg.SessionTimeout/3:
		return &ConfigError{
			Field: "HeartbeatInterval", Value: cfg.HeartbeatInterval.String(),
			Remedy: fmt.Sprintf("it must be below a third of the SessionTimeout of %s, or one late heartbeat costs the membership", cfg.SessionTimeout),
		}
	}
	if _, err := regexp.Compile(cfg.Regex); err != nil {
		return &ConfigError{Field: "Regex", Value: fmt.Sprintf("%q", cfg.Regex), Remedy: err.Error()}
	}
	return nil
}

// Bounds of the client's own fetch buffer, see Config.MaxBytes.
const (
	maxConcurrentFetches = 16
	minFetchBytes        = 128 << 10
	maxFetchBytes        = 8 << 20
	minDecompressBytes   = 64 << 20
)

func (cfg *Config) fetchMaxBytes() int32 {
	return int32(min(max(cfg.MaxBytes/32, minFetchBytes), maxFetchBytes))
}

func (cfg *Config) maxDecompressBytes() int {
	return int(min(max(cfg.MaxBytes, minDecompressBytes), 1<<30))
}

func (cfg *Config) resetOffset() kgo.Offset {
	switch cfg.OnOutOfRange {
	case ResetEarliest:
		return kgo.NewOffset().AtStart()
	case ResetLatest:
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NoResetOffset()
}
