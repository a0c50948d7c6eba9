package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/podview"
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
			resp, err := t.status(cmd.Context(), false)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), resp.ProtoReflect())
			}
			return printStatus(cmd.OutOrStdout(), resp)
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// printStatus prints what apps and brokers named so that a terminal only shows it.
func printStatus(w io.Writer, s *sidecarpb.StatusResponse) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "state\t%s\n", s.GetState())
	if e := s.GetKafkaError(); e != "" {
		fmt.Fprintf(t, "kafka\t%s\n", letters.Printable(e))
	}
	q := s.GetQueue()
	fmt.Fprintf(t, "version\t%s, up %s\n", s.GetVersion(), (time.Duration(s.GetUptimeMs()) * time.Millisecond).Round(time.Second))
	fmt.Fprintf(t, "queue\t%d of %d records, %s of %s\n", q.GetRecords(), q.GetLimitRecords(), podview.Size(q.GetBytes()), podview.Size(q.GetLimitBytes()))
	fmt.Fprintf(t, "records\t%d acknowledged, %d failed, %d produce requests\n", s.GetRecordsAcked(), s.GetRecordsFailed(), s.GetProduceRequests())
	fmt.Fprintf(t, "connections\t%d to brokers, for %s\n", s.GetBrokerConnections(), plural(int64(len(s.GetSessions())), "session", "sessions"))
	if x := s.GetTransactions(); x != nil {
		fmt.Fprintf(t, "exactly-once\t%s is %s: %d transactions committed, %d aborted, %d with an unknown end, taken anew %d times%s\n",
			letters.Printable(x.GetTransactionalId()), letters.Printable(x.GetState()), x.GetCommitted(), x.GetAborted(), x.GetUnknown(), x.GetTakenAnew(), waits(x))
	}
	if w := s.GetWills(); w.GetExecuted()+w.GetFenced()+w.GetResumed()+uint64(w.GetRunning()) > 0 {
		fmt.Fprintf(t, "deaths\t%d wills executed (%d complete, %d refused by the broker, %d running), %d units finished, %d partitions committed, %d commits repaired\n",
			w.GetExecuted(), w.GetComplete(), w.GetSuperseded(), w.GetRunning(), w.GetUnits(), w.GetPartitions(), w.GetRepaired())
		fmt.Fprintf(t, "streams\t%d came back to their session, %d refused because it was closed\n", w.GetResumed(), w.GetFenced())
	}
	for _, r := range s.GetRefusals() {
		fmt.Fprintf(t, "refused\t%d times: %s (see the sidecar's log)\n", r.GetCount(), letters.Printable(r.GetReason()))
	}
	if len(s.GetSessions()) > 0 {
		fmt.Fprintf(t, "\nAPP\tPID\tSTATE\tGROUP\tGENERATION\tOUTSTANDING\tSEQUENCE\tPARTITIONS\n")
	}
	for _, x := range s.GetSessions() {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\n", letters.Printable(x.GetApp()), x.GetPeerPid(), x.GetState(), letters.Printable(x.GetGroup()), x.GetGeneration(), x.GetOutstandingUnits(), x.GetHighestSequence(), len(x.GetPartitions()))
	}
	for _, x := range s.GetSessions() {
		if why := x.GetNoWill(); why != "" {
			fmt.Fprintf(t, "\nno will\tpid %d: %s\n", x.GetPeerPid(), letters.Printable(why))
		}
	}
	if len(s.GetPartitions()) > 0 {
		fmt.Fprintf(t, "\nTOPIC\tPARTITION\tQUEUED RECORDS\tQUEUED BYTES\tFULL\n")
	}
	for _, p := range s.GetPartitions() {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%t\n", letters.Printable(p.GetTopic()), p.GetPartition(), p.GetRecords(), p.GetBytes(), p.GetFull())
	}
	return t.Flush()
}

// waits says for how long nothing was committed, if there is something.
func waits(x *sidecarpb.TransactionStatus) string {
	if x.GetAgeMs() <= 0 {
		return "; nothing waits"
	}
	return "; units wait for a commit for " + (time.Duration(x.GetAgeMs()) * time.Millisecond).Round(100*time.Millisecond).String()
}
