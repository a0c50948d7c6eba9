package admin

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of Serve.
const (
	headerTimeout  = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = time.Minute
	shutdownGrace  = 2 * time.Second
	maxHeaderBytes = 16 << 10
	maxConnections = 64
)

// Serve serves h on lis until ctx ends, with time-outs and bounds that such a port needs: slow and
// silent callers give their places back. Requests that run when ctx ends have two seconds. It
// closes lis, and returns nil after ctx ended.
func Serve(ctx context.Context, lis net.Listener, h http.Handler, logger *slog.Logger) error {
	server := newServer(h, logger)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(netutil.LimitListener(lis, maxConnections)) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // their time is over
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: quietLog(logger),
	}
}

// quietLog takes what net/http says of its callers at debug: anybody who may connect could fill the
// log with it.
func quietLog(logger *slog.Logger) *log.Logger {
	if logger == nil {
		logger = slog.Default()
	}
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}
