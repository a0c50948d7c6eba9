package baseline

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// Row is a figure before and after.
type Row struct {
	Of     string `json:"of"`
	Figure string `json:"figure"`
	Before Figure `json:"before"`
	After  Figure `json:"after"`
	// Change is after divided by before; 0 where one of them was not measured, or before is 0.
	Change float64 `json:"change,omitempty"`
}

// Comparison is two records side by side.
type Comparison struct {
	Before string   `json:"before"`
	After  string   `json:"after"`
	Rows   []Row    `json:"rows"`
	Notes  []string `json:"notes,omitempty"`
}

// Compare puts two records side by side: broker by broker, as they are called, and their sums.
func Compare(a, b *Record) Comparison {
	c := Comparison{Before: title(a), After: title(b)}
	if a.Machine != b.Machine {
		c.Notes = append(c.Notes, fmt.Sprintf("taken on two machines: %s; %s", a.Machine, b.Machine))
	}
	if shorter, longer := min(a.Seconds, b.Seconds), max(a.Seconds, b.Seconds); longer > 2*shorter {
		c.Notes = append(c.Notes, fmt.Sprintf("the windows differ: %.0f s and %.0f s", a.Seconds, b.Seconds))
	}
	for _, x := range a.Brokers {
		y, ok := find(b, x.Name)
		if !ok {
			gone := missing("", "not in the second record")
			y = Broker{x.Name, gone, gone, gone, gone, gone}
		}
		c.broker("broker "+x.Name, x, y)
	}
	for _, y := range b.Brokers {
		if _, ok := find(a, y.Name); !ok {
			none := missing("", "not in the first record")
			c.broker("broker "+y.Name, Broker{y.Name, none, none, none, none, none}, y)
		}
	}
	if len(a.Brokers) > 1 || len(b.Brokers) > 1 {
		c.broker("all brokers", total(a.Brokers), total(b.Brokers))
	}
	c.add("sidecars", "connections to brokers", a.Sidecars.Connections, b.Sidecars.Connections)
	c.add("sidecars", "produce requests", a.Sidecars.Produce, b.Sidecars.Produce)
	c.add("sidecars", "records", a.Sidecars.Records, b.Sidecars.Records)
	c.add("sidecars", "records a request", a.Sidecars.Batch, b.Sidecars.Batch)
	c.add("emit", "latency p50", a.Latency.P50, b.Latency.P50)
	c.add("emit", "latency p95", a.Latency.P95, b.Latency.P95)
	c.add("emit", "latency p99", a.Latency.P99, b.Latency.P99)
	return c
}

func title(r *Record) string {
	return cmp.Or(r.Name, r.At.Format("2006-01-02 15:04:05")) + fmt.Sprintf(" (%.0f s)", r.Seconds)
}

func find(r *Record, name string) (Broker, bool) {
	for _, b := range r.Brokers {
		if b.Name == name {
			return b, true
		}
	}
	return Broker{}, false
}

// total adds brokers up; a sum of which a part is missing is none.
func total(list []Broker) Broker {
	sum := func(of func(Broker) Figure) Figure {
		out := Figure{}
		for _, b := range list {
			f := of(b)
			if !f.Measured() {
				return missing(f.Unit, "not of every broker")
			}
			out.Value += f.Value
			out.Unit = f.Unit
		}
		if len(list) == 0 {
			return missing("", "no --broker")
		}
		return out
	}
	return Broker{
		"", sum(func(b Broker) Figure { return b.Connections }), sum(func(b Broker) Figure { return b.Produce }), sum(func(b Broker) Figure { return b.CPU }),
		sum(func(b Broker) Figure { return b.Heap }), sum(func(b Broker) Figure { return b.GC }),
	}
}

func (c *Comparison) broker(of string, a, b Broker) {
	c.add(of, "connections", a.Connections, b.Connections)
	c.add(of, "produce requests", a.Produce, b.Produce)
	c.add(of, "CPU", a.CPU, b.CPU)
	c.add(of, "heap", a.Heap, b.Heap)
	c.add(of, "garbage collection", a.GC, b.GC)
}

func (c *Comparison) add(of, figure string, a, b Figure) {
	r := Row{Of: of, Figure: figure, Before: a, After: b}
	if a.Measured() && b.Measured() && a.Value != 0 {
		r.Change = math.Round(b.Value/a.Value*1000) / 1000
	}
	c.Rows = append(c.Rows, r)
}

// Print writes the comparison as a table. Why a figure is missing stands below it, once.
func (c Comparison) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\t\t%s\t%s\t\n", c.Before, c.After)
	var why reasons
	for _, r := range c.Rows {
		change := ""
		if r.Change != 0 {
			change = "× " + strconv.FormatFloat(r.Change, 'g', 3, 64)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Of, r.Figure, why.shown(r.Before), why.shown(r.After), change)
	}
	return endTable(t, w, why, c.Notes)
}

// Print writes a record as a table.
func (r *Record) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\t\t%s\n", title(r))
	var why reasons
	for _, row := range Compare(r, r).Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\n", row.Of, row.Figure, why.shown(row.Before))
	}
	return endTable(t, w, why, []string{"on " + r.Machine})
}

func endTable(t *tabwriter.Writer, w io.Writer, why reasons, notes []string) error {
	if err := t.Flush(); err != nil {
		return err
	}
	for i, reason := range why {
		fmt.Fprintf(w, "[%d] not measured: %s\n", i+1, reason)
	}
	for _, n := range notes {
		fmt.Fprintf(w, "%s\n", n)
	}
	return nil
}

// reasons are why figures are missing, each once.
type reasons []string

func (rs *reasons) shown(f Figure) string {
	if !f.Measured() {
		for i, r := range *rs {
			if r == f.Reason {
				return fmt.Sprintf("– [%d]", i+1)
			}
		}
		*rs = append(*rs, f.Reason)
		return fmt.Sprintf("– [%d]", len(*rs))
	}
	switch f.Unit {
	case "bytes":
		return fmt.Sprintf("%.0f MiB", f.Value/(1<<20))
	case "cores":
		return fmt.Sprintf("%.3f cores", f.Value)
	case "":
		return strconv.FormatFloat(math.Round(f.Value*100)/100, 'f', -1, 64)
	}
	return fmt.Sprintf("%.1f %s", f.Value, f.Unit)
}
