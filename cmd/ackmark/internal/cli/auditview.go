package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/ackmark/ackmark/internal/audit"
)

// printAuditJSON prints the report, and the findings from their file: they need not fit into memory.
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
	case strict && c.Duplicated+c.Reordered+c.Surplus > 0:
		return fmt.Sprintf("NOT STRICTLY CLEAN: nothing is lost, but %d outputs are duplicated, %d reordered, %d more than expected", c.Duplicated, c.Reordered, c.Surplus)
	case r.Nameless > 0:
		return fmt.Sprintf("CLEAN: nothing is lost, as far as can be seen: %s not name the group and how many there are (see the notes)", plural(r.Nameless, "output does", "outputs do"))
	}
	return "CLEAN: nothing is lost"
}

func printAudit(w io.Writer, r *audit.Report, list string, strict bool) error {
	out := bufio.NewWriter(w)
	c := r.Counts
	fmt.Fprintln(out, map[audit.Verdict]string{
		audit.VerdictClean:     cleanText(r, strict),
		audit.VerdictLost:      "LOST: " + plural(c.Lost, "input", "inputs"),
		audit.VerdictUndecided: "UNDECIDED: see the notes",
	}[r.Verdict])
	fmt.Fprintf(out, "group %s, %s outputs per input expected, order by %s, %.1f s\n\n", r.Group, r.Expect, r.Order, r.Took)
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "INPUT\tINPUTS\tDONE\tLOST\tUNDECIDED\tDUPLICATED\tREORDERED\tIN FLIGHT\tFILTERED\tDEAD LETTERS\t\n")
	for _, topic := range r.Inputs {
		n := topic.Counts()
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", topic.Topic, n.Inputs, n.Done, n.Lost, n.Undecided, n.Duplicated, n.Reordered, n.InFlight, n.Filtered, n.DeadLettered)
	}
	t.Flush()
	fmt.Fprintln(out)
	t = tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "OUTPUT\tRECORDS\tUNKNOWN\tNO HEADERS\tMALFORMED\tOTHER TOPIC\tOTHER TOPIC ID\tOTHER GROUP\tOUTSIDE\t\n")
	for _, o := range r.Outputs {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", o.Topic, o.Records, o.Strange(), o.NoHeaders, o.Malformed, o.OtherTopic, o.OtherTopicID, o.OtherGroup, o.Outside)
	}
	t.Flush()
	if u := r.Unknown; u.Gone+u.Newer > 0 {
		fmt.Fprintf(out, "\n%d outputs are of inputs that are not in the topic any more, %d of inputs newer than this audit\n", u.Gone, u.Newer)
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
	title := map[audit.Kind]string{audit.InFlight: "in flight", audit.Surplus: "more outputs than expected"}[kind]
	if title == "" {
		title = string(kind)
	}
	fmt.Fprintf(out, "\n%s: %d\n", title, all)
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

// showAudit writes the progress until it is stopped: one line on a terminal, else a line every five seconds.
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
