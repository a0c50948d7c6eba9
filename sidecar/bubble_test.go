package sidecar_test

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// bubble runs a test with a broker, a sidecar and connections between them in memory, in virtual
// time: when nobody can go on, time jumps.
type bubble struct {
	kafka *kfake.Cluster
	sc    *sidecartest.Sidecar
	conn  *grpc.ClientConn
	net   *kfake.VirtualNetwork
}

func inBubble(t *testing.T, change func(*sidecar.Config), f func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{net: new(kfake.VirtualNetwork)}
		b.kafka = cluster(t, kfake.ListenFn(b.net.Listen))
		lis, conn := sidecartest.Bufconn(t)
		b.conn = conn
		b.sc = sidecartest.Start(t, b.kafka.ListenAddrs(), func(c *sidecar.Config) {
			c.Listener = lis
			c.Options = []kgo.Opt{kgo.Dialer(b.net.DialContext)}
			c.Logger = slog.New(slog.DiscardHandler)
			if change != nil {
				change(c)
			}
		})
		f(t, b)
	})
}
