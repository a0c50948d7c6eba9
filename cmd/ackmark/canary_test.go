package main

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/producer"
)

// canary is in every secret and in every payload of TestARunningSidecarShowsNoSecret, and must be
// in nothing that the sidecar shows.
const canary = "CanaRy-0452"

// watched is a sidecar process with secrets, and an app at it.
type watched struct {
	*childproc.Process
	program, socket, config string
	admin                   string // "": not known yet
}

// watch starts a sidecar whose file has this password and this token.
func watch(t *testing.T, brokers []string, password, token string, env ...string) *watched {
	t.Helper()
	dir, err := os.MkdirTemp("", "ack") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &watched{socket: "unix://" + filepath.Join(dir, "s.sock"), config: filepath.Join(dir, "sidecar.yaml")}
	kafka := "{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: id"
	if password != "" {
		kafka += fmt.Sprintf(", sasl.password: %q", password)
	}
	text := fmt.Sprintf("brokers: [%q]\nlisten: %q\nadmin: 127.0.0.1:0\nlog: {level: debug, format: json}\nkafka: %s}\napps: [{name: orders, token: %q}]\n", strings.Join(brokers, `","`), w.socket, kafka, token)
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.program, err = exec.LookPath("ackmark"); err != nil {
		t.Fatal(err)
	}
	w.Process, err = childproc.Start(childproc.Spec{Name: "sidecar", Path: w.program, Args: []string{"sidecar", "--config", w.config}, Env: env, Log: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Kill)
	return w
}

// until asks the admin port for the path until the answer has the text.
func (w *watched) until(t *testing.T, path, text string) string {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for last := ""; ; {
		if m := adminURL.FindStringSubmatch(logOf(w.Process)); m != nil {
			w.admin = m[1]
			if _, got, err := askAdmin(m[1]+path, ""); err == nil {
				if last = got; strings.Contains(got, text) {
					return got
				}
			}
		}
		select {
		case <-again.C:
		case <-w.Done():
			t.Fatalf("the sidecar ended: %s", logOf(w.Process))
		case <-t.Context().Done():
			t.Fatalf("%s does not have %q, but %s", path, text, last)
		}
	}
}

// emit sends a record, whose parts are all secret, as the app with this token.
func (w *watched) emit(t *testing.T, token string) error {
	p := producer.DialConfig{Target: w.socket, App: "orders", Token: token, Logger: slog.New(slog.DiscardHandler)}.New()
	t.Cleanup(func() { _ = p.Close() })
	_, err := p.Emit(t.Context(), producer.Record{Topic: "out", Key: []byte(canary), Value: []byte(canary), Headers: []producer.Header{{Key: "h", Value: []byte(canary)}}})
	return err
}

// shows is all that the sidecar shows, by where.
func (w *watched) shows(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range []string{"/", "/api/status", "/metrics", "/healthz", "/readyz"} {
		_, text, err := askAdmin(w.admin+path, "")
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		all[path] = text
	}
	commands := []string{"status", "status -o json", "top"}
	for _, what := range []string{"sessions", "partitions", "queues", "wills", "lag", "routes"} {
		for _, form := range []string{"wide", "json", "yaml"} {
			commands = append(commands, "get "+what+" -o "+form)
		}
	}
	for _, c := range commands {
		out, err := exec.CommandContext(t.Context(), w.program, append(strings.Fields(c), "--listen", w.socket)...).CombinedOutput()
		if err != nil {
			t.Errorf("ackmark %s: %v: %s", c, err, out)
		}
		all["ackmark "+c] = string(out)
	}
	return all
}

// A real sidecar process has its secrets in its file, its environment, or files that those name. An
// app with the right token sends a record, one with a wrong token is refused; another sidecar's
// password is refused by Kafka. No secret and no payload stands in the admin port's answers, in
// what the commands print, or in the log at its loudest.
func TestARunningSidecarShowsNoSecret(t *testing.T) {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "id", canary))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		password, token string
		env             []string
		refused         bool // by Kafka
	}{
		"file":        {password: canary, token: canary},
		"environment": {token: "env:CANARY", env: []string{"ACKMARK_KAFKA_SASL_PASSWORD=" + canary, "CANARY=" + canary}},
		"references":  {password: "file:" + file, token: "file:" + file},
		"refused":     {password: "other-" + canary, token: canary, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t, kafka.ListenAddrs(), c.password, c.token, c.env...)
			if c.refused {
				w.until(t, "/readyz", "Kafka is not reachable")
			} else {
				w.until(t, "/readyz", "ready")
				if err := w.emit(t, canary); err != nil {
					t.Fatal(err)
				}
				w.until(t, "/api/status", `"app":"orders"`) // it is a live pod that is looked at
			}
			if err := w.emit(t, "wrong-"+canary); err == nil {
				t.Error("a wrong token is taken")
			}
			all := w.shows(t)
			if err := w.Stop(time.Minute); err != nil {
				t.Errorf("the sidecar ended with %v", err)
			}
			all["the log"] = logOf(w.Process)
			for where, text := range all {
				if text == "" {
					t.Errorf("%s shows nothing at all", where)
				}
				for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte("\x00id\x00" + canary))} {
					if at := strings.Index(text, secret); at >= 0 {
						t.Errorf("%s: a secret stands in …%s", where, text[max(0, at-200):min(len(text), at+100)])
					}
				}
			}
			if !strings.Contains(all["the log"], "not allowed what it asks for") {
				t.Error("the wrong token is not in the log: it was not looked at")
			}
		})
	}
}
