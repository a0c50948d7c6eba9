package consumer

import (
	"context"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/kgoopt"
)

// everyRefused has one option for each name that is refused.
func everyRefused() map[string]kgo.Opt {
	cb := func(context.Context, *kgo.Client, map[string][]int32) {}
	return map[string]kgo.Opt{
		"AutoCommitMarks":             kgo.AutoCommitMarks(),
		"AutoCommitInterval":          kgo.AutoCommitInterval(5 * time.Second), // the default too: it shows what was expected
		"GreedyAutoCommit":            kgo.GreedyAutoCommit(),
		"AutoCommitCallback":          kgo.AutoCommitCallback(func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {}),
		"OnPartitionsAssigned":        kgo.OnPartitionsAssigned(cb),
		"OnPartitionsRevoked":         kgo.OnPartitionsRevoked(cb),
		"OnPartitionsLost":            kgo.OnPartitionsLost(cb),
		"OnPartitionsCallbackBlocked": kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) {}),
		"AdjustFetchOffsetsFn": kgo.AdjustFetchOffsetsFn(func(_ context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return m, nil
		}),
		"OnOffsetsFetched":          kgo.OnOffsetsFetched(func(context.Context, *kgo.Client, *kmsg.OffsetFetchResponse) error { return nil }),
		"ConsumePartitions":         kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset()}}),
		"ConsumeStartOffset":        kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		"ConsumeResetOffset":        kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		"ShareGroup":                kgo.ShareGroup("g"),
		"ShareMaxRecords":           kgo.ShareMaxRecords(5),
		"ShareMaxRecordsStrict":     kgo.ShareMaxRecordsStrict(),
		"ShareAckCallback":          kgo.ShareAckCallback(func(*kgo.Client, kgo.ShareAckResults) {}),
		"ServerSideBalancer":        kgo.ServerSideBalancer(),
		"GroupProtocol":             kgo.GroupProtocol("mine"),
		"TransactionalID":           kgo.TransactionalID("tx"),
		"ConsumePreferringLagFn":    kgo.ConsumePreferringLagFn(kgo.PreferLagAt(5)),
		"WithPools":                 kgo.WithPools(),
		"KeepRetryableFetchErrors":  kgo.KeepRetryableFetchErrors(),
		"DisableFetchCRCValidation": kgo.DisableFetchCRCValidation(),
		"WithContext":               kgo.WithContext(context.Background()),
	}
}

func minimal() Config {
	return Config{Brokers: []string{"localhost:9092"}, Group: "g", Topics: []string{"t"}}
}

func TestOptionsAreRefusedByName(t *testing.T) {
	all := everyRefused()
	for _, name := range kgoopt.RefusedIn(kgoopt.Consumer) {
		opt, ok := all[name]
		if !ok {
			t.Errorf("no test for %s", name)
			continue
		}
		cfg := minimal()
		cfg.Options = []kgo.Opt{kgo.ClientID("x"), opt}
		_, err := New(cfg)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		if e := wantAs[*ConfigError](t, err); e.Field != "Options[1]" || e.Value != "kgo."+name || e.Reason == "" || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEagerBalancersNeedAllowEager(t *testing.T) {
	cfg := minimal()
	cfg.Options = []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	_, err := New(cfg)
	if e := wantAs[*ConfigError](t, err); e.Field != "Options[0]" || !strings.Contains(e.Error(), `kgo.Balancers: "range" is eager`) {
		t.Errorf("got %v", e)
	}
	cfg.AllowEager = true
	_, err = New(cfg)
	wantNil(t, err)
	cfg.AllowEager = false
	cfg.Options = []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	_, err = New(cfg)
	wantNil(t, err)
}

// unnamed hides an option's name, as a wrapper of a later client could.
type unnamed struct{ kgo.Opt }

// What is refused by value is refused although the option's name cannot be seen.
func TestOptionsAreRefusedByValue(t *testing.T) {
	for _, opt := range []kgo.Opt{
		kgo.AutoCommitMarks(), kgo.GreedyAutoCommit(), kgo.AutoCommitInterval(time.Second), kgo.ServerSideBalancer(), kgo.TransactionalID("x"),
		kgo.Balancers(kgo.RangeBalancer()),
	} {
		cfg := minimal()
		cfg.Options = []kgo.Opt{unnamed{opt}}
		_, err := New(cfg)
		if e := wantAs[*ConfigError](t, err); e.Field != "Options" || e.Value != "kgo."+kgoopt.Name(opt) {
			t.Errorf("%s: got %v", kgoopt.Name(opt), err)
		}
	}
}

// All that is wrong is said at once.
func TestAllConfigErrorsAtOnce(t *testing.T) {
	_, err := New(Config{Brokers: []string{"x:y"}, MaxRecords: -1, CommitAfter: -1, SessionTimeout: -1})
	for _, field := range []string{`Brokers is "x:y"`, "MaxRecords is -1", "CommitAfter is -1", "SessionTimeout is -1ns", "Group is missing", "Topics is missing"} {
		if err == nil || strings.Count(err.Error(), "consumer: Config."+field+": ") != 1 {
			t.Errorf("Config.%s is not in: %v", field, err)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 5 {
		t.Errorf("more than what is wrong: %v", err)
	}
}

// The options of an existing client stand in for Brokers, Group, Topics, InstanceID and the
// timeouts.
func TestOptionsOfAnExistingClient(t *testing.T) {
	opts := []kgo.Opt{
		kgo.SeedBrokers("a:1", "b:2"), kgo.ConsumerGroup("grp"), kgo.ConsumeTopics("y", "x"), kgo.InstanceID("i"),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(20 * time.Second), kgo.HeartbeatInterval(time.Second),
	}
	c, err := New(Config{Options: opts})
	wantNil(t, err)
	got := c.cfg
	if !slices.Equal(got.Brokers, []string{"a:1", "b:2"}) || got.Group != "grp" || !slices.Equal(got.Topics, []string{"x", "y"}) || got.InstanceID != "i" {
		t.Errorf("got %+v", got)
	}
	if got.SessionTimeout != 20*time.Second || got.HeartbeatInterval != time.Second || got.RebalanceTimeout != DefaultRebalanceTimeout {
		t.Errorf("timeouts %s %s %s", got.SessionTimeout, got.HeartbeatInterval, got.RebalanceTimeout)
	}
	c, err = New(Config{Options: []kgo.Opt{kgo.SeedBrokers("a:1"), kgo.ConsumerGroup("grp"), kgo.ConsumeTopics("^x.*"), kgo.ConsumeRegex()}})
	wantNil(t, err)
	if c.cfg.Regex != "^x.*" || len(c.cfg.Topics) != 0 {
		t.Errorf("regex %q, topics %v", c.cfg.Regex, c.cfg.Topics)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*Config)
	}{
		{"Brokers", func(c *Config) { c.Brokers = nil }},
		{"Brokers", func(c *Config) { c.Brokers = []string{"fine:9092", "a:port"} }},
		{"Brokers", func(c *Config) { c.Brokers, c.Options = nil, []kgo.Opt{kgo.SeedBrokers("kafka://a:9092")} }},
		{"Group", func(c *Config) { c.Group = "" }},
		{"Topics", func(c *Config) { c.Topics = nil }},
		{"Regex", func(c *Config) { c.Regex = "x" }},
		{"Regex", func(c *Config) { c.Regex, c.Topics = "(", nil }},
		{"Start", func(c *Config) { c.Start = Start(Halt) + 100 }},
		{"Start", func(c *Config) { c.Start = -1 }},
		{"OnOutOfRange", func(c *Config) { c.OnOutOfRange = ResetLatest + 1 }},
		{"CommitEvery", func(c *Config) { c.CommitEvery = -time.Second }},
		{"CommitAfter", func(c *Config) { c.CommitAfter = -1 }},
		{"MaxBytes", func(c *Config) { c.MaxBytes = -1 }},
		{"MaxRecords", func(c *Config) { c.MaxRecords = -1 }},
		{"StateDir", func(c *Config) { c.StateDir = os.DevNull }}, // no directory, wherever this is
		{"DrainTimeout", func(c *Config) { c.DrainTimeout = -1 }},
		{"DrainTimeout", func(c *Config) { c.DrainTimeout = time.Minute }},
		{"HeartbeatInterval", func(c *Config) { c.HeartbeatInterval = time.Minute }},
		{"HeartbeatInterval", func(c *Config) { c.HeartbeatInterval = 15 * time.Second }},
		{"Group", func(c *Config) { c.Options = []kgo.Opt{kgo.ConsumerGroup("other")} }},
		{"Brokers", func(c *Config) { c.Options = []kgo.Opt{kgo.SeedBrokers("other:1")} }},
		{"Options[1]", func(c *Config) { c.Options = []kgo.Opt{kgo.ClientID("x"), nil} }},
		{"Topics", func(c *Config) { c.Options = []kgo.Opt{kgo.ConsumeTopics("other")} }},
	} {
		cfg := minimal()
		c.change(&cfg)
		_, err := New(cfg)
		if err == nil {
			t.Errorf("%s: accepted: %+v", c.field, cfg)
			continue
		}
		if e := wantAs[*ConfigError](t, err); e.Field != c.field || e.Remedy == "" {
			t.Errorf("%s: got %v", c.field, err)
		}
	}
	cfg := minimal()
	cfg.Options = []kgo.Opt{kgo.InstanceID("")}
	if _, err := New(cfg); err == nil {
		t.Error("an option that the client refuses is accepted")
	}
}

func TestHeartbeatFollowsTheSessionTimeout(t *testing.T) {
	for session, want := range map[time.Duration]time.Duration{
		0: DefaultHeartbeatInterval, 6 * time.Second: DefaultHeartbeatInterval, time.Second: 250 * time.Millisecond,
	} {
		cfg := minimal()
		cfg.SessionTimeout = session
		c, err := New(cfg)
		wantNil(t, err)
		if c.cfg.HeartbeatInterval != want {
			t.Errorf("SessionTimeout %s: heartbeat every %s, want %s", session, c.cfg.HeartbeatInterval, want)
		}
	}
}

type countingHook struct{ clients *int }

func (h countingHook) OnNewClient(*kgo.Client) { *h.clients++ }

// New makes no client that the user's hooks could see, and does not connect.
func TestNewIsQuiet(t *testing.T) {
	clients := 0
	cfg := minimal()
	cfg.Options = []kgo.Opt{kgo.WithHooks(countingHook{&clients})}
	c, err := New(cfg)
	wantNil(t, err)
	if clients != 0 {
		t.Errorf("New made %d clients", clients)
	}
	if c.Client() != nil {
		t.Error("there is a client before Run")
	}
}

func TestEagerGroup(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.AllowEager = true
		cfg.Options = append(cfg.Options, kgo.Balancers(kgo.RangeBalancer()))
		var s seen
		a := l.start(cfg, s.deliver)
		l.untilSpread(a)
		l.feed(0, 50)
		l.feed(5, 50)
		b := l.start(cfg, s.deliver)
		l.untilSpread(a, b)
		l.feed(0, 50)
		l.feed(5, 50)
		l.untilCommitted(0, 100)
		l.untilCommitted(5, 100)
		wantNil(t, a.stop())
		wantNil(t, b.stop())
		for _, p := range []int32{0, 5} {
			for o, n := range s.done[p] {
				if n != 1 {
					t.Errorf("partition %d offset %d done %d times", p, o, n)
				}
			}
		}
	})
}

// A value of one field is none of the other, so Start: Halt does not compile.
func TestStartAndOutOfRangeAreTypesApart(t *testing.T) {
	start, policy := reflect.TypeFor[Start](), reflect.TypeFor[OutOfRange]()
	for _, value := range []any{Halt, ResetEarliest, ResetLatest, Earliest, Latest, StartAt(time.Now())} {
		of := reflect.TypeOf(value)
		if of.AssignableTo(start) == of.AssignableTo(policy) {
			t.Errorf("%v of %s fits both fields, or none", value, of)
		}
	}
}
