package chaos

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// Table prints results for people.
func Table(w io.Writer, all []Result) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "no\tfault\ttimes\tinputs\tlost\tagain\tbound\treordered\tpremature\ttakeover p50 / p99\tpeak MiB app / sidecar\tverdict")
	for _, r := range all {
		if r.Verdict == NotHere {
			continue
		}
		took := ""
		if n := len(r.Takeovers); n > 0 {
			took = fmt.Sprintf("%s / %s (%d)", show(figures.Quantile(r.Takeovers, 0.5)), show(figures.Quantile(r.Takeovers, 0.99)), n)
		}
		verdict := string(r.Verdict)
		if r.Why != "" {
			verdict += ": " + r.Why
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d of %d\t%s\t%d / %d\t%s\n", r.Row, r.Fault, r.Incidents, r.Inputs, r.Lost, r.Duplicated, r.BoundSays,
			r.Reordered, r.Premature, r.Commits, took, r.PeakApp>>20, r.PeakSidecar>>20, verdict)
	}
	_ = t.Flush()
	if !slices.ContainsFunc(all, func(r Result) bool { return r.Verdict == NotHere }) {
		return
	}
	fmt.Fprintln(w, "\nNot made here:")
	for _, r := range all {
		if r.Verdict == NotHere {
			fmt.Fprintf(t, "%d\t%s\t%s\n", r.Row, r.Fault, r.Why)
		}
	}
	_ = t.Flush()
}

func show(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
