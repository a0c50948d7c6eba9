package cli

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
)

// listReport is what `ackmark dlq ls` says.
type listReport struct {
	Topic   string          `json:"topic"`
	Group   string          `json:"group"`
	New     bool            `json:"no_position"`
	Waiting int64           `json:"waiting"`
	Done    int64           `json:"done_above_mark"`
	Letters int64           `json:"letters"` // chosen
	Unnamed int64           `json:"without_source"`
	Causes  []letters.Count `json:"causes"`
}

var listColumns = []word{
	{"SOURCE", "topic that the input came from; \"-\" if the letter does not say"},
	{"LETTERS", "how many"},
	{"OLDEST", "how long ago the first was rejected"},
	{"NEWEST", "how long ago the last was rejected"},
	{"ROUNDS", "how often one of them was given back already, at most"},
	{"CODE", "Kafka's name of the error, where an output could not be written"},
	{"ERROR", "first line of the error, # for digits"},
}

// listWords explains the columns.
func listWords() string {
	var b strings.Builder
	for _, w := range listColumns {
		fmt.Fprintf(&b, "  %-8s  %s\n", w.title, w.says)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func printList(w io.Writer, r *listReport) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s: %s", r.Topic, plural(r.Waiting, "letter waits", "letters wait"))
	if r.Letters != r.Waiting {
		fmt.Fprintf(out, ", %s counted here", plural(r.Letters, "is", "are"))
	}
	fmt.Fprintf(out, " (position: group %s)\n", letters.Printable(r.Group))
	if r.New {
		fmt.Fprintln(out, noPosition)
	}
	if len(r.Causes) > 0 {
		fmt.Fprintln(out)
		t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		titles := make([]string, len(listColumns))
		for i, c := range listColumns {
			titles[i] = c.title
		}
		fmt.Fprintln(t, strings.Join(titles, "\t"))
		for _, c := range r.Causes {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%s\t%s\n", orDash(c.Source), c.Count, ago(c.Oldest), ago(c.Newest), c.Rounds, orDash(c.Code), orDash(c.Error))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if r.Unnamed > 0 {
		fmt.Fprintf(out, "\n%s by another program, without a header that names the topic: redrive needs --to\n", plural(r.Unnamed, "letter was written", "letters were written"))
	}
	return out.Flush()
}

const noPosition = "no position yet: nothing was redriven or discarded, or Kafka forgot it (offsets.retention.minutes)"

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return letters.Printable(s)
}

// ago is how long ago it was, in the largest unit of which there are two.
func ago(at time.Time) string {
	d := time.Since(at)
	switch {
	case d < 0:
		return "in the future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func printLetter(w io.Writer, topic string, l *letters.Letter, done bool, format letters.Format, most int) error {
	out := bufio.NewWriter(w)
	from := "from an unknown topic"
	if l.Source != "" {
		from = fmt.Sprintf("from %s/%d@%d", letters.Printable(l.Source), l.SourcePartition, l.SourceOffset)
	}
	fmt.Fprintf(out, "%s %d:%d  %s  %s", topic, l.Partition, l.Offset, from, l.Rejected.UTC().Format(time.RFC3339))
	if l.Rounds > 0 {
		fmt.Fprintf(out, "  given back %s", plural(l.Rounds, "time", "times"))
	}
	if done {
		fmt.Fprint(out, "  (done)")
	}
	fmt.Fprintln(out)
	field := func(name string, value []byte) {
		lines, rest := letters.Value(value, letters.Text, most)
		fmt.Fprintf(out, "  %s  %s%s\n", name, strings.Join(lines, `\n`), left(rest))
	}
	field("key", l.Key)
	for _, h := range l.Headers {
		field("header "+letters.Printable(h.Key[:min(len(h.Key), most)])+":", h.Value)
	}
	lines, rest := letters.Value(l.Value, format, most)
	fmt.Fprintf(out, "  value  %s\n", plural(int64(len(l.Value)), "byte", "bytes"))
	for _, line := range lines {
		fmt.Fprintln(out, "    | "+line)
	}
	if rest > 0 {
		fmt.Fprintf(out, "    %s; --bytes shows more\n", strings.TrimSpace(left(rest)))
	}
	fmt.Fprintln(out)
	return out.Flush()
}

func left(rest int) string {
	if rest == 0 {
		return ""
	}
	return fmt.Sprintf(" … and %s", plural(int64(rest), "byte", "bytes"))
}

func printShown(w io.Writer, shown int, more bool) error {
	var err error
	switch {
	case shown == 0:
		_, err = fmt.Fprintln(w, "no letter waits that is chosen; --all shows those that were redriven or discarded too")
	case more:
		_, err = fmt.Fprintf(w, "%s; there are more: --limit shows them\n", plural(int64(shown), "letter", "letters"))
	}
	return err
}

// bytesJSON are bytes that may be text.
type bytesJSON struct {
	Text *string `json:"text,omitempty"`
	Hex  *string `json:"hex,omitempty"`
	Left int     `json:"bytes_left_out,omitempty"`
}

func asJSON(b []byte, most int) *bytesJSON {
	if b == nil {
		return nil
	}
	j := bytesJSON{Left: max(len(b)-most, 0)}
	b = b[:len(b)-j.Left]
	if text := string(b); utf8.Valid(b) {
		j.Text = &text
	} else {
		digits := hex.EncodeToString(b)
		j.Hex = &digits
	}
	return &j
}

type headerJSON struct {
	Key   string     `json:"key"`
	Value *bytesJSON `json:"value"`
}

type oneLetterJSON struct {
	Partition       int32        `json:"partition"`
	Offset          int64        `json:"offset"`
	Source          string       `json:"source,omitempty"`
	SourcePartition int32        `json:"source_partition"` // -1: not said
	SourceOffset    int64        `json:"source_offset"`
	Group           string       `json:"group,omitempty"`
	Error           string       `json:"error,omitempty"`
	Code            string       `json:"code,omitempty"`
	Attempts        string       `json:"attempts,omitempty"`
	Rejected        time.Time    `json:"rejected"`
	Rounds          int64        `json:"rounds"`
	Done            bool         `json:"done"`
	Key             *bytesJSON   `json:"key"`
	Value           *bytesJSON   `json:"value"`
	Headers         []headerJSON `json:"headers"`
}

func letterJSON(l *letters.Letter, done bool, most int) oneLetterJSON {
	j := oneLetterJSON{
		Partition: l.Partition, Offset: l.Offset, Source: l.Source, SourcePartition: l.SourcePartition, SourceOffset: l.SourceOffset,
		Group: l.Group, Error: l.Error, Code: l.Code, Attempts: l.Attempts, Rejected: l.Rejected.UTC(), Rounds: l.Rounds, Done: done,
		Key: asJSON(l.Key, most), Value: asJSON(l.Value, most), Headers: []headerJSON{},
	}
	for _, h := range l.Headers {
		j.Headers = append(j.Headers, headerJSON{h.Key, asJSON(h.Value, most)})
	}
	return j
}

// printable writes JSON that a terminal only prints.
func printable(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(letters.PrintableJSON(text), '\n'))
	return err
}

func printLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(letters.PrintableJSON(text), '\n'))
	return err
}
