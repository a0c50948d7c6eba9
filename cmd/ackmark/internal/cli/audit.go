package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/audit"
)

const auditIntro = `Reads the input topics of a consumer group and the output topics that its apps write, and says which inputs are
lost, duplicated, reordered or in flight. Outputs must say what they were made from: set pipeline.Config.SourceHeaders,
or write the same headers in your own code (docs/migrating.md).`

const auditOutro = `An output's headers name its group and how many outputs its input has. Older headers, and some written by hand, do not:
then CLEAN says that another group's outputs, or a missing last output, would not be noticed.

What was deleted is read from offsets, never from the times in records: producers may set any. An input that misses an
output is lost where the output topics still have all that was ever written, and undecided where some is gone. Times
that brokers set (message.timestamp.type=LogAppendTime, inputs and outputs) decide more: what came more than ten minutes
after the deleted outputs is lost. --trust-clocks believes all times in this way, and with --from reads the outputs from
ten minutes before it; without, it reads them from their start.

--exactly-once is for groups that run so (docs/guarantees.md): it looks with the eyes of a reader of committed records
(isolation.level=read_committed), who must see each output once. What aborted transactions left in the topics is counted
apart, by reading the outputs a second time. Other readers see that, too.

A group that took over another's work finds its outputs as other group: --also-group billing-old counts them. Do not
name a group that reads the same inputs beside this one: its outputs would hide what this group loses.

It only reads. It may run while the pipeline runs: it looks at what was there when it began, and ends. Topics may be
larger than memory: one entry per record is sorted in files (--temp-dir, about 6 bytes per input and 35 per output),
with --memory for sorting; beside it one fetch response (8 MiB) per broker, and what one batch inflates to.`

// auditFlags are what is written on the command line.
type auditFlags struct {
	cluster                     clusterFlags
	o                           audit.Options
	expect, from, until, memory string
	order, isolation, list      string
	json, strict                bool
}

// NewAuditCommand returns `ackmark audit`.
func NewAuditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Args: noArgs, Short: "Prove for your own topics that nothing was lost, duplicated or reordered", Long: auditIntro + "\n\n" + auditWords() + "\n" + auditOutro,
		Example: `  ackmark audit --brokers kafka:9092 --group billing --output invoices --output billing.dead
  ackmark audit --brokers kafka:9092 --group billing --output invoices --expect 0..    # handlers may filter
  ackmark audit --brokers kafka:9092 --group billing --output invoices --from 2h --strict
  ackmark audit --brokers kafka:9092 --group billing --also-group billing-old --output invoices    # renamed group
  ackmark audit --brokers kafka:9092 --group billing --output invoices --exactly-once
  ackmark audit --brokers kafka:9092 --group billing --output invoices --list findings.jsonl
  ackmark audit --brokers kafka:9092 --group billing --output invoices --json | jq .counts`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	set := cmd.Flags()
	addClusterFlags(cmd, &f.cluster)
	set.StringVar(&f.o.Group, "group", "", "consumer group whose commits say what is done (required)")
	set.StringSliceVar(&f.o.AlsoGroups, "also-group", nil, "group whose outputs count as well, because this group took over from it; repeatable")
	set.StringSliceVar(&f.o.Outputs, "output", nil, "topic that the group's apps write, the dead-letter topic too; repeatable (required)")
	set.StringSliceVar(&f.o.Inputs, "input", nil, "topic that the group reads; repeatable (default: all that it has committed offsets for)")
	set.StringVar(&f.expect, "expect", "1..", "outputs of each input: 1, 1.., 0..2; 0 is for handlers that filter")
	set.StringVar(&f.from, "from", "", "only inputs from this time on: 2026-01-31T10:00:00Z, or 2h (ago)")
	set.StringVar(&f.until, "until", "", "only inputs before this time")
	set.BoolVar(&f.o.TrustClocks, "trust-clocks", false, "records carry the true time at which they were written: decide by it what retention deleted")
	set.StringVar(&f.order, "order", "key", "what must be in order: key, partition or none")
	set.StringVar(&f.isolation, "isolation", "read_committed", "read_committed, or read_uncommitted for groups that consume so")
	set.BoolVar(&f.o.ExactlyOnce, "exactly-once", false, "the group runs exactly-once: exit code 1 also for what is duplicated or more than expected; counts what was aborted")
	set.BoolVar(&f.strict, "strict", false, "exit code 1 also for what is duplicated, reordered or more than expected")
	set.BoolVar(&f.json, "json", false, "print the report as JSON, with all findings")
	set.StringVar(&f.list, "list", "", "write all findings into this file, one JSON object a line")
	set.StringVar(&f.memory, "memory", "256MiB", "memory for sorting")
	set.StringVar(&f.o.TempDir, "temp-dir", "", "where the sorted files go (default: the system's directory for temporary files)")
	return cmd
}

// run gives every failure but a loss exit code 2: no answer must not look like one.
func (f *auditFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	err := f.audit(ctx, cmd)
	if _, coded := errors.AsType[codedError](err); err == nil || coded {
		return err
	}
	if ctx.Err() != nil {
		return codedError{errors.New("interrupted; nothing was decided"), ExitKilled}
	}
	if option, ok := errors.AsType[*audit.OptionError](err); ok && option.Topic != "" {
		if near := settings.Nearest(option.Topic, option.Known); near != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		} else {
			err = fmt.Errorf("%w; check its name and the permission to describe it", err)
		}
	}
	return codedError{err, ExitUsage}
}

func (f *auditFlags) audit(ctx context.Context, cmd *cobra.Command) (err error) {
	if err := errors.Join(refuseEmpty(cmd, "list", "temp-dir"), refuseZero(cmd, "memory")); err != nil {
		return err
	}
	if err := f.parse(); err != nil {
		return err
	}
	if f.o.Client, err = f.cluster.client("ackmark-audit"); err != nil {
		return err
	}
	defer f.o.Client.Close()
	out, err := newFindings(f.list, f.json, f.o.TempDir)
	if err != nil {
		return err
	}
	defer out.close()
	f.o.Findings = out.writer()
	f.o.Progress = new(audit.Progress)
	stop := showAudit(cmd.ErrOrStderr(), f.o.Progress)
	report, err := audit.Run(ctx, f.o)
	stop()
	if err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	if f.json {
		err = printAuditJSON(cmd.OutOrStdout(), report, out)
	} else {
		err = printAudit(cmd.OutOrStdout(), report, f.list, f.strict)
	}
	if err != nil {
		return err
	}
	return f.verdict(report)
}

func (f *auditFlags) verdict(r *audit.Report) error {
	c := r.Counts
	switch {
	case r.Verdict == audit.VerdictLost:
		return codedError{fmt.Errorf("%s lost", plural(c.Lost, "input is", "inputs are")), ExitFailed}
	case r.Verdict == audit.VerdictUndecided:
		return codedError{errors.New("it could not be decided whether something is lost; see the notes"), ExitUsage}
	case f.o.ExactlyOnce && !*r.ExactlyOnce:
		return codedError{errors.New(notOnceText(c) + " (--exactly-once)"), ExitFailed}
	case f.strict && refusedByStrict(c) != "":
		return codedError{errors.New(refusedByStrict(c) + " (--strict)"), ExitFailed}
	}
	return nil
}

// parse turns texts into options.
func (f *auditFlags) parse() error {
	if err := f.cluster.check(); err != nil {
		return err
	}
	expect, err := audit.ParseExpect(f.expect)
	if err != nil {
		return usageError{fmt.Errorf("--expect is %q; %w", f.expect, err)}
	}
	f.o.Expect, f.o.Order = &expect, audit.Order(f.order)
	if f.o.From, err = pointInTime("--from", f.from); err != nil {
		return err
	}
	if f.o.Until, err = pointInTime("--until", f.until); err != nil {
		return err
	}
	if f.o.Memory, err = settings.ParseCount(f.memory); err != nil {
		return usageError{fmt.Errorf("--memory %w", err)}
	}
	switch f.isolation {
	case "read_committed":
	case "read_uncommitted":
		f.o.ReadUncommitted = true
	default:
		return usageError{fmt.Errorf("--isolation is %q; write read_committed or read_uncommitted", f.isolation)}
	}
	return nil
}

// pointInTime reads a time, or how long ago it was.
func pointInTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError{fmt.Errorf("%s is %q; write a time like 2026-01-31T10:00:00Z, or how long ago it was, like 90m", flag, text)}
	}
	return t, nil
}

// findings is where all findings go: into the file of --list, or one that --json is printed from.
type findings struct {
	file *os.File
	out  *bufio.Writer
	temp bool
}

func newFindings(list string, json bool, tempDir string) (*findings, error) {
	var f findings
	var err error
	switch {
	case list != "":
		if f.file, err = os.Create(list); err != nil {
			return nil, usageError{fmt.Errorf("--list: %w", err)}
		}
	case json:
		if f.file, err = os.CreateTemp(tempDir, "ackmark-findings-"); err != nil {
			return nil, usageError{fmt.Errorf("--temp-dir: %w", err)}
		}
		f.temp = true
	default:
		return &f, nil
	}
	f.out = bufio.NewWriter(f.file)
	return &f, nil
}

// writer is nil where nobody wants all of them.
func (f *findings) writer() io.Writer {
	if f.file == nil {
		return nil
	}
	return f.out
}

func (f *findings) flush() error {
	if f.file == nil {
		return nil
	}
	return f.out.Flush()
}

func (f *findings) close() {
	if f.file == nil {
		return
	}
	f.file.Close()
	if f.temp {
		os.Remove(f.file.Name())
	}
}
