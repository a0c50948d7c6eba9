package settings_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	file := write(t, `
brokers: [file:9092]
listen: unix:///file.sock
drain_timeout: 3s
socket_mode: 0770
limits: {bytes: 64MiB}
log: {level: debug}
apps:
  - {name: orders, topics: [orders.out, audit], token: s3cret}
kafka:
  client.id: file
  linger.ms: 5
`)
	e, err := settings.Load(settings.Sources{
		File:       file,
		Environ:    []string{"ACKMARK_LISTEN=unix:///env.sock", "ACKMARK_DRAIN_TIMEOUT=4s", "ACKMARK_KAFKA_CLIENT_ID=env", "PATH=/bin"},
		Flags:      map[string]string{"drain_timeout": "5s"},
		KafkaFlags: map[string]string{"compression.type": "zstd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Sidecar{
		Brokers: []string{"file:9092"}, Listen: "unix:///env.sock", SocketMode: 0o770, DrainTimeout: 5 * time.Second, ReconnectGrace: time.Second, WillTimeout: 30 * time.Second, StateDir: "auto",
		Transactions: settings.Transactions{Every: 100 * time.Millisecond, Timeout: 15 * time.Second},
		Limits: settings.Limits{
			Bytes: 64 << 20, Sessions: 64, Connections: 256, RecordBytes: 4<<20 - 64<<10, MessageBytes: 4 << 20, ReportRing: 4096, StateBytes: 64 << 20,
		}, Admin: settings.Admin{StallAfter: 5 * time.Minute}, LogLevel: -4, LogFormat: "auto", MemoryRatio: 0.9,
		Apps:  []settings.App{{Name: "orders", Topics: []string{"orders.out", "audit"}, Token: "s3cret"}},
		Kafka: map[string]string{"client.id": "env", "linger.ms": "5", "compression.type": "zstd"},
	}
	if diff := cmp.Diff(want, e.Sidecar); diff != "" {
		t.Error(diff)
	}
}

func TestEcho(t *testing.T) {
	e, err := settings.Load(settings.Sources{
		File: write(t, "apps: [{name: orders, topics: [out], token: s3cret}]"),
		Environ: []string{
			"ACKMARK_BROKERS=a:9092,b:9092", "ACKMARK_KAFKA_SECURITY_PROTOCOL=SASL_SSL", "ACKMARK_KAFKA_SASL_MECHANISM=PLAIN",
			"ACKMARK_KAFKA_SASL_USERNAME=bob", "ACKMARK_KAFKA_SASL_PASSWORD=s3cret",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := e.YAML(settings.Limits{Bytes: 77, Records: 65536, AppRecords: 9})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") {
		t.Errorf("the echo shows a secret:\n%s", text)
	}
	for _, want := range []string{"brokers: ['a:9092', 'b:9092'] # variable ACKMARK_BROKERS", "sasl.password: (redacted)", "token: (redacted)", "drain_timeout: 20s # default",
		"bytes: auto # 77 here: a quarter of the memory limit", "app_records: auto # 9 here: three quarters of limits.records", "records: auto # 65536 here: 65536; 262144 with a transactional id"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the echo lacks %q:\n%s", want, text)
		}
	}
	if _, err := settings.Load(settings.Sources{File: write(t, string(text))}); err == nil || !strings.Contains(err.Error(), "write the secret itself") {
		t.Errorf("a redacted secret is read as one: %v", err)
	}
	again, err := settings.Load(settings.Sources{File: write(t, strings.ReplaceAll(string(text), "(redacted)", "known"))})
	if err != nil {
		t.Fatalf("the echo is no valid file: %v\n%s", err, text)
	}
	if !cmp.Equal(again.Brokers, e.Brokers) || again.Listen != e.Listen || again.SocketMode != e.SocketMode {
		t.Errorf("the echo reads back as %+v, want %+v", again.Sidecar, e.Sidecar)
	}
}

func TestErrorsNameFieldValueAndRemedy(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		env     []string
		flags   map[string]string
		kafka   map[string]string
		want    string
		noField bool
	}{
		"no brokers":          {want: "brokers is missing; set --brokers"},
		"unknown key":         {file: "brokrs: [a:1]", want: `unknown key "brokrs"; did you mean "brokers"?`},
		"unknown nested key":  {file: "log: {leve: info}", want: `unknown key "log.leve"; did you mean "log.level"?`},
		"far from any key":    {file: "xyzzy: 1", want: `unknown key "xyzzy"`},
		"unknown variable":    {env: []string{"ACKMARK_BROKER=a:1"}, want: `unknown variable "ACKMARK_BROKER"; did you mean "ACKMARK_BROKERS"?`},
		"bad yaml":            {file: "a: [", want: "check the indentation", noField: true},
		"duration":            {flags: map[string]string{"drain_timeout": "5"}, want: `--drain-timeout is "5"; write a positive duration with its unit`},
		"level":               {env: []string{"ACKMARK_LOG_LEVEL=loud"}, want: `ACKMARK_LOG_LEVEL is "loud"`},
		"listen":              {flags: map[string]string{"listen": "/run/x.sock"}, want: `--listen is "/run/x.sock"; write unix:///absolute/path.sock`},
		"mode":                {file: "socket_mode: 770", want: "socket_mode is 770 (octal 01402); write 0700"},
		"limit":               {flags: map[string]string{"limits/bytes": "many"}, want: `--limits-bytes is "many"`},
		"ratio":               {flags: map[string]string{"memory_ratio": "2"}, want: `--memory-ratio is "2"`},
		"admin of a scheme":   {flags: map[string]string{"admin": "http://localhost:9404"}, want: `--admin is "http://localhost:9404"; write host:port as in 127.0.0.1:9404`},
		"admin without port":  {env: []string{"ACKMARK_ADMIN=localhost"}, want: `ACKMARK_ADMIN is "localhost"; write host:port`},
		"admin that is true":  {file: "admin: true", want: `admin is true; write host:port`},
		"admin's hosts":       {file: "admin_hosts: ['http://x']", want: `admin_hosts has the entry "http://x"; write names alone`},
		"admin's profiles":    {flags: map[string]string{"admin_profiles": "yes"}, want: `--admin-profiles is "yes"; write true or false`},
		"mode for everybody":  {file: "socket_mode: 0777", want: "socket_mode is"},
		"ratio that is none":  {flags: map[string]string{"memory_ratio": "NaN"}, want: `--memory-ratio is "NaN"`},
		"too large a limit":   {flags: map[string]string{"limits/bytes": "9223372036854775807k"}, want: `--limits-bytes is "9223372036854775807k"`},
		"tcp, no key":         {flags: map[string]string{"brokers": "a:1", "listen": "tcp://:7000", "tls/certificate": "c", "tls/client_ca": "c"}, want: "TCP needs mutual TLS"},
		"tcp, no client CA":   {flags: map[string]string{"brokers": "a:1", "listen": "tcp://:7000", "tls/certificate": "c", "tls/key": "c"}, want: "TCP needs mutual TLS"},
		"echoed password":     {file: "kafka: {security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: (redacted)}", want: "kafka.sasl.password is (redacted), as `config echo` prints it"},
		"echoed token":        {file: "apps: [{name: a, token: (redacted)}]", want: "apps[0] token is (redacted)"},
		"scheme":              {flags: map[string]string{"brokers": "kafka://a:9092"}, want: `has "kafka://a:9092"; write host:port without a scheme`},
		"password in a URL":   {flags: map[string]string{"brokers": "kafka://u:s3@cret@a:9092"}, want: `has "kafka://…@a:9092"; write host:port without a scheme`},
		"port":                {flags: map[string]string{"brokers": "a:1,b:port"}, want: `--brokers has "b:port"; write each broker as host:port`},
		"two broker lists":    {flags: map[string]string{"brokers": "a:1"}, kafka: map[string]string{"bootstrap.servers": "b:1"}, want: "set one of them"},
		"tcp without TLS":     {flags: map[string]string{"brokers": "a:1", "listen": "tcp://:7000"}, want: "TCP needs mutual TLS"},
		"TLS on a socket":     {flags: map[string]string{"brokers": "a:1", "tls/key": "x"}, want: "remove tls.*"},
		"app without name":    {file: "apps: [{topics: [a]}]", want: "apps[0] has no name"},
		"app's empty token":   {file: "apps: [{name: a, token: ''}]", want: "apps[0] token is empty; write the secret, or leave the key out"},
		"echoed address":      {file: "kafka: {security.protocol: SASL_SSL, sasl.mechanism: OAUTHBEARER, sasl.oauthbearer.client.credentials.client.id: x, sasl.oauthbearer.client.credentials.client.secret: y, sasl.oauthbearer.token.endpoint.url: 'https://idp/token?(redacted)'}", want: "kafka.sasl.oauthbearer.token.endpoint.url is (redacted)"},
		"app key":             {file: "apps: [{name: a, topic: [a]}]", want: `unknown key "topic"; did you mean "topics"?`},
		"app keys are listed": {file: "apps: [{name: a, app: a}]", want: "the keys are name, topics, groups, token"},
		"no topics":           {file: "apps: [{name: a, topics: []}]", want: "apps[0] topics is empty; name at least one"},
		"no groups":           {file: "apps: [{name: a, groups: []}]", want: "apps[0] groups is empty; name at least one"},
		"octal password":      {file: "kafka: {sasl.password: 01234567}", want: "kafka.sasl.password is not a text for YAML but a number; put it in quotes"},
		"token as a number":   {file: "apps: [{name: a, token: 0123}]", want: "apps[0] token is not a text for YAML but a number"},
		"token as a date":     {file: "apps: [{name: a, token: 2026-11-28}]", want: "apps[0] token is not a text"},
		"app twice":           {file: "brokers: a:1\napps: [{name: a}, {name: a}]", want: `apps has "a" twice`},
		"unknown property":    {kafka: map[string]string{"linger": "5"}, want: `unknown Kafka property "linger"; did you mean "linger.ms"?`},
		"acks":                {kafka: map[string]string{"acks": "1"}, want: `--kafka acks is "1"; it must be all`},
		"auto commit":         {kafka: map[string]string{"enable.auto.commit": "true"}, want: "committed only when every output made from the input is acknowledged"},
		"idempotence":         {kafka: map[string]string{"enable.idempotence": "false"}, want: "written twice"},
		"consumer property":   {kafka: map[string]string{"group.id": "a"}, want: "belongs to a consumer"},
		"delivery timeout":    {kafka: map[string]string{"delivery.timeout.ms": "5"}, want: "would lose it"},
		"compression":         {kafka: map[string]string{"compression.type": "rar"}, want: "none, gzip, snappy, lz4 or zstd"},
		"batch size":          {kafka: map[string]string{"batch.size": "16384"}, want: "--kafka batch.size is not used"},
		"ids":                 {flags: map[string]string{"allow_uids": "bob"}, want: `--allow-uids has the entry "bob"; write ids as numbers`},
		"two record limits":   {flags: map[string]string{"limits/record_bytes": "600"}, kafka: map[string]string{"max.request.size": "700"}, want: "set one of them"},
		"in flight":           {kafka: map[string]string{"max.in.flight.requests.per.connection": "6"}, want: "keeps the order"},
		"no mechanism":        {kafka: map[string]string{"security.protocol": "SASL_SSL"}, want: "kafka.sasl.mechanism is missing"},
		"password unused":     {kafka: map[string]string{"sasl.password": "x"}, want: "kafka.security.protocol must be SASL_SSL"},
		"ca unused":           {kafka: map[string]string{"ssl.ca.location": "x"}, want: "kafka.security.protocol must be SSL"},
		"ca missing":          {kafka: map[string]string{"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, want: "--kafka ssl.ca.location cannot be used: open /nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			src := settings.Sources{Environ: tc.env, Flags: tc.flags, KafkaFlags: tc.kafka}
			if tc.file != "" {
				src.File = write(t, tc.file)
			}
			if name != "no brokers" { // a second error would stand beside the one that is looked for
				src.Environ = append([]string{"ACKMARK_BROKERS=a:1"}, tc.env...)
			}
			_, err := settings.Load(src)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v\nwant an error with %q", err, tc.want)
			}
			if _, ok := errors.AsType[*settings.FieldError](err); !ok && !tc.noField {
				t.Errorf("the error is a %T, want a *FieldError", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
}

func TestServiceVariablesAreNotOurs(t *testing.T) {
	_, err := settings.Load(settings.Sources{Environ: []string{"ACKMARK_BROKERS=a:1", "ACKMARK_SERVICE_HOST=10.0.0.1", "ACKMARK_PORT=tcp://10.0.0.1:80",
		"ACKMARK_KAFKA_SERVICE_HOST=10.0.0.1", "ACKMARK_KAFKA_SERVICE_PORT=9092", "ACKMARK_KAFKA_SERVICE_PORT_SASL_SSL=9093", "ACKMARK_KAFKA_PORT=tcp://10.0.0.1:9092",
		"ACKMARK_KAFKA_PORT_9092_TCP=tcp://10.0.0.1:9092", "ACKMARK_KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "ACKMARK_KAFKA_BOOTSTRAP_SERVICE_HOST=10.0.0.1"}})
	if err != nil {
		t.Error(err)
	}
	if _, err := settings.Load(settings.Sources{Environ: []string{"ACKMARK_BROKERS=a:1", "ACKMARK_KAFKA_SECURITY_PROTOCOLL=SSL"}}); err == nil {
		t.Error("a property that is misspelt is taken for one of Kubernetes' variables")
	}
}

func TestKafkaOptionsMakeAClient(t *testing.T) {
	opts, err := settings.KafkaOptions(map[string]string{
		"bootstrap.servers": "127.0.0.1:9", "client.id": "x", "linger.ms": "0.5", "max.request.size": "100000", "compression.type": "lz4", "acks": "all",
		"enable.idempotence": "true", "enable.auto.commit": "false", "request.timeout.ms": "30000", "security.protocol": "sasl_ssl",
		"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p", "ssl.endpoint.identification.algorithm": "none",
		"metadata.max.age.ms": "60000", "connections.max.idle.ms": "540000", "partitioner": "murmur2_random",
	})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

// One run names all that is wrong, each by the name that its user wrote, and wrong kinds with an
// example.
func TestAllErrorsAtOnce(t *testing.T) {
	file := write(t, `
brokers: {a: 9092}
drain_timeout: 5
reconnect_grace: [1, 2]
will_timeout:
limits: {bytes: {max: 5}, records: [1], sessions: true}
log: debug
allow_uids: {a: 1}
tls: {key: {a: b}}
kafka: {acks: 1, sasl.password: 0123}
apps: [{nme: x, topics: []}, 7]
listn: x
`)
	_, err := settings.Load(settings.Sources{
		File: file, Environ: []string{"ACKMARK_LOG_FORMAT=xml", "ACKMARK_BROKER=a:1", "ACKMARK_KAFKA_CLIENT=x"},
		Flags: map[string]string{"memory_ratio": "2", "socket_mode": "0777", "limits/app_bytes": "all"}, KafkaFlags: map[string]string{"retries": "3"},
	})
	in := "file " + file + ": "
	want := []string{
		in + "brokers is a map; write a list, as in [one, two]", in + "drain_timeout is 5; write a positive duration with its unit, as in 10s",
		in + "reconnect_grace is a list; write a positive duration", in + "will_timeout is empty; write a positive duration",
		in + "limits.bytes is a map; write a whole number above 0, with a unit if you like: 5000, 64MiB", in + "limits.records is a list; write a whole number",
		in + "limits.sessions is true; write a whole number", in + "log is \"debug\"; write a map, as in `log: {level: …}`",
		in + "allow_uids is a map; write ids as numbers: [1000, 1001]", in + "tls.key is a map; write one text",
		in + `kafka.acks is "1"; it must be all`, in + "kafka.sasl.password is not a text for YAML", in + `apps[0] has an unknown key "nme"`,
		in + "apps[0] topics is empty", in + "apps[0] has no name", in + "apps[1] is 7; write a map, as in {name: orders", in + `unknown key "listn"; did you mean "listen"?`,
		`ACKMARK_LOG_FORMAT is "xml"; write auto, json, text`, `unknown variable "ACKMARK_BROKER"`, `unknown Kafka property "client"`,
		`--memory-ratio is "2"; write a number from 0 to 1`, `--socket-mode is "0777"; write 0700`, `--limits-app-bytes is "all"; write a whole number`,
		"--kafka retries cannot be set",
	}
	var all settings.Errors
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want settings.Errors", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), "\n  "+w) {
			t.Errorf("no line begins with %q", w)
		}
	}
	if len(all) != len(want) || t.Failed() {
		t.Errorf("%d errors, want %d:\n%v", len(all), len(want), err)
	}
}

// What is wrong with a setting is told once, and not again as what follows from it.
func TestNoErrorIsToldTwice(t *testing.T) {
	for file, want := range map[string]string{
		"apps: [{name: [x]}]": "apps[0] name is a list; write one text",
		"listen: tcp://:7000\ntls: {certificate: c, key: [], client_ca: c}": "tls.key is a list; write one text",
		"listen: tcp://:7000\ntls: {certificate: c, key: k, client_ca: }":   "tls.client_ca is empty; write one text",
	} {
		path := write(t, "brokers: [a:1]\n"+file+"\n")
		_, err := settings.Load(settings.Sources{File: path})
		var all settings.Errors
		if !errors.As(err, &all) || len(all) != 1 || err.Error() != "file "+path+": "+want {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// The query of a token endpoint may be a key: neither `config echo` nor a reload's log shows it.
func TestQueryOfAnEndpointIsNotShown(t *testing.T) {
	load := func(query string) *settings.Effective {
		t.Helper()
		e, err := settings.Load(settings.Sources{Flags: map[string]string{"brokers": "a:1"}, KafkaFlags: map[string]string{
			"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "https://idp/token?code=" + query,
			"sasl.oauthbearer.client.credentials.client.id": "x", "sasl.oauthbearer.client.credentials.client.secret": "y",
		}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	before, now := load("canary1"), load("canary2")
	text, err := before.YAML(settings.Limits{})
	if err != nil || bytes.Contains(text, []byte("canary")) || !bytes.Contains(text, []byte("https://idp/token?(redacted)")) {
		t.Errorf("%v: %s", err, text)
	}
	changes := before.Changes(now)
	if len(changes) != 1 || strings.Contains(fmt.Sprint(changes), "canary") {
		t.Errorf("changes: %v", changes)
	}
}

func TestEveryDefaultIsRead(t *testing.T) {
	for _, f := range settings.Fields() {
		if f.Default == "" {
			continue
		}
		if _, err := settings.Load(settings.Sources{Flags: map[string]string{"brokers": "a:1", f.Key: f.Default}}); err != nil {
			t.Error(err)
		}
		if f.Default == "0" {
			t.Errorf("%s: its default is shown as 0, which says nothing", f.Key)
		}
	}
}

// A port without a host is one of loopback: nobody opens it to the network by leaving something
// out.
func TestTheAdminPortIsOfLoopbackUnlessAsked(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"admin: off", ""},
		{"admin: 'off'", ""},
		{"admin: 9404", "127.0.0.1:9404"},
		{"admin: '9404'", "127.0.0.1:9404"},
		{"admin: ':9404'", "127.0.0.1:9404"},
		{"admin: 'localhost:9404'", "localhost:9404"},
		{"admin: '0.0.0.0:9404'", "0.0.0.0:9404"},
		{"admin: '[::]:9404'", "[::]:9404"},
		{"log: {level: info}", ""},
	} {
		e, err := settings.Load(settings.Sources{File: write(t, "brokers: [a:9092]\n"+c.text)})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if e.Admin.Address != c.want {
			t.Errorf("%s: %q, want %q", c.text, e.Admin.Address, c.want)
		}
	}
}

// The directory stands beside the socket, has its name, and may be another one or none.
func TestStatePath(t *testing.T) {
	beside := "/run/a/s.sock.state"
	if !sessionfile.Supported {
		beside = ""
	}
	for _, c := range []struct{ listen, dir, want string }{
		{"unix:///run/a/s.sock", "auto", beside},
		{"tcp://127.0.0.1:7070", "auto", ""},
		{"unix:///run/a/s.sock", "none", ""},
		{"tcp://127.0.0.1:7070", "/var/lib/ackmark", "/var/lib/ackmark"},
	} {
		if got := (&settings.Sidecar{Listen: c.listen, StateDir: c.dir}).StatePath(); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.listen, c.dir, got, c.want)
		}
	}
}
