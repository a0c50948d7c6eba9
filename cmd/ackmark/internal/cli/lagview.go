package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/lag"
)

// lagWindow keeps the readings of a window.
type lagWindow struct {
	last   *lagReading
	at     []time.Time
	byPart map[lagPlace][]lag.Reading
}

// add takes a reading, and forgets those that are older than the window. The oldest kept spans it.
func (w *lagWindow) add(r *lagReading, now time.Time, window time.Duration) {
	if w.byPart == nil {
		w.byPart = map[lagPlace][]lag.Reading{}
	}
	old := func(at time.Time) bool { return now.Sub(at) >= window }
	w.last, w.at = r, append(forget(w.at, old, func(at time.Time) time.Time { return at }), now)
	maps.DeleteFunc(w.byPart, func(p lagPlace, _ []lag.Reading) bool { _, still := r.parts[p]; return !still })
	for p, part := range r.parts {
		w.byPart[p] = append(forget(w.byPart[p], old, func(r lag.Reading) time.Time { return r.At }), part.Reading)
	}
}

// forget drops all old ones but the newest of them.
func forget[T any](all []T, old func(time.Time) bool, at func(T) time.Time) []T {
	n := 0
	for n < len(all) && old(at(all[n])) {
		n++
	}
	return all[max(n-1, 0):]
}

// lagReport is what `ackmark lag` says.
type lagReport struct {
	Group      string      `json:"group" yaml:"group"`
	Verdict    lag.Verdict `json:"verdict" yaml:"verdict"`
	State      string      `json:"state" yaml:"state"`
	Members    int         `json:"members" yaml:"members"`
	Lag        int64       `json:"lag" yaml:"lag"` // of all partitions that can be read
	Seconds    float64     `json:"window_seconds" yaml:"window_seconds"`
	Readings   int         `json:"readings" yaml:"readings"`
	Notes      []string    `json:"notes" yaml:"notes"`
	Partitions []lagRow    `json:"partitions" yaml:"partitions"`
}

type lagRow struct {
	Topic     string      `json:"topic" yaml:"topic"`
	Partition int32       `json:"partition" yaml:"partition"`
	Verdict   lag.Verdict `json:"verdict" yaml:"verdict"`
	Lag       *int64      `json:"lag" yaml:"lag"` // null: it cannot be read
	Committed *int64      `json:"committed" yaml:"committed"`
	Start     *int64      `json:"start" yaml:"start"`
	End       *int64      `json:"end" yaml:"end"`
	Above     int64       `json:"done_above" yaml:"done_above"`
	Arriving  *float64    `json:"arriving_per_second" yaml:"arriving_per_second"` // null: one reading
	Done      *float64    `json:"done_per_second" yaml:"done_per_second"`
	Drained   *float64    `json:"drained_in_seconds" yaml:"drained_in_seconds"`
	Member    string      `json:"member" yaml:"member"`
	Notes     []string    `json:"notes" yaml:"notes"`
}

func (w *lagWindow) report(group string) *lagReport {
	r := &lagReport{
		Group: group, State: w.last.state, Members: w.last.members, Readings: len(w.at), Seconds: w.at[len(w.at)-1].Sub(w.at[0]).Seconds(), Notes: []string{}, Partitions: []lagRow{},
	}
	places := slices.SortedFunc(maps.Keys(w.byPart), func(a, b lagPlace) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	var verdicts []lag.Verdict
	for _, p := range places {
		window := w.byPart[p]
		judged := lag.Judge(window)
		verdicts = append(verdicts, judged.Verdict)
		row := rowOf(p, window[len(window)-1], judged)
		row.Member = w.last.parts[p].member
		if row.Lag != nil {
			r.Lag += *row.Lag
		}
		r.Partitions = append(r.Partitions, row)
	}
	r.Verdict = lag.Worst(verdicts)
	switch {
	case len(places) == 0 && w.last.members == 0:
		r.Notes = append(r.Notes, "the group has no members and no committed offsets (of these topics): check its name; Kafka forgets the offsets of a group that is empty for offsets.retention.minutes")
	case len(places) == 0:
		r.Notes = append(r.Notes, "the group has members, and reads no partition")
	case w.last.members == 0:
		r.Notes = append(r.Notes, "the group has no members: nobody reads, unless by partitions of its own choice")
	}
	return r
}

func rowOf(p lagPlace, now lag.Reading, judged lag.Partition) lagRow {
	row := lagRow{Topic: p.topic, Partition: p.partition, Verdict: judged.Verdict, Notes: judged.Notes}
	if row.Notes == nil {
		row.Notes = []string{}
	}
	if now.Committed != lag.None {
		row.Committed = &now.Committed
	}
	if now.Problem != "" {
		return row
	}
	row.Lag, row.Start, row.End, row.Above = &now.Lag, &now.Start, &now.End, now.Above
	if judged.Rated {
		row.Arriving, row.Done = &judged.Arriving, &judged.Done
	}
	if judged.Drained > 0 {
		seconds := judged.Drained.Seconds()
		row.Drained = &seconds
	}
	return row
}

// lagView prints reports.
type lagView struct {
	out           io.Writer
	format        string
	watch, redraw bool
}

func (v *lagView) print(r *lagReport) error {
	switch v.format {
	case "json":
		if v.watch {
			return printLine(v.out, r)
		}
		return printable(v.out, r)
	case "yaml":
		return printYAML(v.out, r)
	}
	var text bytes.Buffer
	if v.redraw {
		text.WriteString("\x1b[H\x1b[2J")
	}
	printLag(&text, r, v.format == "wide")
	if v.watch && !v.redraw {
		text.WriteByte('\n')
	}
	_, err := v.out.Write(text.Bytes())
	return err
}

// printYAML writes a document. The library escapes what is not printable.
func printYAML(w io.Writer, r any) error {
	text, err := json.Marshal(r) // so that YAML says the same as JSON does
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(letters.PrintableJSON(text), &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "---")
	enc := yaml.NewEncoder(out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return out.Flush()
}

// blockStyle lets a document that was JSON look like YAML; texts keep their quotes, and so their
// escapes.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode && len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Style = 0
		}
		blockStyle(c)
	}
}

func printLag(w io.Writer, r *lagReport, wide bool) {
	fmt.Fprintf(w, "group %s is %s: lag %d, %s, %s", letters.Printable(r.Group), r.Verdict, r.Lag, orDash(r.State), plural(int64(r.Members), "member", "members"))
	if r.Readings > 1 {
		fmt.Fprintf(w, ", %d readings in %.0f s", r.Readings, r.Seconds)
	}
	fmt.Fprintln(w)
	var notes []string
	for _, n := range r.Notes {
		notes = append(notes, "  - "+n)
	}
	if len(r.Partitions) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprint(t, "TOPIC\tPARTITION\tLAG\tVERDICT")
		if wide {
			fmt.Fprint(t, "\tCOMMITTED\tSTART\tEND\tABOVE\tARRIVING/S\tDONE/S\tDRAINED IN\tMEMBER")
		}
		fmt.Fprintln(t)
		for _, row := range r.Partitions {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s", letters.Printable(row.Topic), row.Partition, orNone(row.Lag), row.Verdict)
			if wide {
				fmt.Fprintf(t, "\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s", orNone(row.Committed), orNone(row.Start), orNone(row.End), row.Above, rate(row.Arriving), rate(row.Done), in(row.Drained), orDash(row.Member))
			}
			fmt.Fprintln(t)
			for _, n := range row.Notes {
				notes = append(notes, fmt.Sprintf("  - %s/%d: %s", letters.Printable(row.Topic), row.Partition, letters.Printable(n)))
			}
		}
		_ = t.Flush()
	}
	if len(notes) > 0 {
		fmt.Fprintf(w, "\nnotes\n%s\n", strings.Join(sameNotes(notes), "\n"))
	}
}

// sameNotes bounds the notes of a table: JSON and YAML have all of them.
func sameNotes(notes []string) []string {
	const most = 20
	if len(notes) <= most {
		return notes
	}
	return append(notes[:most:most], fmt.Sprintf("  … and %d more; -o json has them", len(notes)-most))
}

func orNone(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func rate(n *float64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *n)
}

func in(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return time.Duration(*seconds * float64(time.Second)).Round(time.Second).String()
}
