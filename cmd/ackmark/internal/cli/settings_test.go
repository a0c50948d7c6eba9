package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// Every field of sidecar.Config that the settings decide has the name of one: no error names a Go
// field.
func TestFieldsAreNamedAsSettings(t *testing.T) {
	own := []string{"Options", "Partitioner", "Listener", "MeterProvider", "TracerProvider", "Version", "Logger"} // no setting decides them
	known := []string{"kafka/linger.ms", "apps", "tls", "routes", "route_setters"}
	for _, f := range settings.Fields() {
		known = append(known, f.Key)
	}
	for f := range reflect.TypeFor[sidecar.Config]().Fields() {
		key, ok := settingKeys[f.Name]
		if ok == slices.Contains(own, f.Name) || ok && !slices.Contains(known, key) {
			t.Errorf("sidecar.Config.%s is called %q", f.Name, key)
		}
	}
	e, err := settings.Load(settings.Sources{Flags: map[string]string{"brokers": "a:1", "socket_mode": "0770"}, Environ: []string{"ACKMARK_LIMITS_SESSIONS=3"}})
	if err != nil {
		t.Fatal(err)
	}
	got := asWritten(e, "set SocketMode 0770, lower MaxSessions, raise MaxBytes, use 64 MiB")
	if want := "set --socket-mode 0770, lower ACKMARK_LIMITS_SESSIONS, raise limits.bytes, use 64 MiB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The texts of the sidecar's own errors, with every limit out of range at once.
func TestNoErrorNamesAGoField(t *testing.T) {
	flags := map[string]string{"brokers": "a:1"}
	for _, f := range settings.Fields() {
		if strings.HasPrefix(f.Key, "limits/") {
			flags[f.Key] = "1"
		}
	}
	flags["limits/sessions"], flags["limits/linger"] = "5000", "10s"
	e, err := settings.Load(settings.Sources{Flags: flags, KafkaFlags: map[string]string{"linger.ms": "20000"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sidecar.New(sidecarConfig(e, nil))
	refuse(e, err)
	text := e.Err().Error()
	for field := range settingKeys {
		if strings.Contains(text, field) {
			t.Errorf("%s stands in\n%s", field, text)
		}
	}
	for _, flag := range []string{"--limits-bytes is 1;", "--limits-records is 1;", "--limits-sessions is 5000;", "--limits-record-bytes is 1;", "--limits-message-bytes is 1;",
		"--limits-report-ring is 1;", "--kafka linger.ms is 20s;", "--limits-linger is 10s; at least --kafka linger.ms (20s)"} {
		if !strings.Contains(text, flag) {
			t.Errorf("no %q in\n%s", flag, text)
		}
	}
}

// A token that is a reference reaches the sidecar as what it refers to; without it nothing starts.
func TestTokensByReference(t *testing.T) {
	t.Setenv("CREDS_TEST_TOKEN", "t0ken")
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("brokers: [a:1]\napps: [{name: a, token: 'env:CREDS_TEST_TOKEN'}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := settings.Load(settings.Sources{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if cfg := sidecarConfig(e, slog.New(slog.DiscardHandler)); cfg.Apps[0].Token != "t0ken" || e.Err() != nil {
		t.Errorf("%q, %v", cfg.Apps[0].Token, e.Err())
	}
	t.Setenv("CREDS_TEST_TOKEN", "")
	if sidecarConfig(e, slog.New(slog.DiscardHandler)); e.Err() == nil {
		t.Error("an app whose token is gone is open to all")
	}
}

// What the settings call live is what the sidecar puts in force without a restart.
func TestLiveSettingsAreTheSidecars(t *testing.T) {
	base := sidecar.Config{Brokers: []string{"a:1"}, Logger: slog.New(slog.DiscardHandler)}.WithDefaults()
	s, err := sidecar.New(base)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, key := range settingKeys {
		cfg := base
		switch f := reflect.ValueOf(&cfg).Elem().FieldByName(name); {
		case name == "TLS", name == "Routes": // the command replaces it; a list that the sidecar's own test changes
			continue
		case name == "MaxRecordBytes":
			f.SetInt(f.Int() / 2)
		case name == "SocketMode":
			cfg.SocketMode = 0o770
		case name == "MetricsPerTopic":
			cfg.MetricsPerTopic = true
		case f.CanInt():
			f.SetInt(f.Int() * 2)
		case name == "Listen":
			cfg.Listen += "x"
		case name == "StateDir":
			cfg.StateDir += "x"
		case name == "Brokers":
			cfg.Brokers = []string{"b:1"}
		}
		if key := settingKeys[name]; key == "transactional_id" || key == "commit_every" || key == "transaction_timeout" {
			cfg.TransactionalID, cfg.CommitEvery, cfg.TransactionTimeout = "pod-0", 50*time.Millisecond, 9*time.Second
		}
		got, err := s.Reload(func() (sidecar.Config, error) { return cfg, nil })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		waits := slices.ContainsFunc(got.Restart, func(c sidecar.Change) bool { return c.Field == name })
		if waits == settings.Live(key) {
			t.Errorf("%s (%s): waits for a restart: %t, live: %t", name, key, waits, settings.Live(key))
		}
	}
}

// Defaults of the settings, which the help shows, are those of the sidecar.
func TestDefaultsAreTheSidecars(t *testing.T) {
	e, err := settings.Load(settings.Sources{Flags: map[string]string{"brokers": "a:1"}})
	if err != nil {
		t.Fatal(err)
	}
	got, want := sidecarConfig(e, slog.New(slog.DiscardHandler)).WithDefaults(), sidecar.Config{Brokers: []string{"a:1"}}.WithDefaults()
	want.StateDir = "/run/ackmark/sidecar.sock.state" // who embeds a sidecar chooses one
	for name := range settingKeys {
		is, should := reflect.ValueOf(got).FieldByName(name).Interface(), reflect.ValueOf(want).FieldByName(name).Interface()
		if !reflect.DeepEqual(is, should) {
			t.Errorf("%s: %v, the sidecar's own default is %v", name, is, should)
		}
	}
}
