package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/podview"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// maxPod bounds the answer: 10,000 partitions of 500 processes, with the longest texts, are less.
const maxPod = 64 << 20

// pod asks a sidecar for the whole pod.
func (t *target) pod(ctx context.Context) (*podstate.Pod, error) {
	resp, err := t.status(ctx, true)
	if err != nil {
		return nil, err
	}
	return podwire.Pod(resp), nil
}

// status asks a sidecar for its Status; with state also for what its processes told.
func (t *target) status(ctx context.Context, state bool) (resp *sidecarpb.StatusResponse, err error) {
	err = t.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		resp, err = sidecarpb.NewSidecarClient(conn).Status(ctx, &sidecarpb.StatusRequest{State: state}, grpc.MaxCallRecvMsgSize(maxPod))
		return err
	})
	return resp, err
}

// NewGetCommand returns `ackmark get`.
func NewGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get", Short: "Show sessions, partitions, queues, wills, lag or routes of a running sidecar", Args: noArgs,
		Example: `  ackmark get partitions -o wide
  ackmark get sessions -w
  ackmark get lag -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, kind := range podview.Kinds {
		cmd.AddCommand(newGetPodCommand(kind))
	}
	return cmd
}

// getFlags are what is written on the command line.
type getFlags struct {
	target target
	kind   string
	output string
	watch  bool
	every  time.Duration
}

// getHelp is what each kind's help says.
var getHelp = map[string]struct{ short, long string }{
	"sessions": {"Show the app processes at a sidecar", `One line for each app process with a session. BUSY is how many of its lanes run a handler, QUEUED how many inputs wait
for one, OUTSTANDING how many units the sidecar has of it. "-" is what it does not tell: only pipelines do.

With -o wide also: what it may have outstanding (CREDIT), how long its units of the last half minute took from the attempt to
the acknowledgement (P50, P99), whether it goes past the sidecar (DIRECT), when it told
(TOLD), why nobody would commit for it if it died (NO WILL), and what is wrong with it.`},
	"partitions": {"Show where each input partition stands", `One line for each input partition that a process at the sidecar holds.

  ACK MARK  first offset that is not done: what gets committed
  LAG       offsets from there to the end of the log
  PENDING   inputs that are handed out and not done
  ABOVE     inputs that are done above the mark: one that is not holds them
  OLDEST    how long the input that holds the mark is in hand; STAGE where it is (see ackmark explain)

With -o wide also a strip of what lies from the mark to what was fetched: # is done, . is not, + is some of each.`},
	"queues": {"Show what waits for Kafka, by output partition", `One line for each output partition with records that Kafka has not acknowledged. FULL: its writers wait.`},
	"wills": {"Show what the sidecar did for processes that died", `What became of sessions whose process died: COMPLETE wills repeat nothing; of a SUPERSEDED one the group had gone on
without the member, and what was in flight is repeated. Below, the last of them, and who came back and was refused.`},
	"lag": {"Show the five lags of each input partition", `LAG is from what the group has committed to the end of the log, and is the sum of what lies between:

  TO FETCH        not read yet
  TO HANDLE       read; its handler has not finished
  TO ACKNOWLEDGE  handled; something below it or it itself is not acknowledged by Kafka
  TO COMMIT       done, and not committed yet

Whether a group keeps up over time, Ackmark's or not, is said by: ackmark lag --group G`},
	"routes": {"Show which way topics go to Kafka, as far as the sidecar says so", `One line for each app and topic that the sidecar says something of; FROM is where it was said: set (ackmark set route) or
file (routes: in the sidecar's configuration). Below, how many processes go by it; with -o wide, which.`},
}

func newGetPodCommand(kind string) *cobra.Command {
	f := &getFlags{kind: kind}
	cmd := &cobra.Command{
		Use: kind, Short: getHelp[kind].short, Long: getHelp[kind].long, Args: noArgs,
		Example: fmt.Sprintf("  ackmark get %[1]s\n  ackmark get %[1]s -o wide -w\n  ackmark get %[1]s -o json --listen unix:///tmp/ackmark.sock", kind),
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addTargetFlags(cmd, &f.target)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, wide, json or yaml")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on until Ctrl-C")
	cmd.Flags().DurationVar(&f.every, "every", 2*time.Second, "how often to look, with --watch")
	return cmd
}

func (f *getFlags) run(cmd *cobra.Command) error {
	if err := oneOfWords("--output", f.output, "table", "wide", "json", "yaml"); err != nil {
		return err
	}
	if f.every < 100*time.Millisecond {
		return usageError{fmt.Errorf("--every is %s; it must be at least 100ms", f.every)}
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	for {
		pod, err := f.target.pod(ctx)
		if err != nil {
			return err
		}
		if err := f.print(out, pod); err != nil || !f.watch {
			return err
		}
		select {
		case <-ctx.Done():
			return codedError{errInterrupted, ExitKilled}
		case <-time.After(f.every):
		}
	}
}

func (f *getFlags) print(w io.Writer, pod *podstate.Pod) error {
	switch f.output {
	case "json":
		if f.watch {
			return printLine(w, podview.Of(pod, f.kind))
		}
		return printable(w, podview.Of(pod, f.kind))
	case "yaml":
		return printYAML(w, podview.Of(pod, f.kind))
	}
	var text bytes.Buffer
	redraw := f.watch && terminal(w)
	if redraw {
		text.WriteString("\x1b[H\x1b[2J")
	}
	if err := podview.Table(&text, pod, f.kind, f.output == "wide"); err != nil {
		return err
	}
	if f.watch && !redraw {
		text.WriteByte('\n')
	}
	_, err := w.Write(text.Bytes())
	return err
}
