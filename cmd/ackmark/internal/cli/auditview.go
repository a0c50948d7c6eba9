package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/audit"
)

// printAuditJSON prints the report, and the findings from their file: they need not fit into
// memory.
func printAuditJSON(w io.Writer, r *audit.Report, all *findings) error {
	head, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s,\n  \"findings\": [", bytes.TrimSuffix(head, []byte("\n}")))
	in, err := os.Open(all.file.Name())
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for comma := ""; lines.Scan(); comma = "," {
		fmt.Fprintf(out, "%s\n    %s", comma, lines.Bytes())
	}
	fmt.Fprintln(out, "\n  ]\n}")
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}

// cleanText says no more than was proven, and names what --strict does not forgive.
func cleanText(r *audit.Report, strict bool) string {
	c := r.Counts
	switch {
	case r.ExactlyOnce != nil && !*r.ExactlyOnce:
		return notOnce + ": " + notOnceText(c)
	case strict && refusedByStrict(c) != "":
		return notStrict + ": " + refusedByStrict(c)
	case r.Nameless > 0:
		return fmt.Sprintf(clean+": nothing is lost, as far as can be seen: %s not name the group and how many there are (see the notes)", plural(r.Nameless, "output does", "outputs do"))
	}
	if r.ExactlyOnce != nil {
		return once + ": nothing is lost, and every output is there once"
	}
	return clean + ": nothing is lost"
}

// notOnceText is what --exactly-once refuses though nothing is lost.
func notOnceText(c audit.Counts) string {
	return fmt.Sprintf("nothing is lost, but of the outputs are %d duplicated, %d more than expected", c.Duplicated, c.Surplus)
}

// refusedByStrict is what --strict refuses though nothing is lost: the words and the exit code ask
// the same question.
func refusedByStrict(c audit.Counts) string {
	if c.Duplicated+c.Reordered+c.Surplus == 0 {
		return ""
	}
	return fmt.Sprintf("nothing is lost, but of the outputs are %d duplicated, %d reordered, %d more than expected", c.Duplicated, c.Reordered, c.Surplus)
}

func printAudit(w io.Writer, r *audit.Report, list string, strict bool) error {
	out := bufio.NewWriter(w)
	c := r.Counts
	fmt.Fprintln(out, map[audit.Verdict]string{
		audit.VerdictClean:     cleanText(r, strict),
		audit.VerdictLost:      lost + ": " + plural(c.Lost, "input", "inputs"),
		audit.VerdictUndecided: undecided + ": see the notes",
	}[r.Verdict])
	fmt.Fprintf(out, "group %s, %s outputs per input expected, order by %s, %.1f s\n\n", r.Group, r.Expect, r.Order, r.Took)
	in := make([]row[audit.Counts], 0, len(r.Inputs))
	for _, topic := range r.Inputs {
		in = append(in, row[audit.Counts]{topic.Topic, topic.Counts()})
	}
	printColumns(out, "INPUT", inputColumns, in)
	fmt.Fprintln(out)
	outputs := make([]row[*audit.OutputReport], 0, len(r.Outputs))
	for _, o := range r.Outputs {
		outputs = append(outputs, row[*audit.OutputReport]{o.Topic, o})
	}
	columns := outputColumns
	if r.ExactlyOnce != nil {
		columns = append(slices.Clone(columns), abortedColumn)
	}
	printColumns(out, "OUTPUT", columns, outputs)
	for _, c := range totals {
		if n := c.of(r.Unknown); n > 0 {
			fmt.Fprintf(out, "\n%s: %d %s\n", c.title, n, c.says)
		}
	}
	printBursts(out, r)
	for _, kind := range audit.Kinds {
		printFindings(out, r, kind, list)
	}
	if len(r.Notes) > 0 {
		fmt.Fprint(out, "\nnotes\n")
		for _, note := range r.Notes {
			fmt.Fprintf(out, "  - %s\n", note)
		}
	}
	return out.Flush()
}

func printBursts(out io.Writer, r *audit.Report) {
	if len(r.Bursts) == 0 {
		return
	}
	fmt.Fprintf(out, "\nrepeats came in %s\n", plural(int64(len(r.Bursts)), "burst", "bursts"))
	for i, b := range r.Bursts {
		if i == audit.MaxFirst {
			fmt.Fprintf(out, "  … and %d more; --json has them\n", len(r.Bursts)-i)
			break
		}
		why := ""
		if b.Incident != "" {
			why = ", " + b.Incident
		}
		fmt.Fprintf(out, "  %s to %s: %d%s\n", b.First.Format(time.RFC3339), b.Last.Format(time.RFC3339), b.Repeats, why)
	}
}

func printFindings(out io.Writer, r *audit.Report, kind audit.Kind, list string) {
	first := r.First[kind]
	if len(first) == 0 {
		return
	}
	all := map[audit.Kind]int64{
		audit.Lost: r.Counts.Lost, audit.Undecided: r.Counts.Undecided, audit.Duplicated: r.Counts.Duplicated,
		audit.Reordered: r.Counts.Reordered, audit.Surplus: r.Counts.Surplus, audit.InFlight: r.Counts.InFlight,
	}[kind]
	fmt.Fprintf(out, "\n%s: %d\n", kindTitles[kind], all)
	for i := range first {
		fmt.Fprintf(out, "  %s\n", findingText(&first[i]))
	}
	if len(first) == audit.MaxFirst {
		where := "--list FILE or --json writes all"
		if list != "" {
			where = "all are in " + list
		}
		fmt.Fprintf(out, "  (the first %d; %s)\n", audit.MaxFirst, where)
	}
}

func findingText(f *audit.Finding) string {
	input := fmt.Sprintf("%s/%d@%d", f.Topic, f.Partition, f.Offset)
	place := func(p *audit.Place) string { return fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.Offset) }
	switch f.Kind {
	case audit.Duplicated:
		why := ""
		if f.Incident != "" {
			why = ", " + f.Incident
		}
		return fmt.Sprintf("%s output %s: at %s, again at %s, %s%s", input, f.Output, place(f.First), place(f.At), f.At.Time.Format(time.RFC3339), why)
	case audit.Reordered:
		return fmt.Sprintf("%s output %s: at %s, behind that of input %d at %s", input, f.Output, place(f.At), *f.Behind, place(f.First))
	case audit.InFlight:
		if f.Inputs == 1 {
			return input
		}
		return fmt.Sprintf("%s to %d: %d inputs", input, f.Last, f.Inputs)
	}
	text := fmt.Sprintf("%s: %s", input, plural(int64(*f.Outputs), "output", "outputs"))
	if f.Missing != nil {
		text += fmt.Sprintf(", number %d is missing", *f.Missing)
		if f.Of != nil {
			text += fmt.Sprintf(" of %d", *f.Of)
		}
	}
	if !f.Time.IsZero() {
		text += ", input of " + f.Time.Format(time.RFC3339)
	}
	return text
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// showAudit writes the progress until it is stopped: one line on a terminal, else a line every five
// seconds.
func showAudit(w io.Writer, p *audit.Progress) (stop func()) {
	onTerminal := terminal(w)
	every := 5 * time.Second
	if onTerminal {
		every = 200 * time.Millisecond
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		before := int64(0)
		for {
			select {
			case <-done:
				if onTerminal {
					fmt.Fprint(w, "\r\x1b[K")
				}
				return
			case <-tick.C:
			}
			line, records := auditProgress(p, before, every)
			before = records
			if onTerminal {
				fmt.Fprint(w, "\r\x1b[K"+line)
			} else {
				fmt.Fprintln(w, line)
			}
		}
	})
	return func() {
		close(done)
		all.Wait()
	}
}

func auditProgress(p *audit.Progress, before int64, every time.Duration) (line string, records int64) {
	percent := func(part, whole int64) float64 { return 100 * float64(part) / float64(max(whole, 1)) }
	records = p.Records.Load()
	if entries := p.Entries.Load(); entries > 0 {
		return fmt.Sprintf("comparing %3.0f%%, %d of %d entries", percent(p.Compared.Load(), entries), p.Compared.Load(), entries), records
	}
	rate := float64(records-before) / every.Seconds()
	return fmt.Sprintf("reading %3.0f%%, %d records, %.0f records/s", percent(p.Passed.Load(), p.Offsets.Load()), records, rate), records
}
