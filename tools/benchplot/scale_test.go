package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
)

const scalePrinted = `{"broker": "b<1>", "records": 400000, "size": 100, "cpus": 2, "scale": {
 "sessions": [
  {"processes": 1, "speed": {"median": 0.9, "low": 0.8, "high": 1.1, "pairs": 8}, "cpu": {"median": 1.4, "low": 1.3, "high": 1.5}, "peak_rss_bytes": {"median": 52428800}},
  {"processes": 50, "speed": {"median": 0.75, "low": 0.7, "high": 0.8, "pairs": 8}, "cpu": {"median": 1.1, "low": 1, "high": 1.2}, "idle_rss_bytes": {"median": 40000},
   "busy_bytes": {"median": 2097152}, "peak_rss_bytes": {"median": 157286400}}],
 "partitions": [
  {"partitions": 6, "ratios": [{"name": "library", "speed": {"median": 1.1}, "cpu": {"median": 1}}, {"name": "sidecar", "speed": {"median": 0.87}, "cpu": {"median": 1.3}}]},
  {"partitions": 1000, "ratios": [{"name": "library", "speed": {"median": 1}, "cpu": {"median": 1.05}}, {"name": "sidecar", "speed": {"median": 0.8}, "cpu": {"median": 1.35}}]}]}}`

func TestScaleIsDrawn(t *testing.T) {
	var r result
	if err := json.Unmarshal([]byte(scalePrinted), &r); err != nil {
		t.Fatal(err)
	}
	drawn, err := r.draw("load < 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<title>1: 0.9 (0.8 … 1.1)</title>", "<title>50: 0.75 (0.7 … 0.8)</title>", "<title>50: 150 (", "<title>50: 40 (", "<title>1000: 0.8 (", ">1,000</text>",
		">library</text>", ">sidecar</text>", "400,000 records of 100 bytes a run, 8 pairs each, 2 CPUs, b&lt;1&gt;", "load &lt; 1",
	} {
		if !strings.Contains(drawn, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(drawn)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
	if strings.Contains(drawn, "NaN") || strings.Contains(drawn, "Inf") {
		t.Error("a place that is no number")
	}
}

// An interval that reaches below nothing does not leave its chart.
func TestLessThanNothingIsOnTheAxis(t *testing.T) {
	drawn := func(low string) string {
		var r result
		text := `{"scale": {"sessions": [{"processes": 50, "speed": {"median": 0.7}, "cpu": {"median": 1.1}, "idle_rss_bytes": {"median": 40000, "low": ` + low + `, "high": 50000}}]}}`
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		all, err := r.draw("")
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile("<title>.*?</title>").ReplaceAllString(all, "")
	}
	if drawn("-900000") != drawn("0") {
		t.Error("it is drawn elsewhere than one that reaches down to nothing")
	}
}

// Each series may be alone, and a single point has no line to lie on.
func TestOneSeriesOfScaleIsDrawn(t *testing.T) {
	for _, text := range []string{
		`{"scale": {"sessions": [{"processes": 50, "speed": {"median": 0.7}, "cpu": {"median": 1.1}}]}}`,
		`{"scale": {"partitions": [{"partitions": 6, "ratios": [{"name": "library", "speed": {"median": 1}, "cpu": {"median": 1}}]}]}}`,
	} {
		var r result
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if drawn, err := r.draw(""); err != nil || strings.Contains(drawn, "NaN") || strings.Count(drawn, "<circle") != 2 {
			t.Errorf("%v\n%s", err, drawn)
		}
	}
	if _, err := (&result{Scale: &scale{}}).draw(""); err == nil {
		t.Error("drawn of nothing")
	}
}

func TestTicks(t *testing.T) {
	for highest, want := range map[float64]float64{1: 0.2, 1.4: 0.5, 3.2: 1, 7: 2, 150: 50, 0: 1, 0.04: 0.01} {
		if got := tick(highest); got < want*0.99 || got > want*1.01 {
			t.Errorf("up to %v: %v, want %v", highest, got, want)
		}
	}
}
