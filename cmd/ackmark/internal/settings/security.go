package settings

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/ackmark/ackmark/internal/tlsfiles"
)

type tlsFiles struct {
	ca, certificate, key string
	anyName              bool
}

func protocol(b *builder, v string) error {
	switch p := strings.ToUpper(v); p {
	case "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
		b.protocol = p
		return nil
	}
	return fmt.Errorf("is %q; it must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", v)
}

func mechanism(b *builder, v string) error {
	switch m := strings.ToUpper(v); m {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		b.mechanism = m
		return nil
	}
	return fmt.Errorf("is %q; it must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", v)
}

func identification(b *builder, v string) error {
	switch strings.ToLower(v) {
	case "https":
	case "", "none":
		b.tls.anyName = true
	default:
		return fmt.Errorf("is %q; it must be https, or none to accept a certificate of any name", v)
	}
	return nil
}

// finish adds what several properties decide together: the security of the connections.
func (b *builder) finish() {
	sasl := strings.HasPrefix(b.protocol, "SASL_")
	switch {
	case sasl && b.mechanism == "":
		b.fail("sasl.mechanism", "is missing; security.protocol "+b.protocol+" needs PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	case sasl && (b.username == "" || b.password == ""):
		b.fail("sasl.username", "and sasl.password are needed for security.protocol "+b.protocol)
	case !sasl && (b.mechanism != "" || b.username != "" || b.password != ""):
		b.fail("security.protocol", "must be SASL_SSL or SASL_PLAINTEXT when sasl.* is set; without it no password would be sent")
	}
	if sasl {
		b.addSASL()
	}
	b.addTLS()
}

func (b *builder) addTLS() {
	usesTLS := b.protocol == "SSL" || b.protocol == "SASL_SSL"
	if !usesTLS && (b.tls != tlsFiles{}) {
		b.fail("security.protocol", "must be SSL or SASL_SSL when ssl.* is set; without it the connection would not be encrypted")
	}
	if usesTLS {
		if _, wrong := b.tls.load(); len(wrong) > 0 {
			for _, w := range wrong {
				b.fail(w.name, w.problem)
			}
			return
		}
		renewed, err := tlsfiles.New(b.tls.read, slog.Default())
		if err != nil {
			b.fail("ssl.ca.location", "cannot be used: "+err.Error()+"; name a readable PEM file") // it was there a moment ago
			return
		}
		timeout := b.dialTimeout
		b.TLS = renewed
		b.Options = append(b.Options, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			return renewed.Dial(ctx, network, addr, timeout)
		}))
	}
}

// defaultDialTimeout is that of the Kafka client, which does not apply it to a dialer of ours.
const defaultDialTimeout = 10 * time.Second

func (b *builder) addSASL() {
	switch b.mechanism {
	case "PLAIN":
		b.Options = append(b.Options, kgo.SASL(plain.Auth{User: b.username, Pass: b.password}.AsMechanism()))
	case "SCRAM-SHA-256":
		b.Options = append(b.Options, kgo.SASL(scram.Auth{User: b.username, Pass: b.password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		b.Options = append(b.Options, kgo.SASL(scram.Auth{User: b.username, Pass: b.password}.AsSha512Mechanism()))
	}
}

// wrongFile is a property whose file cannot be used.
type wrongFile struct{ name, problem string }

// read is load for who only needs to know that it cannot be.
func (f tlsFiles) read() (*tls.Config, error) {
	cfg, wrong := f.load()
	var errs []error
	for _, w := range wrong {
		errs = append(errs, errors.New("kafka."+w.name+" "+w.problem))
	}
	return cfg, errors.Join(errs...)
}

// load reads the files, and names all that cannot be used.
func (f tlsFiles) load() (_ *tls.Config, wrong []wrongFile) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.anyName}
	if f.ca != "" {
		pool, err := tlsfiles.Pool(f.ca)
		if err != nil {
			wrong = append(wrong, wrongFile{"ssl.ca.location", "cannot be used: " + err.Error() + "; name a readable PEM file"})
		}
		cfg.RootCAs = pool
	}
	if f.anyName {
		// No name to check is not no authority to check.
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verifyChain(cs, cfg.RootCAs) }
	}
	if (f.certificate == "") != (f.key == "") {
		wrong = append(wrong, wrongFile{"ssl.certificate.location", "and ssl.key.location go together; one of them is missing"})
	} else if f.certificate != "" {
		pair, err := tlsfiles.Pair(f.certificate, f.key, nil)
		if err != nil {
			wrong = append(wrong, wrongFile{"ssl.certificate.location", "and ssl.key.location cannot be used: " + err.Error() + "; name readable PEM files"})
		}
		cfg.Certificates = pair
	}
	return cfg, wrong
}

func verifyChain(cs tls.ConnectionState, roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
	return err
}
