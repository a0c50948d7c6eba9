package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// NewStatusCommand returns `ackmark status`.
func NewStatusCommand() *cobra.Command {
	var t target
	var output string
	cmd := &cobra.Command{
		Use: "status", Short: "Show what a running sidecar is doing", Args: noArgs,
		Example: "  ackmark status\n  ackmark status --listen unix:///tmp/ackmark.sock -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("--output is %q; write table or json", output)}
			}
			return t.call(cmd.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := sidecarpb.NewSidecarClient(conn).Status(ctx, &sidecarpb.StatusRequest{})
				if err != nil {
					return err
				}
				if output == "json" {
					return printJSON(cmd.OutOrStdout(), resp.ProtoReflect())
				}
				return printStatus(cmd.OutOrStdout(), resp)
			})
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printStatus(w io.Writer, s *sidecarpb.StatusResponse) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "state\t%s\n", s.GetState())
	if e := s.GetKafkaError(); e != "" {
		fmt.Fprintf(t, "kafka\t%s\n", e)
	}
	q := s.GetQueue()
	fmt.Fprintf(t, "version\t%s, up %s\n", s.GetVersion(), (time.Duration(s.GetUptimeMs()) * time.Millisecond).Round(time.Second))
	fmt.Fprintf(t, "queue\t%d of %d records, %d of %d bytes\n", q.GetRecords(), q.GetLimitRecords(), q.GetBytes(), q.GetLimitBytes())
	fmt.Fprintf(t, "records\t%d acknowledged, %d failed, %d produce requests\n", s.GetRecordsAcked(), s.GetRecordsFailed(), s.GetProduceRequests())
	fmt.Fprintf(t, "connections\t%d to brokers, for %d sessions\n", s.GetBrokerConnections(), len(s.GetSessions()))
	if w := s.GetWills(); w.GetExecuted()+w.GetFenced()+w.GetResumed()+uint64(w.GetRunning()) > 0 {
		fmt.Fprintf(t, "deaths\t%d wills executed (%d complete, %d refused by the broker, %d running), %d units finished, %d partitions committed, %d commits repaired\n",
			w.GetExecuted(), w.GetComplete(), w.GetSuperseded(), w.GetRunning(), w.GetUnits(), w.GetPartitions(), w.GetRepaired())
		fmt.Fprintf(t, "streams\t%d came back to their session, %d refused because it was closed\n", w.GetResumed(), w.GetFenced())
	}
	for _, r := range s.GetRefusals() {
		fmt.Fprintf(t, "refused\t%d times: %s (see the sidecar's log)\n", r.GetCount(), r.GetReason())
	}
	if len(s.GetSessions()) > 0 {
		fmt.Fprintf(t, "\nAPP\tPID\tSTATE\tGROUP\tGENERATION\tOUTSTANDING\tSEQUENCE\tPARTITIONS\n")
	}
	for _, x := range s.GetSessions() {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\n", x.GetApp(), x.GetPeerPid(), x.GetState(), x.GetGroup(), x.GetGeneration(), x.GetOutstandingUnits(), x.GetHighestSequence(), len(x.GetPartitions()))
	}
	for _, x := range s.GetSessions() {
		if why := x.GetNoWill(); why != "" {
			fmt.Fprintf(t, "\nno will\tpid %d: %s\n", x.GetPeerPid(), why)
		}
	}
	if len(s.GetPartitions()) > 0 {
		fmt.Fprintf(t, "\nTOPIC\tPARTITION\tQUEUED RECORDS\tQUEUED BYTES\tFULL\n")
	}
	for _, p := range s.GetPartitions() {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%t\n", p.GetTopic(), p.GetPartition(), p.GetRecords(), p.GetBytes(), p.GetFull())
	}
	return t.Flush()
}
