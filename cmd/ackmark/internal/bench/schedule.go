package bench

import "slices"

// Contestants of the saturated load.
const (
	bare           = "bare"            // the franz-go loop: AutoCommitMarks, a promise that marks
	library        = "library"         // the pipeline with a producer of its own
	viaSidecar     = "sidecar"         // the pipeline through the sidecar, which is another process
	consumeBare    = "consume-bare"    // control: the loop without outputs
	consumeLibrary = "consume-library" // control: the pipeline without outputs
)

// What the names of contestants end with that have metrics: a provider that nobody reads, or one
// that is scraped each second.
const (
	idle    = "-idle"
	scraped = "-scraped"
)

// kept is what the names of contestants end with that keep session files.
const kept = "-state"

// oneCPU is what the name of the contestant ends with whose sidecar has GOMAXPROCS 1.
const oneCPU = "-one-cpu"

// before is what the names of the other binary's contestants end with.
const before = "-before"

// controlEvery is how often the controls run: they explain the result, no goal hangs on them.
const controlEvery = 4

// schedule orders the runs: A B C, C B A, A B C … so that whatever drifts (a warmer broker, a
// busier neighbour) falls on both members of a pair alike.
func schedule(contestants, controls []string, rounds int) [][]string {
	all := make([][]string, rounds)
	for i := range all {
		order := slices.Clone(contestants)
		if i%controlEvery == controlEvery-1 || rounds < controlEvery && i == rounds-1 {
			order = append(order, controls...)
		}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		all[i] = order
	}
	return all
}
