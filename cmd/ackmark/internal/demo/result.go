package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// result is what the show found. Its JSON is the output of --json.
type result struct {
	Broker     string      `json:"broker"`
	Seed       uint64      `json:"seed"`
	Settings   settingsOut `json:"settings"`
	Ackmark    *sideResult `json:"ackmark"`
	AutoCommit *sideResult `json:"auto_commit"`
	// ExactlyOnce is there if it was asked for.
	ExactlyOnce *sideResult `json:"exactly_once,omitempty"`
	// Problems are what did not go as it should at the end; usually there are none.
	Problems []string `json:"problems,omitempty"`
	// ElapsedSeconds is the time of the whole show.
	ElapsedSeconds float64 `json:"elapsed_seconds"`
}

type settingsOut struct {
	Records               int     `json:"records"`
	RatePerSecond         float64 `json:"rate_per_second"`
	Partitions            int     `json:"partitions"`
	ProcessesPerSide      int     `json:"processes_per_side"`
	WorkMilliseconds      float64 `json:"work_milliseconds"`
	WorkersPerProcess     int     `json:"workers_per_process"`
	SessionTimeoutSeconds float64 `json:"session_timeout_seconds"`
	HeartbeatSeconds      float64 `json:"heartbeat_seconds"`
	CommitIntervalSeconds float64 `json:"commit_interval_seconds"`
	AutoCommitBuffer      int     `json:"auto_commit_buffer"`
	AutoCommitPollRecords int     `json:"auto_commit_poll_records"`
}

type sideResult struct {
	Inputs int `json:"inputs"`
	counts
	// Lost inputs have no output, and the group's commit is past them. Unfinished ones have none,
	// and it is not: nobody was so far yet.
	Lost       int `json:"lost"`
	Unfinished int `json:"unfinished"`
	// Aborted are records of aborted transactions, which a reader of committed records does not
	// see.
	Aborted int `json:"aborted,omitempty"`
	// Lag is the inputs not committed at the end.
	Lag   int64 `json:"lag"`
	Kills int   `json:"kills"`
	// HeldAtKill is what each killed process had received and not done, as it last told.
	HeldAtKill []int64 `json:"held_at_kill"`
	// Crashes are ends of processes that nobody ordered.
	Crashes             int     `json:"crashes"`
	LongestStallSeconds float64 `json:"longest_stall_seconds"`
	// BrokerConnections are the most that all processes of the side had open together,
	// ProducerConnections those of them that were for producing.
	BrokerConnections   int64 `json:"broker_connections"`
	ProducerConnections int64 `json:"producer_connections"`
}

func (s *show) newResult() *result {
	broker := strings.Join(s.Brokers, ",")
	if s.cluster.dev != nil {
		broker = "embedded"
	}
	return &result{Broker: broker, Seed: s.Seed, Settings: settingsOut{
		Records: s.Records, RatePerSecond: round(s.Rate), Partitions: s.Partitions, ProcessesPerSide: s.Processes,
		WorkMilliseconds: math.Round(seconds(s.Work)*10_000) / 10, WorkersPerProcess: s.Workers,
		SessionTimeoutSeconds: seconds(s.SessionTimeout), HeartbeatSeconds: seconds(childSpec{SessionTimeout: s.SessionTimeout}.heartbeat()),
		CommitIntervalSeconds: seconds(commitEvery), AutoCommitBuffer: bufferSize, AutoCommitPollRecords: pollRecords,
	}}
}

func (s *show) print(r *result) error {
	if s.JSON {
		enc := json.NewEncoder(s.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(s.Stdout, r.table())
	return err
}

// table is the result for people, at most 80 columns wide.
func (r *result) table() string {
	var b strings.Builder
	sides, width := []*sideResult{r.Ackmark, r.AutoCommit}, 16
	titles, below := []string{"Ackmark", "auto-commit"}, []string{"with sidecar", "no sidecar"}
	if r.ExactlyOnce != nil {
		sides, width = append(sides, r.ExactlyOnce), 14
		titles, below = append(titles, "Ackmark"), append(below, "exactly-once")
	}
	rule := strings.Repeat("─", 34+width*len(sides))
	row := func(name string, cells []string) {
		fmt.Fprintf(&b, "  %-34s", name)
		for _, cell := range cells {
			fmt.Fprintf(&b, "%*s", width, cell)
		}
		b.WriteByte('\n')
	}
	num := func(name string, of func(*sideResult) int, always bool) {
		var cells []string
		for _, x := range sides {
			always = always || of(x) != 0
			cells = append(cells, figures.Thousands(of(x)))
		}
		if always {
			row(name, cells)
		}
	}
	b.WriteByte('\n')
	row("", titles)
	row("", below)
	fmt.Fprintf(&b, "  %s\n", rule)
	num("inputs", func(x *sideResult) int { return x.Inputs }, true)
	num("outputs", func(x *sideResult) int { return x.Outputs }, true)
	num("lost", func(x *sideResult) int { return x.Lost }, true)
	num("duplicated", func(x *sideResult) int { return x.Duplicated }, true)
	num("reordered per key", func(x *sideResult) int { return x.Reordered }, true)
	// 0 is as it should be.
	num("altered", func(x *sideResult) int { return x.Altered }, false)
	num("outputs of no input", func(x *sideResult) int { return x.Foreign }, false)
	num("aborted, not for read_committed", func(x *sideResult) int { return x.Aborted }, r.ExactlyOnce != nil)
	num("not done yet at the end", func(x *sideResult) int { return x.Unfinished }, false)
	num("not committed (lag) at the end", func(x *sideResult) int { return int(x.Lag) }, false)
	num("processes that died by themselves", func(x *sideResult) int { return x.Crashes }, false)
	fmt.Fprintf(&b, "  %s\n", rule)
	num("processes killed (SIGKILL)", func(x *sideResult) int { return x.Kills }, true)
	var stalls []string
	for _, x := range sides {
		stalls = append(stalls, fmt.Sprintf("%.1f s", x.LongestStallSeconds))
	}
	row("longest stall of a partition", stalls)
	num("broker connections of the pod", func(x *sideResult) int { return int(x.BrokerConnections) }, true)
	num("  of these for producing", func(x *sideResult) int { return int(x.ProducerConnections) }, true)
	for _, p := range r.Problems {
		b.WriteString("\n" + wrap("note: "+p, 78))
	}
	b.WriteString("\n" + r.story())
	return b.String()
}

// story says what the numbers mean, also where they are kind to auto-commit.
func (r *result) story() string {
	a, o, set := r.Ackmark, r.AutoCommit, r.Settings
	text := []string{"Nobody was killed: then auto-commit loses nothing either. Run with --kills 4 to see the difference."}
	if o.Kills > 0 {
		held := fmt.Sprintf("The killed auto-commit processes held %s messages that were received and not done.", list(o.HeldAtKill))
		drained := float64(bufferSize) / (set.RatePerSecond / float64(set.ProcessesPerSide)) // seconds
		switch {
		case o.Lost > 0:
			text = []string{held + fmt.Sprintf(" An auto-commit had covered %s of them: they are lost. What was done since the last commit is repeated. "+
				"It loses when it is behind its input, and repeats when it keeps up.", figures.Thousands(o.Lost))}
		default:
			text = []string{held + fmt.Sprintf(" No commit had covered them yet, so nothing was lost this time, and %s were repeated: at this rate a process does a buffer of %s "+
				"in %s s, and commits every %g s. It loses when it holds more than it does between two commits: when it is slower, or behind its input.",
				figures.Thousands(o.Duplicated), figures.Thousands(bufferSize), perSecond(drained), set.CommitIntervalSeconds)}
		}
	}
	text = append(text, "Ackmark commits an input only when its output is acknowledged, so it loses nothing, whatever is killed.")
	if o.Kills > 0 {
		text = append(text, "When a process is killed, the sidecar finishes what it had received, commits it as that member and leaves the group for it: nothing is done twice.")
		if a.Duplicated > 0 {
			text = append(text, fmt.Sprintf("Not so this time: %s were, because a killed member's session had ended before the sidecar could commit for it; "+
				"a longer --session-timeout gives it time.", figures.Thousands(a.Duplicated)))
		}
		text = append(text, fmt.Sprintf("The stalls: a killed auto-commit member is noticed when its session times out, after %g s here and 45 s by default; "+
			"Ackmark's partitions do not wait for that.", set.SessionTimeoutSeconds))
	}
	if r.ExactlyOnce != nil {
		text = append(text, "Exactly-once commits outputs and offsets in one transaction: a reader with isolation.level=read_committed, as the one that counted here, sees every output once. "+
			"Another reader sees what was aborted, too. One sidecar commits for all of its processes.")
	}
	text = append(text, fmt.Sprintf("For producing, the pod of %d processes has the connections of one sidecar instead of %[1]d producers, and that does not grow with its processes.",
		set.ProcessesPerSide))
	return wrap(strings.Join(text, " "), 78) + fmt.Sprintf("\n  %.1f s · the same schedule again: --seed %d\n", r.ElapsedSeconds, r.Seed)
}

// wrap breaks text into lines of at most this many columns, indented by two.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		if column > 0 && column+1+len([]rune(word)) > width {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			b.WriteString("  ")
			column = 2
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len([]rune(word))
	}
	return b.String() + "\n"
}

func list(ns []int64) string {
	words := make([]string, len(ns))
	for i, n := range ns {
		words[i] = figures.Thousands(int(n))
	}
	return strings.Join(words, ", ")
}

// round keeps whole numbers, and of small ones what is not 0.
func round(rate float64) float64 {
	if rate < 10 {
		return rate
	}
	return math.Round(rate)
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10_000) / 10_000 }
