package producer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
)

func mustSay(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

// A wrong or stale socket path gives an error that names the target and what to do, at once, and
// the client goes on trying.
func TestClientSocketErrors(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	lis, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	lis.(*net.UnixListener).SetUnlinkOnClose(false)
	lis.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, target string
		want         []string
	}{
		{"no such socket", "unix://" + filepath.Join(dir, "none.sock"), []string{"none.sock", "no such socket", "mounted"}},
		{"no such directory", "unix:///no/such/directory/s.sock", []string{"no such socket"}},
		{"stale socket", "unix://" + stale, []string{"stale.sock", "nobody listens", "stale"}},
		{"a file", "unix://" + file, []string{"nobody listens"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := producer.Dial(c.target)
			defer p.Close()
			mustSay(t, p.Check(t.Context()), c.want...)
		})
	}
	denied := producer.DialConfig{Target: "unix:///run/x.sock", Dialer: func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)} // as root nothing is denied
	}}.New()
	defer denied.Close()
	err = denied.Check(t.Context())
	mustSay(t, err, "/run/x.sock", "no permission", "group")
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// Something else that listens there is named as such.
func TestClientNotASidecar(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			conn.Close()
		}
	}()
	defer lis.Close()
	p := producer.Dial("unix://" + path)
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	mustSay(t, p.Check(ctx), path)
}

func TestClientConfigErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  producer.DialConfig
		want []string
	}{
		{"empty", producer.DialConfig{}, []string{"DialConfig.Target", "unix:///run/ackmark/sidecar.sock"}},
		{"no scheme", producer.DialConfig{Target: "/run/x.sock"}, []string{`"/run/x.sock"`, "unix:///path"}},
		{"other scheme", producer.DialConfig{Target: "http://x"}, []string{"http://x", "tcp://host:port"}},
		{"no path", producer.DialConfig{Target: "unix://"}, []string{"path"}},
		{"long path", producer.DialConfig{Target: "unix:///" + strings.Repeat("x", 120)}, []string{"121", "107"}},
		{"tcp without port", producer.DialConfig{Target: "tcp://host", TLS: new(tls.Config)}, []string{"tcp://host", "port"}},
		{"tcp without TLS", producer.DialConfig{Target: "tcp://host:1"}, []string{"DialConfig.TLS", "mutual TLS"}},
		{"session", producer.DialConfig{Target: "unix:///x", SessionID: strings.Repeat("x", 65)}, []string{"SessionID", "65", "64"}},
		{"frame", producer.DialConfig{Target: "unix:///x", MaxFrameBytes: -1}, []string{"MaxFrameBytes", "-1"}},
		{"bytes", producer.DialConfig{Target: "unix:///x", MaxBufferedBytes: -1}, []string{"MaxBufferedBytes", "-1"}},
		{"records", producer.DialConfig{Target: "unix:///x", MaxBufferedRecords: -1}, []string{"MaxBufferedRecords", "-1"}},
		{"timeout", producer.DialConfig{Target: "unix:///x", CloseTimeout: -1}, []string{"CloseTimeout"}},
		{"on full", producer.DialConfig{Target: "unix:///x", OnFull: 9}, []string{"OnFull", "9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.cfg.New()
			err := p.Check(t.Context())
			mustSay(t, err, c.want...)
			if e, ok := errors.AsType[*producer.Error](err); !ok || e.Code != producer.CodeInvalidConfig {
				t.Errorf("Check returned %#v, want %s", err, producer.CodeInvalidConfig)
			}
			if ce, ok := errors.AsType[*producer.ConfigError](err); !ok || ce.Config != "producer.DialConfig" || ce.Remedy == "" {
				t.Errorf("no ConfigError of DialConfig is in %#v", err)
			}
			if _, emitted := p.Emit(t.Context(), record1("k", "v")); emitted == nil {
				t.Error("Emit did not return the configuration error")
			}
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}
