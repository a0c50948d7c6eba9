package producer_test

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/producer"
)

// Who listens at the socket and is another user hears nothing, neither the token nor a record; the
// client says who it is and what to do. A user that is named is the sidecar.
func TestTheServersOwnerIsChecked(t *testing.T) {
	if !peercred.Known {
		t.Skip("this system does not tell who listens")
	}
	const other = 4_000_001
	b := newBroker(t, "t")
	dir := t.TempDir()
	startSidecar(t, b, filepath.Join(dir, "real", "s.sock"))
	for name, uids := range map[string][]uint32{"nobody is named": nil, "another one is": {other + 1}} {
		path := filepath.Join(dir, "s.sock")
		lis, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan []byte, 1000)
		go func() {
			for {
				conn, err := lis.Accept()
				if err != nil {
					close(heard)
					return
				}
				said, _ := io.ReadAll(conn)
				heard <- said
			}
		}()
		p := producer.DialConfig{Target: "unix://" + path, Token: "secret", SidecarUIDs: uids, Logger: slog.New(slog.DiscardHandler)}.WithPeer(other).New()
		err = p.Check(t.Context())
		for _, want := range []string{path, "uid 4000001", "nothing was sent", "DialConfig.SidecarUIDs"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Check returns %v, want %q in it", name, err, want)
			}
		}
		_ = p.Close()
		for said := <-heard; said != nil; said = <-heard { // at least once: it was dialled
			if len(said) > 0 {
				t.Errorf("%s: a stranger heard %q", name, said)
			}
			_ = lis.Close()
		}
	}
	for name, x := range map[string]struct {
		uid  uint32
		uids []uint32
	}{"this user": {uint32(os.Geteuid()), []uint32{other}}, "root": {0, nil}, "a user that is named": {other, []uint32{other}}} {
		p := producer.DialConfig{Target: "unix://" + filepath.Join(dir, "real", "s.sock"), SidecarUIDs: x.uids, Logger: slog.New(slog.DiscardHandler)}.WithPeer(x.uid).New()
		if err := p.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = p.Close()
	}
}
