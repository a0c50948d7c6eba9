package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
)

// ownRows are the rows of Ackmark that a contestant is held against: who is at-least-once against
// those that are it, too; who is exactly-once against all.
func ownRows(name string) []string {
	rows := []string{"ackmark-direct", "ackmark-sidecar"}
	if slices.Contains([]string{"franz-transact", "kafka-streams-exactly-once"}, name) {
		rows = append(rows, "ackmark-exactly-once")
	}
	return rows
}

func isOwn(name string) bool { return strings.HasPrefix(name, "ackmark-") }

// wins says, for every other contestant, in what it was better than a row of Ackmark's.
func wins(r *result) (all []string) {
	for _, s := range r.Speed {
		if isOwn(s.Name) || len(s.Runs) == 0 {
			continue
		}
		for _, m := range []struct {
			what  string
			value func(speedRun) float64
		}{{"faster", seconds}, {"less CPU of its own", cpu}, {"less CPU of the broker", brokerCPU}} {
			if over := beaten(r, s, m.value); len(over) > 0 {
				all = append(all, fmt.Sprintf("%s: %s than %s", r.Titles[s.Name], m.what, strings.Join(over, ", ")))
			}
		}
	}
	all = append(all, killWins(r, r.Kills, "")...)
	return append(all, killWins(r, r.Static, ", as static members")...)
}

// beaten are Ackmark's rows that cost more, with the figures of both.
func beaten(r *result, s speedOf, value func(speedRun) float64) (over []string) {
	theirs := s.of(value)
	for _, name := range ownRows(s.Name) {
		own, ok := r.speedNamed(name)
		if !ok {
			continue
		}
		ours := own.of(value)
		if theirs.Median < ours.Median {
			over = append(over, fmt.Sprintf("%s (%s against %s s a million%s)", r.Titles[name], figure(theirs.Median), figure(ours.Median), doubt(theirs, ours)))
		}
	}
	return over
}

// doubt says that two intervals overlap: another run may show it the other way round.
func doubt(a, b tally.Interval) string {
	if a.High >= b.Low && b.High >= a.Low {
		return "; the intervals overlap"
	}
	return ""
}

// sameStall is what two stalls may differ by without a word: polls and the machine's moods.
const sameStall = 50 * time.Millisecond

func killWins(r *result, kills []killsOf, how string) (all []string) {
	for _, k := range kills {
		if isOwn(k.Name) || k.Kills == 0 {
			continue
		}
		var over []string
		for _, name := range ownRows(k.Name) {
			own, ok := killsNamed(kills, name)
			if !ok && how != "" { // who is no static member does without
				own, ok = killsNamed(r.Kills, name)
			}
			var better []string
			if k.Lost < own.Lost {
				better = append(better, fmt.Sprintf("%d lost against %d", k.Lost, own.Lost))
			}
			if k.Repeated < own.Repeated {
				better = append(better, fmt.Sprintf("%d repeated against %d", k.Repeated, own.Repeated))
			}
			if k.Stall < own.Stall-sameStall {
				better = append(better, fmt.Sprintf("stalled %s against %s", stall(k.Stall), stall(own.Stall)))
			}
			if ok && len(better) > 0 {
				over = append(over, fmt.Sprintf("%s of %s", strings.Join(better, ", "), r.Titles[name]))
			}
		}
		if len(over) > 0 {
			all = append(all, fmt.Sprintf("%s%s, of kill -9: %s", r.Titles[k.Name], how, strings.Join(over, "; ")))
		}
	}
	return all
}

// goals are what the sidecar's way is to reach against each peer, with what was measured.
func goals(r *result) (all []string) {
	sidecar, ok := r.speedNamed(reference)
	if !ok {
		return nil
	}
	for _, s := range r.Speed {
		if isOwn(s.Name) || len(s.Runs) == 0 {
			continue
		}
		ratio := s.against(sidecar, seconds)
		want, of := 2.0, "of its speed"
		if s.Name == "franz-marks" {
			want = 0.85
		} else if slices.Contains([]string{"franz-sync", "franz-transact"}, s.Name) {
			continue
		}
		reached := "reached"
		if ratio.High < want {
			reached = "missed"
		} else if ratio.Low < want {
			reached = "not decided"
		}
		all = append(all, fmt.Sprintf("Ackmark's sidecar against %s: %s %s (%s), wanted %.2f: %s", r.Titles[s.Name], figure(ratio.Median), of, spread(ratio), want, reached))
	}
	return all
}
