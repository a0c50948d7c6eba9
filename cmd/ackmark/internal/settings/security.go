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

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

type tlsFiles struct {
	ca, certificate, key string
	password             secret.Value // of the key
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
	b.judgeSASL(strings.HasPrefix(b.protocol, "SASL_"))
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
		b.logs = append(b.logs, renewed.LogTo)
		b.Options = append(b.Options, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			return renewed.Dial(ctx, network, addr, timeout)
		}))
	}
}

// defaultDialTimeout is that of the Kafka client, which does not apply it to a dialer of ours.
const defaultDialTimeout = 10 * time.Second

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
		var err error
		if cfg.Certificates, err = tlsfiles.Pair(f.certificate, f.key, f.keyPassword); err != nil {
			wrong = append(wrong, wrongFile{"ssl.certificate.location", "and ssl.key.location cannot be used: " + err.Error() + "; " + pairRemedy(err)})
		}
	} else if f.password.Set() {
		wrong = append(wrong, wrongFile{propKeyPassword, "is the password of ssl.key.location, which is missing"})
	}
	return cfg, wrong
}

func (f tlsFiles) keyPassword() (string, error) {
	text, err := f.password.Read()
	if err != nil {
		return "", fmt.Errorf("%s %w", propKeyPassword, err)
	}
	return text, nil
}

func pairRemedy(err error) string {
	if errors.Is(err, tlsfiles.ErrNoPassword) {
		return "set " + propKeyPassword
	}
	return "name readable PEM files, and in " + propKeyPassword + " the password of an encrypted key"
}

func verifyChain(cs tls.ConnectionState, roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
	return err
}
