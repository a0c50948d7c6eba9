package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/lag"
)

const lagIntro = `Reads the committed offsets and the log ends of any group a few times, and says for each partition and for the group
whether it keeps up. The group need not be Ackmark's.

  stalled   nothing was committed in the whole window, though something waited all the time; known after 10 s
  growing   it commits, and every lag of the window's second half is above every one of its first half
  draining  every lag of the second half is below every one of the first half
  ok        it has caught up within the window, or commits and keeps its distance
  unknown   it cannot be read, or the window is too short to tell; one reading tells only who has caught up

The group's verdict is the worst of its partitions', in the order stalled, growing, unknown, draining, ok.

A lag is a number of offsets, from the committed one to the end of the log: in compacted topics, and where transactions
are written, there are fewer records. ABOVE (-o wide) is how many of them are done already, in an Ackmark commit.`

// lagFlags are what is written on the command line.
type lagFlags struct {
	cluster       clusterFlags
	group, output string
	topics        []string
	window, every time.Duration
	watch         bool
}

// NewLagCommand returns `ackmark lag`.
func NewLagCommand() *cobra.Command {
	var f lagFlags
	cmd := &cobra.Command{
		Use: "lag", Short: "Say whether a consumer group keeps up: ok, growing, stalled, draining", Long: lagIntro, Args: noArgs,
		Example: `  ackmark lag --brokers kafka:9092 --group billing
  ackmark lag --brokers kafka:9092 --group billing --window 1m -o wide
  ackmark lag --brokers kafka:9092 --group billing --watch
  ackmark lag --brokers kafka:9092 --group billing --window 2m -o json || page-somebody    # cron`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addClusterFlags(cmd, &f.cluster)
	set := cmd.Flags()
	set.StringVar(&f.group, "group", "", "consumer group (required)")
	set.StringSliceVar(&f.topics, "topic", nil, "only this topic; repeatable (default: all that the group reads or has committed)")
	set.DurationVar(&f.window, "window", lag.MinStall+time.Second, "how long to look before a verdict; 0s: one reading")
	set.DurationVar(&f.every, "every", 2*time.Second, "how often to read")
	set.BoolVar(&f.watch, "watch", false, "go on until Ctrl-C, with a verdict over the last window after each reading")
	set.StringVarP(&f.output, "output", "o", "table", "table, wide, json or yaml")
	return cmd
}

func (f *lagFlags) check(cmd *cobra.Command) error {
	if err := errors.Join(refuseEmpty(cmd, "topic"), oneOfWords("--output", f.output, "table", "wide", "json", "yaml")); err != nil {
		return err
	}
	if err := f.cluster.check(); err != nil {
		return err
	}
	switch {
	case f.group == "":
		return usageError{errors.New("--group is missing; name the consumer group")}
	case f.window < 0 || f.window > 24*time.Hour:
		return usageError{fmt.Errorf("--window is %s; it must be 0s, which is one reading, to 24h", f.window)}
	case f.every < 100*time.Millisecond:
		return usageError{fmt.Errorf("--every is %s; it must be at least 100ms", f.every)}
	case f.window > 0 && f.window < f.every:
		return usageError{fmt.Errorf("--every is %s, longer than --window %s; there would be one reading", f.every, f.window)}
	case f.window/f.every > 10_000:
		return usageError{fmt.Errorf("--every is %s: more than 10000 readings in --window %s; read less often", f.every, f.window)}
	}
	return nil
}

// run gives every failure exit code 2: no answer must not look like one.
func (f *lagFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if err := f.check(cmd); err != nil {
		return err
	}
	client, err := f.cluster.client("ackmark-lag")
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	verdict, err := f.look(ctx, cmd, client)
	switch {
	case ctx.Err() != nil:
		return codedError{errInterrupted, ExitKilled}
	case err != nil:
		return codedError{err, ExitUsage}
	}
	return lagExit(f.group, verdict)
}

// lagExit is how the command ends with a verdict: nil for one that nobody need be called for.
func lagExit(group string, v lag.Verdict) error {
	group = letters.Printable(group)
	switch v {
	case lag.OK, lag.Draining:
		return nil
	case lag.Stalled, lag.Growing:
		return codedError{fmt.Errorf("group %s is %s", group, v), ExitFailed}
	}
	return codedError{fmt.Errorf("it is unknown whether group %s keeps up; see the notes", group), ExitUsage}
}

// look reads until the window is full, or for ever.
func (f *lagFlags) look(ctx context.Context, cmd *cobra.Command, client *kgo.Client) (lag.Verdict, error) {
	var w lagWindow
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	began := time.Now()
	last := "" // what was said to be wrong
	view := lagView{out: cmd.OutOrStdout(), format: f.output, watch: f.watch, redraw: f.watch && terminal(cmd.OutOrStdout())}
	for {
		r, err := readLag(ctx, client, f.group, f.topics)
		full := time.Since(began) >= f.window
		switch {
		case err == nil:
			w.add(r, time.Now(), f.window)
			last = ""
		case ctx.Err() != nil, full && !f.watch, errors.Is(err, errNotAllowed):
			return lag.Unknown, err
		default: // a broker that restarts, perhaps: the next reading may come
			if said := oneLine(err); said != last {
				fmt.Fprintln(cmd.ErrOrStderr(), "ackmark: "+said)
				last = said
			}
		}
		if err == nil && (f.watch || full) {
			report := w.report(f.group)
			if err := view.print(report); err != nil {
				return lag.Unknown, err
			}
			if !f.watch {
				return report.Verdict, nil
			}
		}
		select {
		case <-ctx.Done():
			return lag.Unknown, ctx.Err()
		case <-tick.C:
		}
	}
}
