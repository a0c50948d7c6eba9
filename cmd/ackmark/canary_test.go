package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// canary is in every secret and in every payload of TestARunningSidecarShowsNoSecret, and must be
// in nothing that the sidecar or its app shows.
const canary = "CanaRy-0452"

// ofTheKey is the password of the encrypted key in tlsTestdata.
const (
	ofTheKey    = "s3cret"
	tlsTestdata = "../../internal/tlsfiles/testdata/"
)

// watched is a sidecar process with secrets, and an app at it.
type watched struct {
	*childproc.Process
	program, socket, config string
	admin                   string // "": not known yet
	app                     lines  // the app's own log
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// watch starts a sidecar whose file has these properties of Kafka and this token.
func watch(t *testing.T, brokers []string, kafka map[string]string, token string, env ...string) *watched {
	t.Helper()
	dir, err := os.MkdirTemp("", "ack") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &watched{socket: "unix://" + filepath.Join(dir, "s.sock"), config: filepath.Join(dir, "sidecar.yaml")}
	properties, err := json.Marshal(kafka) // which is YAML, too
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("brokers: [%q]\nlisten: %q\nadmin: 127.0.0.1:0\nlog: {level: debug, format: json}\nkafka: %s\napps: [{name: orders, token: %q}]\n", strings.Join(brokers, `","`), w.socket, properties, token)
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
	p := w.dial(token)
	t.Cleanup(func() { _ = p.Close() })
	_, err := p.Emit(t.Context(), producer.Record{Topic: "out", Key: []byte(canary), Value: []byte(canary), Headers: []producer.Header{{Key: "h", Value: []byte(canary)}}})
	return err
}

func (w *watched) log() *slog.Logger {
	return slog.New(slog.NewJSONHandler(&w.app, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (w *watched) dial(token string) producer.Producer {
	return producer.DialConfig{Target: w.socket, App: "orders", Token: token, Logger: w.log()}.New()
}

// halt runs the app's pipeline until it halts at an input whose parts are all secret.
func (w *watched) halt(t *testing.T, brokers []string, login kgo.Opt) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), login)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	in := &kgo.Record{Topic: "in", Key: []byte(canary), Value: []byte(canary), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(canary)}}}
	if err := cl.ProduceSync(t.Context(), in).FirstErr(); err != nil {
		t.Fatal(err)
	}
	app, err := pipeline.New(pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: "orders-" + filepath.Base(filepath.Dir(w.config)), Topics: []string{"in"}, Options: []kgo.Opt{login}, Logger: w.log()},
		Producer: w.dial(canary), Logger: w.log(),
		Handler: pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Reject(errors.New("amount is negative"))
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "amount is negative") || strings.Contains(err.Error(), canary) {
			t.Errorf("the app ended with %v", err)
		}
	})
	w.until(t, "/api/status", "amount is negative")
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

// saslBroker takes the one password.
func saslBroker(t *testing.T) []string {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "id", canary))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	return kafka.ListenAddrs()
}

// bearerBroker takes every bearer whose token is the issuer's.
func bearerBroker(t *testing.T) []string {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	kafka.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return req.ResponseKind(), nil, true
	})
	kafka.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		if said := string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes); !strings.Contains(said, "auth=Bearer token-"+canary) {
			resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &said
		}
		return resp, nil, true
	})
	return kafka.ListenAddrs()
}

// tlsBroker wants a certificate of its clients.
func tlsBroker(t *testing.T) []string {
	own, err := tls.LoadX509KeyPair(tlsTestdata+"cert.pem", tlsTestdata+"plain.key")
	if err != nil {
		t.Fatal(err)
	}
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAnyClientCert}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	return kafka.ListenAddrs()
}

// issuer is a token endpoint that knows one client, and answers others with all that they said.
func issuer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, password, _ := r.BasicAuth(); id == "id" && password == canary && r.URL.Query().Get("code") == canary {
			fmt.Fprintf(w, `{"access_token": "token-%s", "expires_in": 3600, "token_type": "Bearer"}`, canary)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": fmt.Sprint(r.URL, r.Header)})
	}))
	t.Cleanup(s.Close)
	return s.URL + "/token?code=" + canary
}

// A real sidecar process has its secrets in its file, its environment, or files that those name: a
// password, a client's secret for a token, or the password of a key. An app with the right token
// sends a record, one with a wrong token is refused, and its pipeline halts at an input; another
// sidecar's password or secret is refused. No secret and no payload stands in the admin port's
// answers, in what the commands print, or in the logs of sidecar and app at their loudest.
func TestARunningSidecarShowsNoSecret(t *testing.T) {
	brokers, bearers, encrypted := saslBroker(t), bearerBroker(t), tlsBroker(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	sasl := func(password string) map[string]string {
		of := map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "id"}
		if password != "" {
			of["sasl.password"] = password
		}
		return of
	}
	endpoint := issuer(t)
	oauth := func(secret string) map[string]string {
		return map[string]string{
			"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": endpoint,
			"sasl.oauthbearer.client.credentials.client.id": "id", "sasl.oauthbearer.client.credentials.client.secret": secret,
		}
	}
	mutual := map[string]string{
		"security.protocol": "SSL", "ssl.ca.location": tlsTestdata + "cert.pem", "ssl.endpoint.identification.algorithm": "none",
		"ssl.certificate.location": tlsTestdata + "cert.pem", "ssl.key.location": tlsTestdata + "aes256.key", "ssl.key.password": ofTheKey,
	}
	for name, c := range map[string]struct {
		brokers []string
		kafka   map[string]string
		token   string
		env     []string
		login   kgo.Opt // of the app's pipeline; nil: there is none
		refused bool    // by Kafka, or by the token's endpoint
	}{
		"file":             {brokers: brokers, kafka: sasl(canary), token: canary, login: kgo.SASL(saslplain.Auth{User: "id", Pass: canary}.AsMechanism())},
		"environment":      {brokers: brokers, kafka: sasl(""), token: "env:CANARY", env: []string{"ACKMARK_KAFKA_SASL_PASSWORD=" + canary, "CANARY=" + canary}},
		"references":       {brokers: brokers, kafka: sasl("file:" + file), token: "file:" + file},
		"refused":          {brokers: brokers, kafka: sasl("other-" + canary), token: canary, refused: true},
		"OAuth":            {brokers: bearers, kafka: oauth(canary), token: canary},
		"OAuth, refused":   {brokers: bearers, kafka: oauth("other-" + canary), token: canary, refused: true},
		"an encrypted key": {brokers: encrypted, kafka: mutual, token: canary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t, c.brokers, c.kafka, c.token, c.env...)
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
			if c.login != nil {
				w.halt(t, c.brokers, c.login)
			}
			all := w.shows(t)
			if err := w.Stop(time.Minute); err != nil {
				t.Errorf("the sidecar ended with %v", err)
			}
			all["the log"], all["the app's log"] = logOf(w.Process), w.app.String()
			for where, text := range all {
				if text == "" {
					t.Errorf("%s shows nothing at all", where)
				}
				for _, secret := range secrets {
					if at := strings.Index(text, secret); at >= 0 {
						t.Errorf("%s: a secret stands in …%s", where, text[max(0, at-200):min(len(text), at+100)])
					}
				}
			}
			if !strings.Contains(all["the log"], "not allowed what it asks for") {
				t.Error("the wrong token is not in the log: it was not looked at")
			}
			if c.login != nil && !strings.Contains(all["the app's log"], "partition halted") {
				t.Errorf("the app's log does not have the halt: it was not looked at\n%s", all["the app's log"])
			}
		})
	}
}

// secrets are the canary and the key's password, as they are and as they travel.
var secrets = func() (all []string) {
	for _, secret := range []string{canary, ofTheKey} {
		for _, form := range []string{secret, "id:" + secret, "\x00id\x00" + secret} {
			all = append(all, base64.StdEncoding.EncodeToString([]byte(form)))
		}
		all = append(all, secret, url.QueryEscape(secret))
	}
	return all
}()
