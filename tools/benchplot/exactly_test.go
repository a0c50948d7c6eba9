package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const printed = `{"broker": "b", "records": 1000, "size": 100, "cpus": 2, "contestants": [
 {"name": "bare", "runs": [{"wall_ns": 1}]},
 {"name": "sidecar-exactly-once-100ms", "runs": [{"wall_ns": 2000000000, "broker_cpu_ns": 4000}, {"wall_ns": 1000000000, "broker_cpu_ns": 2000}]},
 {"name": "sidecar", "runs": [{"wall_ns": 1000000000}]}],
 "latency": {"paths": [{"name": "sidecar-exactly-once-100ms", "P50": 61.5}]}}`

func TestPoints(t *testing.T) {
	var r result
	if err := json.Unmarshal([]byte(printed), &r); err != nil {
		t.Fatal(err)
	}
	all, err := points(&r)
	if err != nil || len(all) != 2 || all[0].every != 0 || all[0].speed != 1000 {
		t.Fatalf("%+v, %v", all, err)
	}
	if p := all[1]; p.every != 100*time.Millisecond || p.latency != 61.5 || p.speed != 1000/1.5 || p.broker != 3 || p.runs != 2 {
		t.Errorf("%+v", p)
	}
	drawn := draw(&r, all, "busy")
	for _, want := range []string{"at-least-once", "every 100ms", "61.5", "667", "not measured", "busy"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	r.Contestants = r.Contestants[:1]
	if _, err := points(&r); err == nil {
		t.Error("drawn of nothing")
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{61.52: "61.5", 999: "999", 1000: "1,000", 122891.4: "122,891", 1122891: "1,122,891", 2000007: "2,000,007"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
