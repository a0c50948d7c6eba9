// Package adminport serves the admin port of a process of the command.
package adminport

import (
	"context"
	"log/slog"
	"net"

	"github.com/ackmark/ackmark/admin"
)

// Port is served from Open to Close: longer than what it shows, as a drain is looked at, too.
type Port struct {
	url   string
	stop  context.CancelFunc
	ended chan struct{}
}

// Open listens at host:port and serves it.
func Open(address string, cfg admin.Config, log *slog.Logger) (*Port, error) {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Port{"http://" + lis.Addr().String() + "/", stop, make(chan struct{})}
	handler := admin.Handler(cfg)
	go func() {
		defer close(p.ended)
		if err := admin.Serve(ctx, lis, handler, log); err != nil {
			log.Error("the admin port is not served any more; everything else goes on", "err", err)
		}
	}()
	log.Info("admin port", "url", p.url)
	return p, nil
}

// Close ends it and waits for it. A Port that is nil was never opened.
func (p *Port) Close() {
	if p != nil {
		p.stop()
		<-p.ended
	}
}
