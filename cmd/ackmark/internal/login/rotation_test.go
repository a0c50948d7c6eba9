package login_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/login"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

const (
	tokenLife   = 5 * time.Second
	sessionLife = 4 * time.Second // connections.max.reauth.ms
	rotations   = 3
)

// issuer is a token endpoint that knows three clients, counts what it gave each, and now and then
// has a bad moment.
type issuer struct {
	mu     sync.Mutex
	asked  int
	issued map[string]int
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id, password, _ := r.BasicAuth()
	if i.asked++; i.asked%3 == 0 {
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
		return
	}
	if password != "s3cret of "+id {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	i.issued[id]++
	now := time.Now()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d.%03d,"exp":%d.%03d}`, id, now.Unix(), 0, now.Add(tokenLife).Unix(), 0)
	part := base64.RawURLEncoding.EncodeToString
	fmt.Fprintf(w, `{"access_token":"%s.%s.","token_type":"Bearer"}`, part([]byte(`{"alg":"none"}`)), part([]byte(claims)))
}

// rotated tells how often each client has got another token.
func (i *issuer) rotated(ids ...string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	least := 1 << 30
	for _, id := range ids {
		least = min(least, i.issued[id]-1)
	}
	return least
}

const tlsTestdata = "../../../../internal/tlsfiles/testdata/"

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate that is its own authority, with its key.
func issue(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})
}

// write writes parts into a file of the directory.
func write(t *testing.T, dir, name string, parts ...[]byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pod is one pod with its generator, all by SASL_SSL with tokens and client certificates.
type pod struct {
	*testing.T
	kafka    *kafkatest.Cluster
	idp      *issuer
	endpoint string
	dir      string
	logins   map[string]*login.Logins
	in, out  string
}

// broker starts one that demands a token and a certificate, and ends what does not authenticate
// again in time.
func (p *pod) broker() {
	serverCert, serverKey := issue(p.T)
	first, err := os.ReadFile(tlsTestdata + "cert.pem")
	if err != nil {
		p.Fatal(err)
	}
	second, secondKey := issue(p.T)
	write(p.T, p.dir, "server.pem", serverCert)
	write(p.T, p.dir, "second.pem", second)
	write(p.T, p.dir, "second.key", secondKey)
	const at, oauth = "listener.name.secured.", "listener.name.secured.oauthbearer."
	p.kafka = kafkatest.Start(p.T, kafkatest.Config{Secured: "SASL_SSL", Properties: map[string]string{
		at + "ssl.keystore.type":            "PEM",
		at + "ssl.keystore.location":        write(p.T, p.dir, "server.key", serverKey, serverCert),
		at + "ssl.truststore.type":          "PEM",
		at + "ssl.truststore.location":      write(p.T, p.dir, "clients.pem", first, second),
		at + "ssl.client.auth":              "required",
		at + "sasl.enabled.mechanisms":      "OAUTHBEARER",
		oauth + "sasl.jaas.config":          `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
		oauth + "connections.max.reauth.ms": strconv.FormatInt(sessionLife.Milliseconds(), 10),
		oauth + "sasl.server.callback.handler.class": "" +
			"org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
	}})
	p.in = p.kafka.CreateTopic("in", 4, nil)
	p.out = p.kafka.CreateTopic("out", 4, nil)
}

// options are what `--kafka name=value` comes to for one client.
func (p *pod) options(id string) []kgo.Opt {
	props := map[string]string{
		"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
		"sasl.oauthbearer.token.endpoint.url":               p.endpoint,
		"sasl.oauthbearer.client.credentials.client.id":     id,
		"sasl.oauthbearer.client.credentials.client.secret": "file:" + write(p.T, p.dir, id+".secret", []byte("s3cret of "+id+"\n")),
		"ssl.ca.location":          filepath.Join(p.dir, "server.pem"),
		"ssl.certificate.location": filepath.Join(p.dir, "client.pem"),
		"ssl.key.location":         filepath.Join(p.dir, "client.key"),
		"ssl.key.password":         "s3cret",
	}
	opts, err := settings.KafkaOptions(props)
	if err != nil {
		p.Fatal(err)
	}
	p.logins[id] = new(login.Logins)
	return append(opts, kgo.WithHooks(p.logins[id]))
}

// certificates puts the first or the second pair in force.
func (p *pod) certificates(second bool) {
	if second {
		copyFile(p.T, filepath.Join(p.dir, "second.pem"), filepath.Join(p.dir, "client.pem"))
		copyFile(p.T, filepath.Join(p.dir, "second.key"), filepath.Join(p.dir, "client.key"))
		return
	}
	copyFile(p.T, tlsTestdata+"cert.pem", filepath.Join(p.dir, "client.pem"))
	copyFile(p.T, tlsTestdata+"aes256.key", filepath.Join(p.dir, "client.key"))
}

// run runs something until the returned function ends it.
func (p *pod) run(what string, f func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	end = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				p.Errorf("%s: %v", what, err)
			}
		})
	}
	p.Cleanup(end)
	return end
}

// generate produces until all tokens have been changed often enough, and tells how much it was.
func (p *pod) generate(cl *kgo.Client) int {
	var failed atomic.Pointer[error]
	limit := time.Now().Add(time.Minute)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	n, changed := 0, false
	for ; p.idp.rotated("generator", "app", "sidecar") < rotations; <-pace.C {
		for range 10 {
			cl.Produce(p.Context(), &kgo.Record{Topic: p.in, Key: fmt.Append(nil, "key-", n%50), Value: fmt.Append(nil, n)}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
			n++
		}
		if time.Now().After(limit) {
			p.Fatalf("no %d rotations within a minute: %v", rotations, p.idp.issued)
		}
		if !changed && p.idp.rotated("generator", "app", "sidecar") > 0 {
			p.certificates(true)
			changed = true
		}
	}
	if err := cl.Flush(p.Context()); err != nil || failed.Load() != nil {
		p.Fatalf("an input was not written: %v %v", err, *failed.Load())
	}
	return n
}

// outputs reads n outputs, and what comes after them; they must be each input once, the inputs of a
// key in their order.
func (p *pod) outputs(n int) {
	cl := p.kafka.Client(kgo.ConsumeTopics(p.out), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen, last, repeated := map[int]bool{}, map[string]int{}, 0
	read := func(ctx context.Context) bool {
		fetches := cl.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			i, err := strconv.Atoi(string(r.Value))
			if err != nil {
				p.Fatalf("%q", r.Value)
			}
			if seen[i] {
				repeated++
			}
			if before, ok := last[string(r.Key)]; ok && before > i {
				p.Errorf("%s: %d comes after %d", r.Key, i, before)
			}
			seen[i], last[string(r.Key)] = true, i
		})
		return fetches.NumRecords() > 0
	}
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	for len(seen) < n && ctx.Err() == nil {
		read(ctx)
	}
	rest, cancelRest := context.WithTimeout(p.Context(), 500*time.Millisecond)
	defer cancelRest()
	for read(rest) {
	}
	if len(seen) != n || repeated != 0 {
		p.Errorf("%d of %d inputs came out, %d were repeated", len(seen), n, repeated)
	}
}

// Tokens of five seconds, sessions of four, an endpoint that fails every third time, a certificate
// that is renewed: three rotations under load lose nothing and repeat nothing, on a broker that
// ends what does not authenticate again (KIP-368).
func TestRotationsUnderLoad(t *testing.T) {
	dir, err := os.MkdirTemp("", "ackmark-creds-*") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &pod{T: t, idp: &issuer{issued: map[string]int{}}, dir: dir, logins: map[string]*login.Logins{}}
	web := httptest.NewServer(p.idp)
	t.Cleanup(web.Close)
	p.endpoint = web.URL + "/token"
	p.broker()
	p.certificates(false)
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	socket := "unix://" + filepath.Join(dir, "s.sock")
	s, err := sidecar.New(sidecar.Config{Brokers: p.kafka.SecuredAddrs(), Options: p.options("sidecar"), Listen: socket, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	endSidecar := p.run("sidecar", s.Run)
	endApp := p.run("pipeline", func(ctx context.Context) error {
		return pipeline.Run(ctx, pipeline.Config{
			Consumer: consumer.Config{Brokers: p.kafka.SecuredAddrs(), Group: p.kafka.Name("creds"), Topics: []string{p.in}, Options: p.options("app"), Logger: quiet},
			Producer: producer.DialConfig{Target: socket, Logger: quiet}.New(),
			Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: p.out, Key: m.Key, Value: m.Value}}, nil
			}),
		})
	})
	cl, err := kgo.NewClient(append(p.options("generator"), kgo.SeedBrokers(p.kafka.SecuredAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	n := p.generate(cl)
	p.outputs(n)
	endApp()
	endSidecar()
	p.idp.mu.Lock()
	issued := maps.Clone(p.idp.issued)
	p.idp.mu.Unlock()
	for id, l := range p.logins {
		connects, authentications := l.Connects.Load(), l.Authentications.Load()
		if issued[id] <= rotations || authentications-connects < rotations-1 { // it may have to connect again, while the endpoint fails
			t.Errorf("%s: %d tokens, %d authentications on %d connections: it did not authenticate again", id, issued[id], authentications, connects)
		}
	}
	// The certificate of now is in force for who connects now, and one that the broker does not
	// know is refused: it was asked for.
	fresh, err := kgo.NewClient(append(p.options("fresh"), kgo.SeedBrokers(p.kafka.SecuredAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if err := fresh.Ping(t.Context()); err != nil {
		t.Errorf("with the second certificate: %v", err)
	}
	stranger, strangersKey := issue(t)
	write(t, dir, "client.pem", stranger)
	write(t, dir, "client.key", strangersKey)
	strange, err := kgo.NewClient(append(p.options("strange"), kgo.SeedBrokers(p.kafka.SecuredAddrs()...), kgo.RequestRetries(1))...)
	if err != nil {
		t.Fatal(err)
	}
	defer strange.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := strange.Ping(ctx); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a certificate of nobody: %v", err)
	}
}
