package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// NewHealthcheckCommand returns `ackmark healthcheck`.
func NewHealthcheckCommand() *cobra.Command {
	var t target
	var service string
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Ask the sidecar's health, for exec probes; exit code 1 if it is not well", Args: noArgs,
		Long: `Asks the standard gRPC health service. Liveness does not depend on Kafka, or every sidecar would restart when
Kafka is down; readiness does.`,
		Example: `  ackmark healthcheck                        # readiness
  ackmark healthcheck --service liveness

  # Kubernetes
  livenessProbe:  {exec: {command: [/ackmark, healthcheck, --service, liveness]}}
  startupProbe:   {exec: {command: [/ackmark, healthcheck, --service, readiness]}}`,
		RunE: func(cmd *cobra.Command, _ []string) error { return healthcheck(cmd, &t, service) },
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().StringVar(&service, "service", "readiness", "liveness or readiness")
	return cmd
}

func healthcheck(cmd *cobra.Command, t *target, service string) error {
	if service != "liveness" && service != "readiness" {
		return usageError{fmt.Errorf("--service is %q; write liveness or readiness", service)}
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
