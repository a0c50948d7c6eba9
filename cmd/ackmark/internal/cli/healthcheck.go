package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// NewHealthcheckCommand returns `ackmark healthcheck`.
func NewHealthcheckCommand() *cobra.Command {
	var t target
	var service, port string
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Ask a sidecar's or an app's health, for exec probes; exit code 1 if it is not well", Args: noArgs,
		Long: `Asks the standard gRPC health service. Liveness does not depend on Kafka, or every sidecar would restart when
Kafka is down; readiness does. With --admin it asks the admin port instead, of an app that serves admin.Handler or of a
sidecar: readiness there goes by progress, and names a partition that has input and stands still.`,
		Example: `  ackmark healthcheck                        # readiness
  ackmark healthcheck --service liveness

  ackmark healthcheck --admin 127.0.0.1:9404 # of an app, by its progress

  # Kubernetes
  livenessProbe:  {exec: {command: [/ackmark, healthcheck, --service, liveness]}}
  startupProbe:   {exec: {command: [/ackmark, healthcheck, --service, readiness]}}`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, "admin"); err != nil {
				return err
			}
			return healthcheck(cmd, &t, service, port)
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().StringVar(&service, "service", "readiness", "liveness or readiness")
	cmd.Flags().StringVar(&port, "admin", "", "ask the admin port at host:port instead of the socket")
	return cmd
}

func healthcheck(cmd *cobra.Command, t *target, service, port string) error {
	if service != "liveness" && service != "readiness" {
		return usageError{fmt.Errorf("--service is %q; write liveness or readiness", service)}
	}
	if port != "" {
		return orCut(cmd.Context(), askPort(cmd, t.timeout, service, port))
	}
	return t.call(cmd.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if status.Code(err) == codes.NotFound {
			return fmt.Errorf("the server at %s has no health service %q; is it an Ackmark sidecar?", t.address, service)
		}
		if err != nil {
			return err
		}
		if s := resp.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("%s is %s; `ackmark status` tells why", service, s)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), service+": SERVING")
		return err
	})
}

// maxWhy is how much of an answer is shown.
const maxWhy = 512

// askPort asks an admin port: /healthz for liveness, /readyz for readiness.
func askPort(cmd *cobra.Command, timeout time.Duration, service, port string) error {
	if _, _, err := net.SplitHostPort(port); err != nil {
		return usageError{fmt.Errorf("--admin is %q; write host:port, as in 127.0.0.1:9404", port)}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	path := map[string]string{"liveness": "/healthz", "readiness": "/readyz"}[service]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+port+path, nil)
	if err != nil {
		return usageError{fmt.Errorf("--admin is %q; write host:port, as in 127.0.0.1:9404", port)}
	}
	transport := &http.Transport{DisableKeepAlives: true} // no proxy: it is near
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the admin port at %s did not answer within %s; its process may be stopped or overloaded", port, timeout)
	case err != nil:
		return fmt.Errorf("no admin port answers at %s: %w; is the process running, and --admin the same?", port, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	why, _ := bufio.NewReader(io.LimitReader(resp.Body, maxWhy)).ReadString('\n')
	why = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, why)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not given: %s answers %s: %s", service, path, resp.Status, why)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), service+": SERVING")
	return err
}
