package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/dlq"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/audit"
)

// moveFlags are those of redrive and discard.
type moveFlags struct {
	letterFlags
	rate       float64
	yes, byKey bool
	audit      bool
}

func addMoveFlags(cmd *cobra.Command, f *moveFlags) {
	addLetterFlags(cmd, &f.letterFlags)
	set := cmd.Flags()
	set.StringVar(&f.below, "below", "", "only letters below these offsets, 0:120,1:98: what a run that was stopped had chosen from")
	set.BoolVar(&f.yes, "yes", false, "do it, without a question")
	set.StringVarP(&f.output, "output", "o", "text", "text or json")
}

func newDLQRedrive() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use: "redrive", Short: "Write chosen letters to the topic they came from, or to another", Args: noArgs,
		Long: `Shows what it would do; writes with --yes, or when it is asked for on a terminal. What is not chosen stays, and waits.

Each chosen letter is written once: letters and position are in one Kafka transaction, so a run that is stopped, or
killed, goes on where it was when the same command runs again. A second run on the same topic and group fences the
first. Who reads the target topic without read_committed (consumer.Config.ReadCommitted) may see the letters of the one
transaction twice that was open at a kill: at most 500 letters.

  key, value   byte for byte, null values too
  headers      as they are; ackmark.dlq.redriven counts, ackmark-source names the letter
  timestamp    the time of the redrive
  partition    the one it came from, or by the key: --by-key, --to, or when the letter does not say
  order        that of the letters in their partition, and so of a key's letters

It stops at a letter that the target refuses, and names it. At the end an audit reads both topics whole and proves that
each letter is there once (ackmark audit); --audit=false leaves it out, of large topics or where they may not be read.`,
		Example: `  ackmark dlq redrive --brokers kafka:9092 --topic orders.dead                              # what it would do
  ackmark dlq redrive --brokers kafka:9092 --topic orders.dead --source orders --yes --rate 100
  ackmark dlq redrive --brokers kafka:9092 --topic orders.dead --offset 0:17 --yes
  ackmark dlq redrive --brokers kafka:9092 --topic other.dlq --to orders --yes --audit=false`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addMoveFlags(cmd, &f)
	set := cmd.Flags()
	set.StringVar(&f.rule.To, "to", "", "topic to write to (default: each letter's own)")
	set.Int64Var(&f.rule.MaxRounds, "max-rounds", 3, "letters that were given back so often stay: a header counts")
	set.Float64Var(&f.rate, "rate", 0, "letters per second at most; 0: no limit")
	set.BoolVar(&f.byKey, "by-key", false, "choose the partition by the key (murmur2), not the one that it came from")
	set.BoolVar(&f.audit, "audit", true, "prove the result with an audit of both topics, which it reads whole")
	return cmd
}

func newDLQDiscard() *cobra.Command {
	f := moveFlags{}
	f.rule.Discard = true
	cmd := &cobra.Command{
		Use: "discard", Short: "Let chosen letters wait no more, without writing them anywhere", Args: noArgs,
		Long: `Shows what it would do; does it with --yes, or when it is asked for on a terminal. Nothing is deleted: the position
says that the chosen letters are done, and --all of ls and show has them until retention takes them. What is not chosen stays.`,
		Example: `  ackmark dlq discard --brokers kafka:9092 --topic orders.dead --until 720h                 # what it would do
  ackmark dlq discard --brokers kafka:9092 --topic orders.dead --until 720h --yes
  ackmark dlq discard --brokers kafka:9092 --topic orders.dead --offset 0:17 --offset 2:4 --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addMoveFlags(cmd, &f)
	return cmd
}

// moveReport is what redrive and discard say.
type moveReport struct {
	Topic    string        `json:"topic"`
	Group    string        `json:"group"`
	New      bool          `json:"no_position"`
	Plan     *dlq.Plan     `json:"plan"`
	Written  bool          `json:"done"`
	Finished int64         `json:"finished"`
	Left     int64         `json:"left"`
	Audit    audit.Verdict `json:"audit,omitempty"`
}

func (f *moveFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if err := errors.Join(oneOfWords("--output", f.output, "text", "json"), f.checkMove(cmd)); err != nil {
		return err
	}
	t, client, err := f.open(ctx, cmd)
	if err != nil {
		return orCut(ctx, err)
	}
	defer client.Close()
	below, err := ends(t, f.below)
	if err != nil {
		return err
	}
	t.Lower(below)
	plan, err := dlq.MakePlan(ctx, t, &f.rule, nil)
	if err != nil {
		return orCut(ctx, noSuchTopic("--to", err))
	}
	r := &moveReport{Topic: f.topic, Group: f.group, New: t.New, Plan: plan, Left: plan.Chosen}
	if f.output == "text" {
		if err := printPlan(cmd.OutOrStdout(), r, f.rule.Discard); err != nil {
			return err
		}
	}
	if ok, err := f.agreed(cmd, r); err != nil || !ok {
		return err
	}
	return f.move(cmd, t, client, r)
}

func (f *moveFlags) checkMove(cmd *cobra.Command) error {
	if err := refuseEmpty(cmd, "below"); err != nil {
		return err
	}
	if f.rule.Discard {
		return nil
	}
	if err := refuseEmpty(cmd, "to"); err != nil {
		return err
	}
	switch {
	case f.rate < 0 || f.rate > 1e9 || f.rate != f.rate || f.rate > 0 && f.rate < 0.001:
		return usageError{fmt.Errorf("--rate is %v; write letters per second, 0.001 to 1000000000, or 0 for no limit", f.rate)}
	case f.rule.MaxRounds < 1:
		return usageError{fmt.Errorf("--max-rounds is %d; it must be positive", f.rule.MaxRounds)}
	case f.rule.To != "" && f.rule.To == f.topic:
		return usageError{fmt.Errorf("--to is %q, the dead-letter topic itself; name another topic", f.rule.To)}
	}
	return nil
}

// ends are those that --below names; what it does not name came later.
func ends(t *dlq.Topic, below string) ([]int64, error) {
	all := t.Ends()
	if below == "" {
		return all, nil
	}
	clear(all)
	list, err := pairs("--below", strings.Split(below, ","))
	if err != nil {
		return nil, err
	}
	for _, b := range list {
		if err := hasPartition("--below", t, b[0]); err != nil {
			return nil, err
		}
		all[b[0]] = b[1]
	}
	return all, nil
}

// hasPartition refuses a partition that the topic does not have.
func hasPartition(flag string, t *dlq.Topic, partition int64) error {
	if n := len(t.Ends()); partition >= int64(n) {
		return usageError{fmt.Errorf("%s has partition %d; %s has partitions 0 to %d", flag, partition, t.Name, n-1)}
	}
	return nil
}

// agreed tells whether to go on, and else ends the report.
func (f *moveFlags) agreed(cmd *cobra.Command, r *moveReport) (bool, error) {
	out := cmd.OutOrStdout()
	switch names := r.Plan.TargetNames(); {
	case r.Plan.Chosen == 0:
		if f.output == "json" {
			return false, printable(out, r)
		}
		_, err := fmt.Fprintln(out, "Nothing to do.")
		return false, err
	case f.yes && len(names) > 1 && len(f.rule.Sources) == 0:
		return false, usageError{fmt.Errorf("the letters themselves name %d topics to write to (%s); say with --source which are meant", len(names), letters.Printable(strings.Join(names[:min(len(names), 5)], ", ")))}
	case f.yes:
		return true, nil
	case f.output == "text" && atTerminal(cmd):
		return ask(cmd)
	case f.output == "json":
		return false, printable(out, r)
	}
	_, err := fmt.Fprintln(out, "Nothing was done: this is what would be. --yes does it.")
	return false, err
}

// ask waits for an answer, or for a signal.
func ask(cmd *cobra.Command) (bool, error) {
	fmt.Fprint(cmd.OutOrStdout(), "Do it? [y/N] ")
	answer := make(chan string, 1)
	go func() { // it ends with the process: a read from a terminal cannot be interrupted
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- line
	}()
	select {
	case <-cmd.Context().Done():
		return false, codedError{errors.New("interrupted; nothing was done"), ExitKilled}
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		if line == "y" || line == "yes" {
			return true, nil
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "Nothing was done.")
		return false, err
	}
}

func (f *moveFlags) move(cmd *cobra.Command, t *dlq.Topic, client *kgo.Client, r *moveReport) error {
	ctx := cmd.Context()
	opts, err := f.cluster.options("ackmark-dlq")
	if err != nil {
		return err
	}
	again := "the same command with --below " + r.Plan.Below() + f.fixedTimes()
	fmt.Fprintf(cmd.ErrOrStderr(), "to go on where it is stopped: %s\n", again)
	job := &dlq.Job{Topic: t, Rule: &f.rule, Options: opts, Rate: f.rate, ByKey: f.byKey}
	stop := showMoves(cmd.ErrOrStderr(), job, r.Plan.Chosen)
	err = job.Run(ctx, r.Plan)
	stop()
	r.Written, r.Finished = true, job.Finished.Load()
	if err != nil && ctx.Err() != nil {
		return codedError{fmt.Errorf("interrupted: %d of %d letters are %s; to go on: %s", r.Finished, r.Plan.Chosen, f.verb(), again), ExitKilled}
	}
	if err != nil {
		return fmt.Errorf("%d of %d letters are %s, then: %w", r.Finished, r.Plan.Chosen, f.verb(), err)
	}
	if r.Left, err = job.Recount(ctx); err != nil {
		return orCut(ctx, fmt.Errorf("%d letters are %s, but they could not be counted again: %w", r.Finished, f.verb(), err))
	}
	if f.audit {
		fmt.Fprintf(cmd.ErrOrStderr(), "audit: reading %s and %s whole; --audit=false leaves it out\n", letters.Printable(f.topic), letters.Printable(strings.Join(r.Plan.TargetNames(), ", ")))
		if r.Audit, err = f.prove(ctx, client, r.Plan, r.Finished); err != nil {
			return errors.Join(f.conclude(cmd, r), orCut(ctx, fmt.Errorf("%d letters are %s; the audit failed (--audit=false leaves it out): %w", r.Finished, f.verb(), err)))
		}
	}
	return f.conclude(cmd, r)
}

// fixedTimes are the times of a filter that says how long ago it was.
func (f *moveFlags) fixedTimes() (text string) {
	if f.since != "" {
		text += " --since " + f.rule.Since.UTC().Format(time.RFC3339Nano)
	}
	if f.until != "" {
		text += " --until " + f.rule.Until.UTC().Format(time.RFC3339Nano)
	}
	return text
}

func (f *moveFlags) verb() string {
	if f.rule.Discard {
		return "discarded"
	}
	return "redriven"
}

// prove audits the letters against the topics that they went to: a letter is done with one output,
// or, discarded, with none.
func (f *moveFlags) prove(ctx context.Context, client *kgo.Client, plan *dlq.Plan, finished int64) (audit.Verdict, error) {
	expect, err := audit.ParseExpect("0..1")
	if err != nil {
		return "", err
	}
	report, err := audit.Run(ctx, audit.Options{
		Client: client, Group: f.group, Inputs: []string{f.topic}, Outputs: plan.TargetNames(), Expect: &expect, Order: audit.OrderKey,
		Memory: 256 << 20, Progress: new(audit.Progress),
	})
	if err != nil {
		return "", err
	}
	c := report.Counts
	if n := c.Duplicated + c.Surplus; n > 0 {
		return "", fmt.Errorf("%s there more than once", plural(n, "letter is", "letters are"))
	}
	if there := c.Done - c.Filtered; report.Verdict == audit.VerdictClean && there < finished {
		return "", fmt.Errorf("only %d of them are there", there)
	}
	return report.Verdict, nil
}

func (f *moveFlags) conclude(cmd *cobra.Command, r *moveReport) error {
	out := cmd.OutOrStdout()
	if f.output == "json" {
		if err := printable(out, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%s %s; counted again: %s\n", plural(r.Finished, "letter is", "letters are"), f.verb(), plural(r.Left, "chosen letter waits", "chosen letters wait"))
		if r.Audit != "" {
			fmt.Fprintf(out, "audit: %s\n", r.Audit)
		}
	}
	switch {
	case r.Left > 0:
		return fmt.Errorf("%s still waiting; somebody moved the position of group %s meanwhile", plural(r.Left, "chosen letter is", "chosen letters are"), letters.Printable(f.group))
	case r.Audit == audit.VerdictLost:
		return errors.New("the audit misses letters; see `ackmark audit`")
	}
	return nil
}

func printPlan(w io.Writer, r *moveReport, discard bool) error {
	out := bufio.NewWriter(w)
	p := r.Plan
	waiting := p.Chosen
	for _, n := range p.Waiting {
		waiting += n
	}
	fmt.Fprintf(out, "%s: %s, %s chosen (position: group %s)\n", r.Topic, plural(waiting, "letter waits", "letters wait"), plural(p.Chosen, "is", "are"), letters.Printable(r.Group))
	if r.New {
		fmt.Fprintln(out, noPosition)
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, to := range p.TargetNames() {
		fmt.Fprintf(t, "  to %s\t%d\n", letters.Printable(to), p.Targets[to])
	}
	if discard && p.Chosen > 0 {
		fmt.Fprintf(t, "  to nowhere\t%d\n", p.Chosen)
	}
	for _, why := range slices.Sorted(maps.Keys(p.Waiting)) {
		fmt.Fprintf(t, "  stay: %s\t%d%s\n", why, p.Waiting[why], waitingHint(why))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p.Nulls > 0 {
		fmt.Fprintf(out, "%s a null value: a tombstone, which goes back as one\n", plural(p.Nulls, "of them has", "of them have"))
	}
	return out.Flush()
}

func waitingHint(why letters.Reason) string {
	return map[letters.Reason]string{
		letters.TooOften: "  (--max-rounds; or discard them)",
		letters.Unnamed:  "  (another program's: --to names a topic)",
		letters.Loop:     "  (--to names another topic)",
	}[why]
}

// showMoves writes the progress on a terminal until it is stopped.
func showMoves(w io.Writer, job *dlq.Job, all int64) (stop func()) {
	if !terminal(w) {
		return func() {}
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(w, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(w, "\r\x1b[K%d of %d letters", job.Finished.Load(), all)
			}
		}
	})
	return func() {
		close(done)
		wait.Wait()
	}
}
