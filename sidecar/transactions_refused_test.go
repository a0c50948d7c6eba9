package sidecar_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Brokers that have no transactions for a sidecar end it at its start, with what to do.
func TestBrokersThatHaveNoTransactions(t *testing.T) {
	const upgrade = "kafka-features.sh upgrade --feature transaction.version=2"
	most := []kfake.Opt{kfake.BrokerConfigs(map[string]string{"transaction.max.timeout.ms": "900000"})}
	for name, c := range map[string]struct {
		broker  []kfake.Opt
		level   int16 // of transaction.version; 0: as it is
		timeout time.Duration
		remedy  string
	}{
		"a timeout above theirs":   {broker: most, timeout: time.Hour, remedy: "set TransactionTimeout (1h0m0s) to at most the brokers' transaction.max.timeout.ms"},
		"their longest timeout":    {broker: most, timeout: 15 * time.Minute},
		"no transaction.version":   {broker: []kfake.Opt{kfake.MaxVersions(kversion.V3_7_0())}, remedy: upgrade},
		"transaction.version is 1": {level: 1, remedy: upgrade},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kafka := cluster(t, c.broker...)
			if c.level > 0 {
				downgrade(t, kafka, c.level)
			}
			sc := sidecartest.Start(t, kafka.ListenAddrs(), func(cfg *sidecar.Config) {
				cfg.TransactionalID, cfg.TransactionTimeout = "pod-0", c.timeout
			})
			if c.remedy == "" {
				m := openStream(t, dial(t, sc.Target))
				m.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{exactlyOnce}}))
				if err := m.until(func() bool { return m.welcome != nil }); err != nil {
					t.Error(err)
				}
				return
			}
			late := time.AfterFunc(20*time.Second, func() { _ = sc.Stop() })
			err := sc.Wait()
			late.Stop()
			var of *sidecar.TransactionError
			if !errors.As(err, &of) || of.TransactionalID != "pod-0" || !strings.Contains(err.Error(), c.remedy) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// downgrade is kafka-features.sh downgrade.
func downgrade(t *testing.T, c *kfake.Cluster, level int16) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType = "transaction.version", level, 2
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(t.Context(), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}
