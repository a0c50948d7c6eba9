package login_test

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/cli"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/login"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/internal/proof/netfault"
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
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"}`, token(id))
}

// token is one for a client, which begins now.
func token(id string) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d.%03d,"exp":%d.%03d}`, id, now.Unix(), 0, now.Add(tokenLife).Unix(), 0)
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "."
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

// pod is one pod with its generator, all by SASL_SSL with tokens and client certificates.
type pod struct {
	*testing.T
	kafka    *kafkatest.Cluster
	idp      *issuer
	endpoint string
	dir      string
	logins   map[string]*login.Logins
	in, out  string

	authority *authority                // the last one
	listener  *netfault.Proxy           // the way to the sidecar's listener
	dialled   atomic.Pointer[pkix.Name] // who issued what the app's last connection showed
}

const secured = "listener.name.secured."

// broker starts one that demands a token and a certificate, and ends what does not authenticate
// again in time.
func (p *pod) broker() {
	const oauth = secured + "oauthbearer."
	properties := map[string]string{
		secured + "ssl.keystore.type":       "PEM",
		secured + "ssl.truststore.type":     "PEM",
		secured + "ssl.client.auth":         "required",
		secured + "sasl.enabled.mechanisms": "OAUTHBEARER",
		oauth + "sasl.jaas.config":          `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
		oauth + "connections.max.reauth.ms": strconv.FormatInt(sessionLife.Milliseconds(), 10),
		oauth + "sasl.server.callback.handler.class": "" +
			"org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
	}
	maps.Copy(properties, p.issue(0))
	p.show()
	p.kafka = kafkatest.Start(p.T, kafkatest.Config{Secured: "SASL_SSL", Properties: properties})
	p.in = p.kafka.CreateTopic("in", 4, nil)
	p.out = p.kafka.CreateTopic("out", 4, nil)
}

// issue has another authority trusted by everybody, beside the one before, and returns what the
// broker's properties are with it.
func (p *pod) issue(n int) map[string]string {
	next := newAuthority(p.T, fmt.Sprint("authority ", n))
	trusted := [][]byte{next.pem}
	if p.authority != nil {
		trusted = append(trusted, p.authority.pem)
	}
	p.authority = next
	put(p.T, p.dir, "ca.pem", trusted...)
	certificate, key := next.issue(p.T, "")
	return map[string]string{ // other files each time: with the same value the property would not change
		secured + "ssl.keystore.location":   put(p.T, p.dir, fmt.Sprintf("broker-%d.pem", n), key, certificate),
		secured + "ssl.truststore.location": put(p.T, p.dir, fmt.Sprintf("clients-%d.pem", n), trusted...),
	}
}

// show has the clients of the broker, the sidecar's listener and the app that dials it show what
// the last authority has issued.
func (p *pod) show() {
	for _, name := range []string{"client", "listener", "app"} {
		p.authority.pair(p.T, p.dir, name)
	}
}

// rotate replaces the authority and all certificates that it issued, in the order that is safe:
// first everybody trusts both authorities, then everybody shows what the new one has issued. Then
// all connections are broken, and everybody has to connect with that; who goes by files of before
// the last rotation cannot.
func (p *pod) rotate(n int) {
	var alter []kadm.AlterConfig
	for name, value := range p.issue(n) {
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	altered, err := p.kafka.Admin().AlterBrokerConfigs(p.Context(), alter, 0)
	for _, one := range altered {
		err = errors.Join(err, one.Err)
	}
	if err != nil {
		p.Fatal(err)
	}
	p.authority.presented(p.T, p.kafka.SecuredAddrs()[0])
	p.show()
	p.authority.presented(p.T, p.listener.Addr())
	connects, authentications := map[string]int64{}, map[string]int64{}
	for id, l := range p.logins {
		connects[id], authentications[id] = l.Connects.Load(), l.Authentications.Load()
		l.Break()
	}
	p.listener.Break()
	kafkatest.Eventually(p.T, 20*time.Second, "everybody to connect again", func() error {
		for id, l := range p.logins {
			if c, a := l.Connects.Load()-connects[id], l.Authentications.Load()-authentications[id]; c == 0 || a < c {
				return fmt.Errorf("%s has %d connections and %d authentications", id, c, a)
			}
		}
		if by := p.dialled.Load(); by == nil || by.CommonName != p.authority.name {
			return fmt.Errorf("the app showed the sidecar last what %v has issued", by)
		}
		return nil
	})
}

// options are what `--kafka name=value` comes to for one client; file: it has its token from one.
func (p *pod) options(id, file string) []kgo.Opt {
	props := map[string]string{
		"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
		"sasl.oauthbearer.token.endpoint.url": p.endpoint,
		"ssl.ca.location":                     filepath.Join(p.dir, "ca.pem"),
		"ssl.certificate.location":            filepath.Join(p.dir, "client.pem"),
		"ssl.key.location":                    filepath.Join(p.dir, "client.key"),
		"ssl.key.password":                    "file:" + filepath.Join(p.dir, "client.password"),
	}
	if file != "" {
		props["sasl.oauthbearer.token.endpoint.url"] = "file://" + file
	} else {
		props["sasl.oauthbearer.client.credentials.client.id"] = id
		props["sasl.oauthbearer.client.credentials.client.secret"] = "file:" + put(p.T, p.dir, id+".secret", []byte("s3cret of "+id+"\n"))
	}
	opts, err := settings.KafkaOptions(props)
	if err != nil {
		p.Fatal(err)
	}
	p.logins[id] = new(login.Logins)
	return append(opts, kgo.WithHooks(p.logins[id]))
}

// tokenFile is one that is replaced again and again, as a projected volume's is.
func (p *pod) tokenFile(id string) string {
	path := put(p.T, p.dir, id+".token", []byte(token(id)))
	p.run("token file", func(ctx context.Context) error {
		often := time.NewTicker(tokenLife / 5)
		defer often.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-often.C:
			}
			err := os.WriteFile(path+".next", []byte(token(id)+"\n"), 0o600)
			if err == nil {
				err = os.Rename(path+".next", path)
			}
			if err != nil {
				return err
			}
		}
	})
	return path
}

// listen is what the sidecar's own listener is told by `tls:` of its settings. Of each connection
// it is noted who issued what the client showed.
func (p *pod) listen(log *slog.Logger) *tls.Config {
	cfg, _, err := cli.MutualTLS(settings.TLS{
		Certificate: filepath.Join(p.dir, "listener.pem"), Key: filepath.Join(p.dir, "listener.key"), ClientCA: filepath.Join(p.dir, "ca.pem"),
		KeyPassword: "file:" + filepath.Join(p.dir, "listener.password"),
	}, log)
	if err != nil {
		p.Fatal(err)
	}
	current := cfg.GetConfigForClient
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := current(h)
		if err != nil {
			return nil, err
		}
		now = now.Clone()
		now.VerifyConnection = func(cs tls.ConnectionState) error {
			p.dialled.Store(&cs.PeerCertificates[0].Issuer)
			return nil
		}
		return now, nil
	}
	return cfg
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

// load produces inputs until the returned function is called, which tells how many were written.
func (p *pod) load(cl *kgo.Client) (end func() int) {
	var failed atomic.Pointer[error]
	n := 0
	stop := p.run("load", func(ctx context.Context) error {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for ; ctx.Err() == nil; <-pace.C {
			for range 10 {
				cl.Produce(p.Context(), &kgo.Record{Topic: p.in, Key: fmt.Append(nil, "key-", n%50), Value: fmt.Append(nil, n)}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				})
				n++
			}
		}
		return nil
	})
	return func() int {
		stop()
		if err := cl.Flush(p.Context()); err != nil || failed.Load() != nil {
			p.Fatalf("an input was not written: %v %v", err, *failed.Load())
		}
		return n
	}
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

// Tokens of five seconds, sessions of four, an endpoint that fails every third time, a token file
// that is replaced, and each time that all have got another token, another authority: with another
// certificate of the broker and of its clients, of the sidecar's listener and of the app that dials
// it, all keys encrypted. Three rotations under load lose nothing and repeat nothing, on a broker
// that ends what does not authenticate again (KIP-368).
func TestRotationsUnderLoad(t *testing.T) {
	p := &pod{T: t, idp: &issuer{issued: map[string]int{}}, dir: t.TempDir(), logins: map[string]*login.Logins{}}
	web := httptest.NewServer(p.idp)
	t.Cleanup(web.Close)
	p.endpoint = web.URL + "/token"
	p.broker()
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	addr := freeAddr(t)
	var err error
	if p.listener, err = netfault.Listen("tcp", "127.0.0.1:0", "tcp:"+addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.listener.Close() })
	s, err := sidecar.New(sidecar.Config{Brokers: p.kafka.SecuredAddrs(), Options: p.options("sidecar", ""), Listen: "tcp://" + addr, TLS: p.listen(quiet), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	endSidecar := p.run("sidecar", s.Run)
	files := producer.TLSFiles{
		Certificate: filepath.Join(p.dir, "app.pem"), Key: filepath.Join(p.dir, "app.key"), CA: filepath.Join(p.dir, "ca.pem"),
		KeyPasswordFile: filepath.Join(p.dir, "app.password"),
	}
	ofApp := p.options("app", p.tokenFile("app"))
	endApp := p.run("pipeline", func(ctx context.Context) error {
		return pipeline.Run(ctx, pipeline.Config{
			Consumer: consumer.Config{Brokers: p.kafka.SecuredAddrs(), Group: p.kafka.Name("creds"), Topics: []string{p.in}, Options: ofApp, Logger: quiet},
			Producer: producer.DialConfig{Target: "tcp://" + p.listener.Addr(), TLSFiles: files, Logger: quiet}.New(),
			Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: p.out, Key: m.Key, Value: m.Value}}, nil
			}),
		})
	})
	cl, err := kgo.NewClient(append(p.options("generator", ""), kgo.SeedBrokers(p.kafka.SecuredAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	end := p.load(cl)
	for n := range rotations {
		before := map[string]int64{}
		for id, l := range p.logins {
			before[id] = l.Again()
		}
		kafkatest.Eventually(t, time.Minute, "everybody to authenticate again with another token", func() error {
			for id, l := range p.logins {
				if l.Again() <= before[id] {
					return errors.New(id + " has not")
				}
			}
			if got := p.idp.rotated("generator", "sidecar"); got <= n {
				return fmt.Errorf("%d rotations", got)
			}
			return nil
		})
		p.rotate(n + 1)
	}
	p.outputs(end())
	endApp()
	endSidecar()
	// The certificate of now is in force for who connects now, and one that the broker does not
	// know is refused: it was asked for.
	fresh, err := kgo.NewClient(append(p.options("fresh", ""), kgo.SeedBrokers(p.kafka.SecuredAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if err := fresh.Ping(t.Context()); err != nil {
		t.Errorf("with the last certificate: %v", err)
	}
	newAuthority(t, "nobody").pair(t, p.dir, "client")
	strange, err := kgo.NewClient(append(p.options("strange", ""), kgo.SeedBrokers(p.kafka.SecuredAddrs()...), kgo.RequestRetries(1))...)
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

func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	return lis.Addr().String()
}
