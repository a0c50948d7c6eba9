package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// canary is in every secret of these tests, and must be in nothing that is printed.
const canary = "CanaRy-0451"

// printed is what commands print.
type printed struct {
	mu    sync.Mutex
	text  bytes.Buffer
	await string        // "": nothing
	there chan struct{} // closed when await has been printed
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.text.Write(b)
	if p.await != "" && strings.Contains(p.text.String(), p.await) {
		p.await = ""
		close(p.there)
	}
	return n, err
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// command runs a command with all that it prints, its error too, in one place.
func (p *printed) command(ctx context.Context, cmd *cobra.Command, args ...string) error {
	cmd.SetArgs(args)
	cmd.SetOut(p)
	cmd.SetErr(p)
	cmd.SilenceUsage = true
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(p, "error:", err)
	}
	return err
}

// clean fails where a secret stands, as it is or as it travels.
func (p *printed) clean(t *testing.T, name string) {
	t.Helper()
	text := p.String()
	for _, c := range []string{canary, url.QueryEscape(canary), base64.StdEncoding.EncodeToString([]byte("id:" + canary)), base64.StdEncoding.EncodeToString([]byte(canary))} {
		if at := strings.Index(text, c); at >= 0 {
			t.Errorf("%s: a secret stands in …%s", name, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// reflecting is a token endpoint, and an STS, that answers with all that it was asked.
func reflecting(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, pwd, _ := r.BasicAuth()
		all := fmt.Sprint(id, " ", pwd, " ", r.Header, " ", string(body))
		w.WriteHeader(http.StatusBadRequest)
		if strings.Contains(string(body), "WebIdentityToken") {
			fmt.Fprintf(w, "<E><Error><Code>Bad</Code><Message>%s</Message></Error></E>", strings.NewReplacer("<", "", "&", " ").Replace(all))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "bad", "error_description": all, "code": "bad", "message": all})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// refusing is a broker that takes every mechanism and refuses everybody, with what it was sent.
func refusing(t *testing.T) string {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	kafka.ControlKey(kmsg.NewPtrSASLHandshakeRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return req.ResponseKind(), nil, true
	})
	kafka.ControlKey(kmsg.NewPtrSASLAuthenticateRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		said := "you are not who you say"
		resp.ErrorMessage = &said
		return resp, nil, true
	})
	return strings.Join(kafka.ListenAddrs(), ",")
}

func secretFile(t *testing.T, dir, text string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "secret-*")
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	f.Close()
	return f.Name()
}

// Every login, as a flag, a variable and in a file, right and wrong: what `config check`, `config
// echo`, the sidecar's log at its loudest and its status print has no secret in it, and neither has
// an error.
func TestNoSecretIsPrinted(t *testing.T) {
	dir, err := os.MkdirTemp("", "ackmark-canary-*") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	idp, broker := reflecting(t), refusing(t)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/orders")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", secretFile(t, dir, canary))
	t.Setenv("AWS_ENDPOINT_URL_STS", idp)
	t.Setenv("CANARY", canary)
	testdata := "../../../../internal/tlsfiles/testdata/"
	const bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
	oauth := map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": idp + "/token?key=" + canary}
	with := func(base map[string]string, more ...string) map[string]string {
		m := map[string]string{}
		for k, v := range base {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	plain := map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "id", "sasl.password": canary}
	key := map[string]string{"security.protocol": "SSL", "ssl.certificate.location": testdata + "cert.pem", "ssl.key.location": testdata + "aes256.key", "ssl.key.password": canary}
	var all sync.WaitGroup // most of the time is spent waiting for a sidecar to give up
	defer all.Wait()
	for name, kafka := range map[string]map[string]string{
		"PLAIN":             plain,
		"PLAIN, file":       with(plain, "sasl.password", "file:"+secretFile(t, dir, canary)),
		"PLAIN, variable":   with(plain, "sasl.password", "env:CANARY"),
		"SCRAM":             with(plain, "sasl.mechanism", "SCRAM-SHA-256"),
		"no mechanism":      with(plain, "sasl.mechanism", ""),
		"no protocol":       with(plain, "security.protocol", ""),
		"JAAS":              with(oauth, "sasl.jaas.config", bearer+`clientId=id clientSecret="`+canary+`";`),
		"broken JAAS":       with(oauth, "sasl.jaas.config", bearer+`clientSecret="`+canary),
		"another JAAS":      with(oauth, "sasl.jaas.config", canary),
		"JAAS, two secrets": with(oauth, "sasl.oauthbearer.client.secret", canary, "sasl.jaas.config", bearer+`clientSecret="other-`+canary+`";`),
		"client":            with(oauth, "sasl.oauthbearer.client.credentials.client.id", "id", "sasl.oauthbearer.client.credentials.client.secret", canary),
		"librdkafka's":      with(oauth, "sasl.oauthbearer.client.id", "id", "sasl.oauthbearer.client.secret", canary),
		"address":           with(oauth, "sasl.oauthbearer.client.id", "id", "sasl.oauthbearer.client.secret", canary, "sasl.oauthbearer.token.endpoint.url", "http://id:"+canary+"@idp.test"),
		"assertion":         with(oauth, "sasl.oauthbearer.assertion.private.key.passphrase", canary),
		"token's file":      with(oauth, "sasl.oauthbearer.token.endpoint.url", "file://"+secretFile(t, dir, canary+"\x01")),
		"AWS":               {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "AWS_MSK_IAM"},
		"key":               key,
		"misspelt":          with(plain, "sasl.pasword", canary),
	} {
		all.Go(func() {
			p := &printed{await: "Kafka is not reachable", there: make(chan struct{})}
			defer p.clean(t, name)
			var flags []string
			var yaml strings.Builder
			fmt.Fprintf(&yaml, "apps:\n  - {name: a, token: %s}\nkafka:\n", canary)
			for k, v := range kafka {
				if k == "sasl.oauthbearer.token.endpoint.url" && strings.Contains(v, "?") { // its query is no property that holds a secret: it is for logs
					v, _, _ = strings.Cut(v, "?")
				}
				flags = append(flags, "--kafka", k+"="+v)
				text, _ := json.Marshal(v)
				fmt.Fprintf(&yaml, "  %s: %s\n", k, text)
			}
			file := secretFile(t, dir, yaml.String())
			_ = p.command(t.Context(), NewConfigCommand(), append([]string{"check", "--brokers", broker}, flags...)...)
			_ = p.command(t.Context(), NewConfigCommand(), "echo", "--brokers", broker, "--config", file)
			socket := "unix://" + filepath.Join(dir, strings.ReplaceAll(strings.ReplaceAll(name, " ", ""), ",", "")+".sock")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			over := make(chan struct{})
			go func() {
				defer close(over)
				_ = p.command(ctx, NewSidecarCommand(), append([]string{"--brokers", broker, "--listen", socket, "--log-level", "debug", "--log-format", "json", "--drain-timeout", "100ms"}, flags...)...)
			}()
			select {
			case <-over: // it refused its configuration
				return
			case <-p.there:
			}
			for _, form := range []string{"table", "json"} {
				if err := p.command(t.Context(), NewStatusCommand(), "--listen", socket, "-o", form); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			cancel()
			<-over
		})
	}
}

// Settings that are wrong in their form show no value that may be one of a secret.
func TestNoSecretInWhatIsMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"kafka is a text":        "kafka: sasl.password=" + canary,
		"kafka is a list":        "kafka: [sasl.password=" + canary + "]",
		"a property is a map":    "kafka: {sasl.password: {a: " + canary + "}}",
		"a password in a list":   "kafka: {sasl.password: [" + canary + "]}",
		"apps is a text":         "apps: orders:" + canary,
		"apps is a map":          "apps: {token: " + canary + "}",
		"an app is a text":       "apps: [\"name=a,token=" + canary + "\"]",
		"a token is a map":       "apps: [{name: a, token: {a: " + canary + "}}]",
		"the file is a secret":   canary,
		"broken":                 "kafka: {sasl.password: " + canary + "\n - : x",
		"a tab":                  "kafka:\n\tsasl.password: " + canary,
		"an anchor that is none": "kafka: {sasl.password: *" + canary + "}",
	} {
		t.Run(name, func(t *testing.T) {
			p := &printed{}
			path := secretFile(t, t.TempDir(), text)
			if p.command(t.Context(), NewConfigCommand(), "check", "--brokers", "a:1", "--config", path) == nil {
				t.Error("it is taken")
			}
			p.clean(t, name)
		})
	}
	for _, flag := range []string{"sasl.password " + canary, "sasl.password:" + canary} {
		p := &printed{}
		if p.command(t.Context(), NewConfigCommand(), "check", "--brokers", "a:1", "--kafka", flag) == nil {
			t.Error("it is taken")
		}
		p.clean(t, flag)
	}
}
