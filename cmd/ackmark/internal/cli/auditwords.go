package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ackmark/ackmark/internal/audit"
)

// The first words of a report.
const (
	clean     = "CLEAN"
	notStrict = "NOT STRICTLY CLEAN"
	once      = "EXACTLY ONCE"
	notOnce   = "NOT EXACTLY ONCE"
	lost      = "LOST"
	undecided = "UNDECIDED"
)

// word is one of the report's words and what it says.
type word struct{ title, says string }

var verdictWords = []word{
	{clean, "nothing is lost; \"as far as can be seen\" if headers do not name the group and the number of outputs"},
	{notStrict, "with --strict: nothing is lost, but outputs are duplicated, reordered or more than expected"},
	{once, "with --exactly-once: nothing is lost, and every output is there once for a reader of committed records"},
	{notOnce, "with --exactly-once: nothing is lost, but outputs are duplicated, or more than expected"},
	{lost, "inputs are lost"},
	{undecided, "nothing is known to be lost, but something may be; the notes say why"},
}

// column is a column of the report: its title, what it says, and its number.
type column[T any] struct {
	word
	of func(T) int64
}

var inputColumns = []column[audit.Counts]{
	{word{"INPUTS", "inputs that were looked at"}, func(c audit.Counts) int64 { return c.Inputs }},
	{word{"DONE", "committed, or in the commit's done-set"}, func(c audit.Counts) int64 { return c.Done }},
	{word{lost, "done, and an output is missing"}, func(c audit.Counts) int64 { return c.Lost }},
	{word{undecided, "would be lost, but retention or compaction may have deleted the output: the notes say where"}, func(c audit.Counts) int64 { return c.Undecided }},
	{word{"DUPLICATED", "outputs that are there again; the bursts of repeats are by recorded incident, else by time"}, func(c audit.Counts) int64 { return c.Duplicated }},
	{
		word{"REORDERED", "outputs behind that of a later input of the same partition, in one output partition; see --order"},
		func(c audit.Counts) int64 { return c.Reordered },
	},
	{word{"SURPLUS", "outputs beyond the highest number of --expect"}, func(c audit.Counts) int64 { return c.Surplus }},
	{word{"IN FLIGHT", "not committed yet"}, func(c audit.Counts) int64 { return c.InFlight }},
	{word{"FILTERED", "done without an output, where --expect allows it"}, func(c audit.Counts) int64 { return c.Filtered }},
	{word{"DEAD LETTERS", "done by a dead letter; that is no loss"}, func(c audit.Counts) int64 { return c.DeadLettered }},
}

var outputColumns = []column[*audit.OutputReport]{
	{word{"RECORDS", "records that were looked at"}, func(o *audit.OutputReport) int64 { return o.Records }},
	{word{"UNKNOWN", "all of the next four"}, func(o *audit.OutputReport) int64 { return o.Strange() }},
	{word{"NO HEADERS", "without source headers"}, func(o *audit.OutputReport) int64 { return o.NoHeaders }},
	{word{"MALFORMED", "with source headers that cannot be read"}, func(o *audit.OutputReport) int64 { return o.Malformed }},
	{word{"OTHER TOPIC", "made from a topic that is not an input of this audit"}, func(o *audit.OutputReport) int64 { return o.OtherTopic }},
	{word{"OTHER TOPIC ID", "made from a deleted topic of the same name"}, func(o *audit.OutputReport) int64 { return o.OtherTopicID }},
	{word{"OTHER GROUP", "made by another group, which is no fault; --also-group names groups whose outputs count"}, func(o *audit.OutputReport) int64 { return o.OtherGroup }},
	{word{"OUTSIDE", "made from inputs before --from or after --until, which is no fault"}, func(o *audit.OutputReport) int64 { return o.Outside }},
}

// abortedColumn is there with --exactly-once.
var abortedColumn = column[*audit.OutputReport]{
	word{"ABORTED", "with --exactly-once: records of aborted transactions, which a reader of committed records does not see"},
	func(o *audit.OutputReport) int64 { return o.Aborted },
}

// totals are known for all output topics together only; a line for each that is not 0.
var totals = []column[audit.Unknown]{
	{word{"GONE", "outputs of inputs that are not in the topic any more"}, func(u audit.Unknown) int64 { return u.Gone }},
	{word{"NEWER", "outputs of inputs that are newer than this audit"}, func(u audit.Unknown) int64 { return u.Newer }},
}

// kindTitles are the titles of the findings: the input columns' words.
var kindTitles = map[audit.Kind]string{
	audit.Lost: "lost", audit.Undecided: "undecided", audit.Duplicated: "duplicated", audit.Reordered: "reordered", audit.Surplus: "surplus", audit.InFlight: "in flight",
}

// auditWords explains every word of the report.
func auditWords() string {
	var b strings.Builder
	list := func(title string, words []word) {
		b.WriteString(title + ":\n\n")
		for _, w := range words {
			fmt.Fprintf(&b, "  %-18s  %s\n", w.title, w.says)
		}
		b.WriteByte('\n')
	}
	list("The first line", verdictWords)
	list("INPUT, for each input topic", words(inputColumns))
	list("OUTPUT, for each output topic; all but RECORDS are not compared", words(append(slices.Clone(outputColumns), abortedColumn)))
	list("Lines, where it is not 0", words(totals))
	return strings.TrimSuffix(b.String(), "\n")
}

func words[T any](columns []column[T]) []word {
	out := make([]word, len(columns))
	for i, c := range columns {
		out[i] = c.word
	}
	return out
}

// row is a topic and its numbers.
type row[T any] struct {
	topic string
	of    T
}

func printColumns[T any](out io.Writer, first string, columns []column[T], rows []row[T]) {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, first+"\t")
	for _, c := range columns {
		fmt.Fprint(t, c.title+"\t")
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		fmt.Fprint(t, r.topic+"\t")
		for _, c := range columns {
			fmt.Fprintf(t, "%d\t", c.of(r.of))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // out is a buffer, which keeps its first error
}
