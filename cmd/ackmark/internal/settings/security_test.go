package settings_test

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// Without a name to check, a broker must still have a certificate of the authority that was named.
func TestAnyNameIsNotAnyAuthority(t *testing.T) {
	broker := httptest.NewTLSServer(http.NotFoundHandler())
	defer broker.Close()
	own := filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(own, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broker.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		ca, names string
		works     bool
	}{
		"its authority, any name":                {own, "none", true},
		"its authority, another name":            {own, "https", false},
		"an authority of the system's, any name": {"", "none", false},
	} {
		props := map[string]string{"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": tc.names}
		if tc.ca != "" {
			props["ssl.ca.location"] = tc.ca
		}
		client, wrong := settings.ParseKafka(props, func(name string) settings.FieldError { return settings.FieldError{Field: name} })
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		cfg := client.TLS.Current().Clone()
		if cfg.MinVersion < tls.VersionTLS12 {
			t.Errorf("%s: TLS below 1.2", name)
		}
		cfg.ServerName = "kafka.elsewhere.test"
		raw, err := net.Dial("tcp", broker.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, cfg)
		if err := conn.HandshakeContext(t.Context()); (err == nil) != tc.works {
			t.Errorf("%s: %v", name, err)
		}
		raw.Close()
	}
}
