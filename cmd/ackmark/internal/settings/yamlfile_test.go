package settings_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// A setting in a form that YAML takes for something else is refused, never left out: without its
// security.protocol a client would send its records in the clear.
func TestNothingInTheFileIsIgnored(t *testing.T) {
	for text, want := range map[string]string{
		"kafka.security.protocol: SSL":         "kafka.security.protocol is one word for YAML; write a map, as in `kafka: {security.protocol: …}`",
		"kafka.anything: SSL":                  "kafka.anything is one word for YAML",
		"log.level: debug":                     "log.level is one word for YAML; write a map, as in `log: {level: …}`",
		"log/level: debug":                     "log.level is one word for YAML",
		"log.levels: debug":                    `unknown key "log.levels"; did you mean "log.level"?`,
		"apps.x: 1":                            `unknown key "apps.x"; did you mean "apps"?`,
		"---\nlisten: unix:///b\n":             `there is more than one document`,
		"limits: {app.bytes: 1}":               `unknown key "limits.app.bytes"; did you mean "limits.app_bytes"?`,
		"limits: {bytes: 1MiB}\nlimits.bytes:": "limits.bytes is one word for YAML",
	} {
		_, err := settings.Load(settings.Sources{File: write(t, "brokers: [a:9092]\n"+text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// What YAML reads by eights, or as a number, a date or a truth value, is what was written: a user
// id of 01000 must not let the user 512 in, nor a name lose its zeros.
func TestValuesAreAsWritten(t *testing.T) {
	e, err := settings.Load(settings.Sources{File: write(t, "\ufeffbrokers: [a:9092]\r\nallow_uids: [01000, 7]\r\nallow_gids: 0010\r\nsocket_mode: 0770\r\n"+`
limits: {records: 01000, sessions: 1e1, connections: 0x10}
apps: [{name: 007, topics: ["1"]}, {name: 1.10}]
routes: [{app: 007, topic: 2026-11-28, by: direct}]
kafka: {client.id: 01234567, enable.idempotence: True, metadata.max.age.ms: 1e4, sasl.mechanism: ~}
`)})
	if err == nil || !strings.HasSuffix(err.Error(), "kafka.sasl.mechanism is empty; write one text") {
		t.Fatalf("%v, want that one property is empty, and nothing else", err)
	}
	if got, want := [][]uint32{e.AllowUIDs, e.AllowGIDs}, [][]uint32{{1000, 7}, {10}}; !cmp.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	if e.SocketMode != 0o770 || e.Limits.Records != 1000 || e.Limits.Sessions != 10 || e.Limits.Connections != 16 {
		t.Errorf("mode %#o, limits %+v", e.SocketMode, e.Limits)
	}
	if e.Apps[0].Name != "007" || e.Apps[1].Name != "1.10" || e.Routes[0] != (settings.Route{App: "007", Topic: "2026-11-28", By: "direct"}) {
		t.Errorf("%+v, %+v", e.Apps, e.Routes)
	}
	if got := e.Kafka["client.id"]; got != "01234567" {
		t.Errorf("client.id is %q", got)
	}
}
