package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// target is the sidecar that a command asks.
type target struct {
	address string
	timeout time.Duration
}

func addTargetFlags(cmd *cobra.Command, t *target) {
	listen := "unix:///run/ackmark/sidecar.sock"
	cmd.Flags().StringVar(&t.address, "listen", "", "where the sidecar listens, unix:///path [ACKMARK_LISTEN] (default "+listen+")")
	cmd.Flags().DurationVar(&t.timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if t.address == "" {
			t.address = lookupEnv(environ(), "ACKMARK_LISTEN")
		}
		if t.address == "" {
			t.address = listen
		}
		if err := settings.CheckListen(t.address); err != nil {
			return usageError{fmt.Errorf("--listen %w", err)}
		}
		if t.timeout <= 0 {
			return usageError{fmt.Errorf("--timeout is %s; it must be positive, as in 3s", t.timeout)}
		}
		if !strings.HasPrefix(t.address, "unix://") {
			return usageError{fmt.Errorf("--listen is %s; this command asks over a unix socket; over TCP use a gRPC client with the app's certificate (grpc health, reflection)", t.address)}
		}
		return nil
	}
}

// call dials the sidecar and runs f under the timeout.
func (t *target) call(ctx context.Context, f func(context.Context, *grpc.ClientConn) error) error {
	return orCut(ctx, t.ask(ctx, f))
}

func (t *target) ask(ctx context.Context, f func(context.Context, *grpc.ClientConn) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if err := socketProblem(t.address); err != nil {
		return err
	}
	conn, err := grpc.NewClient(t.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	err = f(ctx, conn)
	switch status.Code(err) {
	case codes.OK:
		return err
	case codes.Unavailable:
		return fmt.Errorf("no sidecar answers at %s: %s; is `ackmark sidecar` running, and --listen the same?", t.address, status.Convert(err).Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("the sidecar at %s did not answer within %s; it may be stopped or overloaded", t.address, t.timeout)
	}
	return err
}
