package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// NewSetCommand returns `ackmark set`.
func NewSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set", Short: "Change what a running sidecar does", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSetRouteCommand())
	return cmd
}

// asConfigured is the way that is none.
const asConfigured = "default"

func newSetRouteCommand() *cobra.Command {
	var t target
	percent := 100
	cmd := &cobra.Command{
		Use: "route APP TOPIC direct|sidecar|fallback|default", Short: "Send a part of a topic's keys through the sidecar, or directly to Kafka", Args: namedArgs(3),
		Long: `Says, until this sidecar ends, which part of a topic's keys the processes of an app send through it; the others they
send to Kafka directly. APP and TOPIC may be *, for all that are not named.

  direct    straight to Kafka, with a client of the process's own
  sidecar   through the sidecar
  fallback  through the sidecar, and directly while it is gone
  default   as the sidecar's file says (routes:), or the app itself

With --percent only so many of the keys go that way, always the same ones; the others go directly, or, of direct,
through the sidecar. Order is kept: a key that changes its way waits until what its topic has on the former one is
acknowledged. Only clients that are made with producer.RouteConfig can change their way.

Only the sidecar's own user and root may do this, or whom route_setters of its file names; with a list of apps there,
only for those apps, and for topics that they may write to, if some of it goes through the sidecar. What is set so counts before the sidecar's file; put it there too, or
it is forgotten with the process.`,
		Example: `  ackmark set route billing invoices sidecar --percent 10
  ackmark set route billing invoices sidecar
  ackmark set route billing '*' direct`,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := setRoute(args, percent, cmd.Flags().Changed("percent"))
			if err != nil {
				return usageError{err}
			}
			return t.call(cmd.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := sidecarpb.NewSidecarClient(conn).SetRoute(ctx, req)
				switch status.Code(err) {
				case codes.OK:
					return printRouteSet(cmd.OutOrStdout(), req, resp)
				case codes.PermissionDenied, codes.InvalidArgument:
					return fmt.Errorf("the sidecar refuses it: %s", status.Convert(err).Message())
				case codes.Unimplemented:
					return fmt.Errorf("the sidecar is of an older version, without routes: upgrade it")
				}
				return err
			})
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().IntVar(&percent, "percent", 100, "how many percent of the keys go that way, 0 to 100")
	return cmd
}

// setRoute reads the arguments.
func setRoute(args []string, percent int, some bool) (*sidecarpb.SetRouteRequest, error) {
	req := &sidecarpb.SetRouteRequest{App: args[0], Topic: args[1]}
	if err := route.CheckTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	if args[2] == asConfigured {
		if some {
			return nil, fmt.Errorf("--percent says nothing with %s: leave it out", asConfigured)
		}
		req.Forget = true
		return req, nil
	}
	r, err := route.Parse(args[2])
	if err != nil {
		return nil, err
	}
	if some {
		if r, err = route.Parse(fmt.Sprintf("%s:%d", args[2], percent)); err != nil {
			return nil, err
		}
	}
	req.SidecarPercent, req.Fallback = uint32(r.Share), r.Detour
	return req, nil
}

func printRouteSet(w io.Writer, req *sidecarpb.SetRouteRequest, resp *sidecarpb.SetRouteResponse) error {
	by := route.Route{Share: int(req.GetSidecarPercent()), Detour: req.GetFallback()}.String()
	if req.GetForget() {
		fmt.Fprintf(w, "app %s, topic %s: as configured\n", req.GetApp(), req.GetTopic())
	} else {
		fmt.Fprintf(w, "app %s, topic %s: %s\n", req.GetApp(), req.GetTopic(), by)
	}
	if resp.GetTold()+resp.GetDeaf() == 0 {
		fmt.Fprintf(w, "no session of %s is here now: it counts for those that come, if the name is right\n", req.GetApp())
	} else {
		fmt.Fprintf(w, "told: %d of %d sessions\n", resp.GetTold(), resp.GetTold()+resp.GetDeaf())
	}
	if n := resp.GetDeaf(); n > 0 {
		fmt.Fprintf(w, "%d cannot change their way: make their producer with producer.RouteConfig\n", n)
	}
	if !req.GetForget() {
		fmt.Fprintf(w, "to keep it beyond this sidecar's life, write into its file:\n  routes:\n    - {app: %q, topic: %q, by: %q}\n", req.GetApp(), req.GetTopic(), by)
	}
	return nil
}
