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

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/kgoopt"
)

// adopt checks the user's options and takes from them what Config leaves open.
func (cfg *Config) adopt() error {
	probe, err := kgoopt.Check(kgoopt.Consumer, cfg.Options, probeBase()...)
	if err != nil {
		return err
	}
	defer probe.Close()
	if err := errors.Join(cfg.refuseEager(probe), cfg.checkProtocol(probe)); err != nil {
		return err
	}
	cfg.dial = dialer(probe)
	if err := errors.Join(cfg.merge(probe), cfg.complete()); err != nil {
		return err
	}
	cfg.excluded, _ = probe.OptValue(kgo.ConsumeExcludeTopics).([]string)
	// Once more, now that the budget is known: an own decompressor must bound what a batch inflates
	// to itself, the client's does.
	bounded, err := kgoopt.Probe(cfg.Options, append(probeBase(), kgo.MaxDecompressBatchBytes(cfg.maxDecompressBytes()), kgo.FetchMaxPartitionBytes(noPiece))...)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer bounded.Close()
	cfg.usersPiece = bounded.OptValue(kgo.FetchMaxPartitionBytes) != any(int32(noPiece))
	cfg.decompressor, _ = bounded.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	return nil
}

// probeBase is what a client needs so that option values can be read from it.
func probeBase() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(noBroker), kgo.ConsumerGroup(noGroup)} }

// What the probe has where the user's options say nothing.
const (
	noBroker     = "no-broker.invalid:1"
	noGroup      = "\x00"
	kgoSession   = 45 * time.Second
	kgoRebalance = 60 * time.Second
	kgoHeartbeat = 3 * time.Second
)

// refuseEager refuses balancers that need AllowEager.
func (cfg *Config) refuseEager(probe *kgo.Client) error {
	balancers, _ := probe.OptValue(kgo.Balancers).([]kgo.GroupBalancer)
	for _, b := range balancers {
		if !b.IsCooperative() && !cfg.AllowEager {
			i := slices.IndexFunc(cfg.Options, func(o kgo.Opt) bool { return kgoopt.Name(o) == "Balancers" })
			return kgoopt.Refusal(kgoopt.Consumer, i, "Balancers",
				fmt.Sprintf("%q is eager: every rebalance would stop and drain all partitions", b.ProtocolName()),
				"use kgo.CooperativeStickyBalancer(), or set Config.AllowEager if other members of the group need it")
		}
	}
	return nil
}

// merge takes brokers, group, topics and timeouts from the options where Config leaves them open,
// and refuses contradictions.
func (cfg *Config) merge(probe *kgo.Client) error {
	wrong := configerr.For(configName)
	contradiction := func(field string, value any, option string) {
		wrong.Wrong(field, value, "Config.Options has another kgo."+option+"; give it once")
	}
	if brokers, _ := probe.OptValue(kgo.SeedBrokers).([]string); !slices.Equal(brokers, []string{noBroker}) {
		if len(cfg.Brokers) > 0 && !slices.Equal(cfg.Brokers, brokers) {
			contradiction("Brokers", cfg.Brokers, "SeedBrokers")
		}
		cfg.Brokers = brokers
	}
	if group, _ := probe.OptValue(kgo.ConsumerGroup).(string); group != noGroup {
		if cfg.Group != "" && cfg.Group != group {
			contradiction("Group", cfg.Group, "ConsumerGroup")
		}
		cfg.Group = group
	}
	cfg.mergeTopics(probe, contradiction)
	if id := probe.OptValues(kgo.InstanceID); len(id) == 2 && id[1] == true {
		instance, _ := id[0].(string)
		if cfg.InstanceID != "" && cfg.InstanceID != instance {
			contradiction("InstanceID", cfg.InstanceID, "InstanceID")
		}
		cfg.InstanceID = instance
	}
	cfg.mergeTimeouts(probe)
	return wrong.Err()
}

func (cfg *Config) mergeTopics(probe *kgo.Client, contradiction func(string, any, string)) {
	topics := optTopics(probe)
	regex, _ := probe.OptValue(kgo.ConsumeRegex).(bool)
	all := strings.Join(topics, "|")
	switch {
	case len(topics) == 0:
		if regex && len(cfg.Topics) > 0 {
			cfg.Regex, cfg.Topics = strings.Join(cfg.Topics, "|"), nil
		}
	case regex && (len(cfg.Topics) > 0 || cfg.Regex != "" && cfg.Regex != all):
		contradiction("Topics", cfg.Topics, "ConsumeTopics")
	case regex:
		cfg.Regex = all
	case cfg.Regex != "" || len(cfg.Topics) > 0 && !slices.Equal(slices.Sorted(slices.Values(cfg.Topics)), topics):
		contradiction("Topics", cfg.Topics, "ConsumeTopics")
	default:
		cfg.Topics = topics
	}
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
	wrong := configerr.For(configName)
	if len(cfg.Brokers) == 0 {
		wrong.Missing("Brokers", "the host:port of at least one broker")
	}
	if broker, bad := hostport.FirstBad(cfg.Brokers); bad {
		wrong.Wrong("Brokers", broker, hostport.Remedy)
	}
	if cfg.Group == "" {
		wrong.Missing("Group", "the name of the consumer group")
	}
	if len(cfg.Topics) == 0 && cfg.Regex == "" {
		wrong.Missing("Topics", "the topics to read, or a regular expression in Config.Regex")
	}
	if _, err := regexp.Compile(cfg.Regex); err != nil {
		wrong.Failed("Regex", cfg.Regex, err, "correct the expression")
	}
	wrong.If(cfg.DrainTimeout >= cfg.RebalanceTimeout && cfg.RebalanceTimeout > 0, "DrainTimeout", cfg.DrainTimeout,
		fmt.Sprintf("it must be below the RebalanceTimeout of %s, or the group goes on without the last commit", cfg.RebalanceTimeout))
	wrong.If(cfg.HeartbeatInterval >= cfg.SessionTimeout/3 && cfg.SessionTimeout > 0, "HeartbeatInterval", cfg.HeartbeatInterval,
		fmt.Sprintf("it must be below a third of the SessionTimeout of %s, or one late heartbeat costs the membership", cfg.SessionTimeout))
	return wrong.Err()
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

func (cfg *Config) fetchMaxPartitionBytes() int32 { return min(1<<20, cfg.fetchMaxBytes()) }

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
