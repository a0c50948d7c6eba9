package main

import (
	"fmt"
	"strings"
	"time"
)

const pageHead = `# Beside the others

The same job (read a topic, upper-case the value, write it under the same key, commit) by Ackmark and by what one would take instead, each in a process of its own, written as
its own documentation advises, on the same real broker. ` + "`make peers`" + ` measures it, and writes this page.

`

const pageHow = `
## What is measured

- **Same for all**: acks of all replicas, an idempotent producer where the library has one (kafka-go has none), snappy, commits every second where that can be said. Everything
  else is the library's default, session time-outs included (45 s; sarama and Watermill 10 s, kafka-go 30 s).
- **The clock** is a plain reader of committed records. It starts when a fifth of the inputs has its outputs, or some seconds after the first output, so that no start of a
  process and no first rebalance is in it, and stops when all have theirs, or after a limit: slow contestants are measured by what they did until then. JVMs are still getting
  faster when it starts.
- **CPU** is that of the contestant's process (of Ackmark's sidecar, too, where there is one) between the same two moments, by /proc; the broker's is apart. Broker, reader and
  contestant share the machine's processors, so less CPU of one is more speed of all.
- **Kills**: all contestants work at the same time on the same evenly written inputs, each in a group of its own. The process gets kill -9 and is started again 0.3 s later; its
  state directory and its sidecar stay (a row of its own kills the sidecar, too). *Lost*: inputs that no output of is ever read. *Repeated*: outputs beyond the first. *Longest
  stall*: the longest time in which an input partition had no new output. Static members (` + "`group.instance.id`" + `) come back to their partitions at once; who cannot be one
  has no figure there. Who ends by itself is started again in the same way, and the table says so.
- **Exactly-once** is by transactions as each makes them: GroupTransactSession one for each poll, which under a backlog are large and late, Kafka Streams and Ackmark every
  100 ms (their default).
- Programs and driver are in [bench/peers](../bench/peers), a module of its own; each program names what it was written after.

## How to get it again

` + "```" + `
make peers   # all of it, a quarter of an hour; needs Java 17, Maven and a C compiler
go -C bench/peers run . -only franz-marks,ackmark-sidecar,sarama -parts speed -rounds 8   # some of it; -help, -list
` + "```" + `
`

// page is docs/peers.md.
func page(r *result) string {
	var b strings.Builder
	b.WriteString(pageHead)
	if len(r.Speed)+len(r.Kills) == 0 {
		b.WriteString("No figures stand here yet: they come from a quiet machine only.\n")
		b.WriteString(pageHow)
		return b.String()
	}
	fmt.Fprintf(&b, "Measured %s, in %s: %s, %d CPUs; load %s before it and %s after it; Kafka %s, %d broker(s) on the same CPUs.\n", r.Date, r.Took.Round(time.Second), r.Machine, r.CPUs, r.LoadBefore, r.LoadAfter, r.Kafka, r.Brokers)
	if len(r.Speed) > 0 {
		fmt.Fprintf(&b, "\n## What a million records cost\n\nMedians of %d rounds in rotating order, with their bootstrap intervals (95 %%); %d inputs of %d bytes, %d partitions.\n\n%s",
			r.Rounds, r.Inputs, r.Size, r.Partitions, speedGrid(r).markdown())
	}
	if len(r.Kills) > 0 {
		fmt.Fprintf(&b, "\n## What kill -9 costs\n\n%d inputs a second.\n\n%s", r.Rate, killsGrid(r).markdown())
	}
	b.WriteString("\n![The same figures as bars](img/peers.svg)\n")
	list(&b, "Where a peer wins", wins(r), "In this run nowhere.")
	list(&b, "What was aimed at", goals(r), "")
	list(&b, "Remarks", remarks(r), "")
	b.WriteString(pageHow)
	fmt.Fprintf(&b, "\n## Versions\n\n%s, %s, Kafka %s.\n\n", r.Go, r.Java, r.Kafka)
	g := grid{{"contestant", "version", "program"}}
	for _, c := range contestants {
		if v, ok := r.Versions[c.Name]; ok {
			g = append(g, []string{c.Title, v, fmt.Sprintf("[%s](../%s)", c.program, c.source())})
		}
	}
	b.WriteString(g.markdown())
	return b.String()
}

func list(b *strings.Builder, title string, lines []string, none string) {
	if len(lines) == 0 && none == "" {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", line)
	}
	if len(lines) == 0 {
		fmt.Fprintln(b, none)
	}
}

// source is where a contestant's program is, from the repository's root.
func (c contestant) source() string {
	if c.java {
		return "bench/peers/java/" + c.program + "/src/main/java/Peer.java"
	}
	return "bench/peers/peer/" + c.program + "/main.go"
}
