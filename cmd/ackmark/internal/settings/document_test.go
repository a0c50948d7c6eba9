package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func load(t *testing.T, text string, flags map[string]string) (*Effective, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Sources{File: path, Flags: flags})
}

// The file with every setting has every setting, loads, and comes to the defaults.
func TestTheDocumentedFile(t *testing.T) {
	text, err := Documented()
	if err != nil {
		t.Fatal(err)
	}
	brokers := map[string]string{"brokers": "a:9092"}
	got, err := load(t, string(text), brokers)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Load(Sources{Flags: brokers})
	if err != nil {
		t.Fatal(err)
	}
	if changes := want.Changes(got); len(changes) > 0 {
		t.Errorf("it does not come to the defaults: %+v", changes)
	}
	for _, f := range fields {
		if got.from[f.Key].kind == "" {
			t.Errorf("%s is not in it", f.Key)
		}
		if joined := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "#", " ")), " "); !strings.Contains(joined, f.Usage) {
			t.Errorf("%s is not explained", f.Key)
		}
	}
	kept, err := os.ReadFile("../../../../docs/sidecar.yaml")
	if err != nil || string(kept) != string(text) {
		t.Errorf("docs/sidecar.yaml is another one: ackmark config defaults > docs/sidecar.yaml (%v)", err)
	}
}

// Its examples are settings, too.
func TestTheDocumentedExamples(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	example := func(help, from string) string {
		_, text, _ := strings.Cut(help, from)
		return text
	}
	kafka := example(kafkaHelp, "For example:\n")
	kafka = strings.ReplaceAll(kafka, "/run/secrets/kafka-password", secret)
	kafka = strings.Replace(kafka, "/etc/ackmark/kafka-ca.pem", "../../../../internal/tlsfiles/testdata/cert.pem", 1)
	e, err := load(t, "brokers: [a:9092]\napps:\n"+example(appsHelp, "quotes.\n")+"\nroutes:\n"+example(routesHelp, "ends.\n")+"\nroute_setters:\n"+example(routeSettersHelp, "to root.\n")+"\nkafka:\n"+kafka, nil)
	if err != nil || len(e.Apps) != 1 || len(e.Routes) != 1 || len(e.RouteSetters) != 1 || len(e.RouteSetters[0].Topics) != 1 || len(e.Kafka) != strings.Count(kafka, "\n")+1 || e.Apps[0].Token != "secret" {
		t.Errorf("%v, %+v", err, e)
	}
}

// Every field wrong at once: each is told, by its name, in one error; and nothing panics.
func TestEveryFieldWrongAtOnce(t *testing.T) {
	wrong := map[string]string{"brokers": "[{}]", "listen": "7", "socket_mode": "0777", "allow_uids": "[-1]", "allow_gids": "x", "log/level": "loud", "log/format": "xml", "memory_ratio": "2"}
	tree := map[string][]string{}
	var top strings.Builder
	for _, f := range fields {
		value, known := wrong[f.Key]
		if !known {
			value = "{}"
		}
		if parent, key, nested := strings.Cut(f.Key, delimiter); nested {
			tree[parent] = append(tree[parent], key+": "+value)
		} else {
			top.WriteString(f.Key + ": " + value + "\n")
		}
	}
	for parent, list := range tree {
		top.WriteString(parent + ": {" + strings.Join(list, ", ") + "}\n")
	}
	top.WriteString("strange: 1\napps: [7, {nme: x}, {name: a, token: 01234567}, {name: b, topics: []}]\n")
	top.WriteString("route_setters: [7, {uid: [1]}, {uids: []}, {apps: [], topics: 7}]\n")
	top.WriteString("kafka: {acks: 1, linger.ms: soon, linger.msec: 1, sasl.password: 01234567, security.protocol: TLS, compression.type: zip}\n")
	_, err := load(t, top.String(), nil)
	if err == nil {
		t.Fatal("it is taken")
	}
	text := err.Error()
	for _, f := range fields {
		if !strings.Contains(text, dotted(f.Key)+" ") {
			t.Errorf("nothing is said of %s", f.Key)
		}
	}
	for _, part := range []string{
		`unknown key "strange"`, "apps[0] is 7", `unknown key "nme"; did you mean "name"?`, "apps[2] token is not a text for YAML but a number; put it in quotes", "apps[3] topics is empty",
		"route_setters[0] is 7", `unknown key "uid"; did you mean "uids"?`, "route_setters[2] uids is empty", "route_setters[3] apps is empty", "route_setters[3] topics ",
		`kafka.acks is "1"`, `kafka.linger.ms is "soon"`, `unknown Kafka property "linger.msec"; did you mean "linger.ms"?`,
		"kafka.sasl.password is not a text for YAML but a number; put it in quotes", `kafka.security.protocol is "TLS"`, `kafka.compression.type is "zip"`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q", part)
		}
	}
	if strings.Contains(text, "342391") || strings.Contains(text, "01234567") {
		t.Error("a secret is shown")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// What differs is named with both values, as they may be shown.
func TestChanges(t *testing.T) {
	t.Setenv("DIFF_A", "x")
	const base = "brokers: [a:9092]\n"
	for name, x := range map[string]struct {
		was, is string
		want    []Change
	}{
		"nothing":       {"limits: {bytes: 64MiB}", "limits: {bytes: 67108864}", nil},
		"a limit":       {"", "limits: {app_bytes: 1MiB}", []Change{{"limits/app_bytes", "limits.app_bytes", "auto", "1048576"}}},
		"a list":        {"allow_uids: [1]", "allow_uids: [1, 2]", []Change{{"allow_uids", "allow_uids", "[1]", "[1 2]"}}},
		"a token":       {`apps: [{name: a, token: "one"}]`, `apps: [{name: a, token: "two"}]`, []Change{{"apps", "apps", "{a topics all groups all token (redacted)}", "{a topics all groups all token (redacted)}"}}},
		"a property":    {"kafka: {linger.ms: 5}", "", []Change{{"kafka/linger.ms", "kafka.linger.ms", "5", "not set"}}},
		"a reference":   {"kafka: {security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: \"one\"}", "kafka: {security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: \"env:DIFF_A\"}", []Change{{"kafka/sasl.password", "kafka.sasl.password", "(redacted)", "env:DIFF_A"}}},
		"a setter":      {"", "route_setters: [{uids: [0], apps: [a]}, {}]", []Change{{"route_setters", "route_setters", "[]", "[{uids [0] apps [a] topics all} {uids own and root apps all topics all}]"}}},
		"a route":       {"", "routes: [{app: a, topic: t, by: sidecar}]", []Change{{"routes", "routes", "[]", "[{a t sidecar}]"}}},
		"the log level": {"", "log: {level: debug}", []Change{{"log/level", "log.level", "info", "debug"}}},
	} {
		was, err := load(t, base+x.was, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		is, err := load(t, base+x.is, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := was.Changes(is); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}
