package main

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// measured is a result in which one peer is faster, one needs less of the broker, and one loses.
func measured() *result {
	r := &result{
		Versions: map[string]string{}, Titles: map[string]string{}, Missing: map[string]string{"watermill": "no compiler\nsecond line"},
		Inputs: 1000, Size: 100, Partitions: 6, Rounds: 2, KillCount: 4, Rate: 500, Machine: "<a machine & more>",
	}
	for name, v := range map[string][3]float64{"ackmark-sidecar": {2, 3, 1}, "franz-marks": {1, 2, 1.5}, "sarama": {6, 4, 0.5}} {
		s := speedOf{Name: name}
		for round := range 2 {
			f := 1 + float64(round)/100
			s.Runs = append(s.Runs, speedRun{Round: round + 1, Records: 900, Seconds: v[0] * f, CPU: v[1] * f, BrokerCPU: v[2] * f, Done: true})
		}
		r.Speed = append(r.Speed, s)
	}
	r.Speed = append(r.Speed, speedOf{Name: "kafka-go", Failed: []string{"round 1: it ended\n log"}})
	r.Kills = []killsOf{
		{Name: "ackmark-sidecar", Kills: 4, Inputs: 9000, Stall: 700 * time.Millisecond},
		{Name: "franz-marks", Kills: 4, Inputs: 9000, Lost: 3, Repeated: 1200, Stall: 45 * time.Second},
		{Name: "sarama", Kills: 4, Inputs: 9000, Stall: 10 * time.Second},
		{Name: "watermill", Note: "it had no output"},
	}
	r.Static = []killsOf{{Name: "franz-marks", Kills: 4, Repeated: 900, Stall: 500 * time.Millisecond}, {Name: "sarama", Kills: 4, Stall: 680 * time.Millisecond}}
	for _, c := range contestants {
		r.Versions[c.Name], r.Titles[c.Name] = "v1", c.Title
	}
	return r
}

func TestWhereAPeerWins(t *testing.T) {
	got := strings.Join(wins(measured()), "\n")
	want := strings.Join([]string{
		"franz-go, marks in promises: faster than Ackmark, sidecar (1.00 against 2.01 s a million)",
		"franz-go, marks in promises: less CPU of its own than Ackmark, sidecar (2.01 against 3.0",
		"sarama: less CPU of the broker than Ackmark, sidecar (0.50 against 1.00 s a million)",
		"franz-go, marks in promises, as static members, of kill -9: stalled 0.50 s against 0.70 s of Ackmark, sidecar",
	}, "\n")
	lines := strings.Split(got, "\n")
	for line := range strings.SplitSeq(want, "\n") {
		if !strings.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines:\n%s", len(lines), got)
	}
	if got := doubt(speedOf{Runs: []speedRun{{Seconds: 1}, {Seconds: 3}}}.of(seconds), speedOf{Runs: []speedRun{{Seconds: 2}}}.of(seconds)); got == "" {
		t.Error("intervals of 1 to 3 and of 2 are said to differ")
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	a := speedOf{Runs: []speedRun{{Round: 1, Seconds: 2}, {Round: 3, Seconds: 9}}}
	b := speedOf{Runs: []speedRun{{Round: 3, Seconds: 3}, {Round: 2, Seconds: 1}, {Round: 1, Seconds: 2}}}
	if got := a.against(b, seconds); got.Median != 2 || got.Low != 1 || got.High != 3 || got.Rounds != 2 {
		t.Errorf("%+v", got)
	}
}

func TestThePageAndThePicture(t *testing.T) {
	r := measured()
	text := page(r)
	for _, want := range []string{
		"| franz-go, marks in promises | 1.00 | 1.00 … 1.01 | 2.01 |", "| × 0.50 |", "| kafka-go | failed |",
		"| franz-go, marks in promises | 3 | 1,200 | 45.0 s | 900 | 0.50 s |", "| Ackmark, sidecar | 0 | 0 | 0.70 s | – | – |",
		"| Watermill (it had no output) | – | – | – |", "- kafka-go: round 1: it ended\n", "- watermill is not there: no compiler\n", "sidecar against sarama: 3.00 of its speed (3.00 … 3.00), wanted 2.00: reached",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if text := shortGrid(r).markdown(); !strings.Contains(text, "| franz-go, marks in promises | 1.00 | 2.01 | 3 | 1,200 | 45.0 s |\n") || !strings.Contains(text, "| Watermill | – | – | – | – | – |") {
		t.Error(text)
	}
	if text := page(&result{}); !strings.Contains(text, "No figures stand here yet") || strings.Contains(text, "peers.svg") {
		t.Errorf("a page of nothing:\n%s", text)
	}
	d := xml.NewDecoder(strings.NewReader(plot(r)))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal("the picture: ", err)
		}
	}
	if !strings.Contains(table(r), "longest stall") {
		t.Error(table(r))
	}
}

// Bars are never longer than their panel, and the shortest one of a logarithmic panel is seen.
func TestLengthOfBars(t *testing.T) {
	for _, c := range []struct {
		v, least, most float64
		log            bool
		want           float64
	}{
		{10, 1, 10, false, 1}, {5, 1, 10, false, 0.5}, {0, 1, 10, false, 0}, {0, 1, 10, true, 0},
		{8, 1, 8, true, 1}, {1, 1, 8, true, 0.25}, {2, 1, 8, true, 0.5}, {0, math.Inf(1), 0, true, 0},
	} {
		if got := length(c.v, c.least, c.most, c.log); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != len(contestants) {
		t.Errorf("%d of %d: %v", len(all), len(contestants), err)
	}
	if _, err := choose("franz-marks,nobody"); err == nil {
		t.Error("nobody is a contestant")
	}
	names := map[string]bool{}
	for _, c := range contestants {
		if names[c.Name] || c.ours() != isOwn(c.Name) || !c.ours() && libraries[c.program] == "" {
			t.Errorf("%s: twice, or not told apart, or of no library", c.Name)
		}
		names[c.Name] = true
	}
}
