package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
)

// Slices whose noise is three times as large as a planted cost of 5 % show it, and that nothing
// was planted, as long as there are enough of them; and processes that differ for all their life
// widen the interval.
func TestSlicesFindAPlantedCost(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	sets := func(cost, ofProcess float64) (sets [][]float64) {
		for _, n := range slicedSets(256) {
			own := 1 + ofProcess*random.NormFloat64()
			var set []float64
			for range n {
				set = append(set, cost*own*(1+.1*random.NormFloat64())/(1+.1*random.NormFloat64()))
			}
			sets = append(sets, set)
		}
		return sets
	}
	found, nothing, wide := setsInterval(sets(1.05, .005)), setsInterval(sets(1, .005)), setsInterval(sets(1, .05))
	if found.Low < 1.02 || found.High > 1.1 || math.Abs(found.Median-1.05) > .015 || found.Pairs != 256 {
		t.Errorf("of 5 %%: %+v", found)
	}
	if nothing.Low > 1 || nothing.High < 1 {
		t.Errorf("of nothing: %+v", nothing)
	}
	if wide.High-wide.Low < 1.3*(nothing.High-nothing.Low) {
		t.Errorf("processes that differ: %+v, that do not: %+v", wide, nothing)
	}
	one := []float64{1, 2, 3, 4}
	if got := setsInterval([][]float64{one}); got != interval(one) {
		t.Errorf("of one set: %+v", got)
	}
	if sets := slicedSets(40); len(sets) != 3 || sets[2] != 8 {
		t.Errorf("40 pairs: %v", sets)
	}
}

// A gate lets through what it was opened for, says when that is done, and holds the rest until it
// is opened again, or their context ends.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		var mu sync.Mutex
		passed, held := 0, 0
		for range 100 {
			all.Go(func() {
				err := g.pass(ctx)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					passed++
				} else {
					held++
				}
			})
		}
		total := 0
		for _, n := range []int{30, 1, 40} {
			shut := g.open(n)
			<-shut
			synctest.Wait()
			if total += n; passed != total {
				t.Fatalf("%d passed, want %d", passed, total)
			}
		}
		cancel(errors.New("the end"))
		all.Wait()
		if held != 29 {
			t.Errorf("%d were held to the end", held)
		}
	})
}

// The method by itself, with little: three pipelines live side by side, one of them is scraped, and
// a cost of a half that is planted is found.
func TestSlicesEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some ten processes: not with -short")
	}
	t.Setenv(childEnv, "1")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	const n = 7
	err = Run(t.Context(), Options{
		Records: 30_000, Pairs: n, Partitions: 3, Only: []string{partSlices}, planted: .5, JSON: true, Executable: executable, Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, &stderr, &stdout)
	}
	var r Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in\n%s", err, &stdout)
	}
	if len(r.Sliced) != 2 || len(r.Goals) != 6 {
		t.Fatalf("%d ways, %d goals:\n%s", len(r.Sliced), len(r.Goals), &stdout)
	}
	for _, s := range r.Sliced {
		if len(s.CPU) != 1 || len(s.CPU[0]) != n || len(s.Wall[0]) != n || len(s.Control[0]) != n || s.PlainNanos <= 0 {
			t.Fatalf("%+v", s)
		}
		// Who goes first in a round can have it dearer, on some machines by 1.8: the order turns.
		var turned []float64
		for i := range n - 1 {
			turned = append(turned, math.Sqrt(s.Control[0][i]*s.Control[0][i+1]))
		}
		if got := median(turned); math.Abs(got-1.5) > .4 {
			t.Errorf("%s: a planted half makes %.2f of 1.5: %.2f", s.Name, got, s.Control[0])
		}
	}
}
