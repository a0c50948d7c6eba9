package browser_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// answers are those of /api/status, asked all the time until the test ends.
type answers struct {
	mu   sync.Mutex
	pods []*podstate.Pod
}

// askedEvery is short beside the second between two events.
const askedEvery = 20 * time.Millisecond

func ask(t *testing.T, url string) *answers {
	t.Helper()
	a := &answers{}
	stop, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
	go func() {
		defer close(ended)
		tick := time.NewTicker(askedEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			pod, err := status(url)
			if err != nil {
				t.Error(err)
				return
			}
			a.mu.Lock()
			a.pods = append(a.pods[max(len(a.pods)-1000, 0):], pod)
			a.mu.Unlock()
		}
	}()
	return a
}

func status(url string) (*podstate.Pod, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	pod := &podstate.Pod{}
	return pod, json.NewDecoder(answer.Body).Decode(pod)
}

// around are the last answer before a time, and the first one after it.
func (a *answers) around(t *testing.T, at time.Time) (before, after *podstate.Pod) {
	for deadline := time.Now().Add(patience); ; time.Sleep(askedEvery) {
		a.mu.Lock()
		pods := a.pods
		a.mu.Unlock()
		for i, pod := range pods {
			if pod.Time.After(at) {
				if i == 0 {
					return nil, nil
				}
				return pods[i-1], pod
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("/api/status has told nothing after %s", at)
		}
	}
}

// alike are the partitions and processes of which /api/status told the same before and after this
// state, which is what they were meanwhile, since offsets and counters only grow. Partitions whose
// process tells nothing are not among them: what is in hand of these rises and falls, and no number
// beside it says so. Nor are two such numbers of a process.
func (a *answers) alike(t *testing.T, pod *podstate.Pod) said {
	out := said{"partition": {}, "process": {}}
	before, after := a.around(t, pod.Time)
	if before == nil {
		return out
	}
	was, is := tables(before, pod.Time), tables(after, pod.Time)
	for kind := range out {
		for name, text := range was[kind] {
			if kind == "process" {
				text, is[kind][name] = lasting(text), lasting(is[kind][name])
			}
			if is[kind][name] == text && !strings.Contains(text, " | untold | ") {
				out[kind][name] = text
			}
		}
	}
	return out
}

// lasting is the row of a process without its records on their way and without its rate.
func lasting(row string) string {
	cells := strings.Split(row, " | ")
	if len(cells) > 9 {
		cells[7], cells[9] = "", ""
	}
	return strings.Join(cells, " | ")
}
