package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// Every field of sidecar.Config that the settings decide has the name of one: no error names a Go
// field.
func TestFieldsAreNamedAsSettings(t *testing.T) {
	own := []string{"Options", "Partitioner", "Listener", "Version", "Logger"} // no setting decides them
	known := []string{"kafka/linger.ms", "apps", "tls"}
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
	flags["limits/sessions"] = "5000"
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
		"--limits-report-ring is 1;", "--kafka linger.ms is 20s;"} {
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
