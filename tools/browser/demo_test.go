package browser_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/podstate"
)

var pictures = flag.String("pictures", "", "write pictures of the page to this directory")

var pageURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/`)

// show runs `ackmark demo --page` until the test ends, and tells where its page is.
func show(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ackmark")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", path, "./cmd/ackmark").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	urls := make(chan string, 1)
	p, err := childproc.Start(childproc.Spec{
		Name: "demo", Path: path, Args: append([]string{"demo", "--page"}, args...),
		Hear: func(line []byte) {
			if url := pageURL.FindString(string(line)); url != "" {
				select {
				case urls <- url:
				default:
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	select {
	case url := <-urls:
		return url
	case <-p.Done():
	case <-time.After(patience):
	}
	t.Fatalf("the demo names no page: %q", p.Tail(10))
	return ""
}

// reached opens a page that may not be there yet.
func reached(t *testing.T, url string, width, height int64, first ...string) *tab {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address(url))
		if err == nil {
			_ = conn.Close()
			return open(t, url, width, height, first...)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// witness keeps every state that the page hears, as it hears it, from before its first script on.
const witness = `window.states = [];
window.EventSource = class extends window.EventSource {
  constructor(...args) {
    super(...args);
    this.addEventListener("status", (event) => window.states.push(event.data));
  }
}`

// shown is what the page says, and what it has heard since it was looked at before.
type shown struct {
	Time        time.Time
	States      []string
	Partitions  [][]string
	Processes   [][]string
	Stations    []string
	Charts      []string
	Connections []string
	Sentinels   []string
	Incidents   []string
}

const look = `(() => {
  const words = (selector, root) => [...(root || document).querySelectorAll(selector)].map((e) => e.textContent);
  const strip = (svg) => [svg.getAttribute("aria-label"), ...[...svg.children].map((bar) => bar.getAttribute("x") + "+" + bar.getAttribute("width"))].join(" ");
  const cell = (e) => (e.firstElementChild?.tagName === "svg" ? strip(e.firstElementChild) : e.textContent);
  const table = (id) => [...document.querySelectorAll(id + " tbody tr")].map((row) => [...row.children].map(cell));
  const station = (e) => [[...e.querySelectorAll(".main span")].map((s) => s.textContent).join(" ").trim(), ...words(".fact, .rate", e)].join("; ");
  const states = window.states;
  window.states = [];
  return {
    Time: document.getElementById("main").dataset.time || "0001-01-01T00:00:00Z", States: states,
    Partitions: table("#partitions-table"), Processes: table("#processes-table"),
    Stations: [...document.querySelectorAll("#flow .station")].map(station),
    Charts: ["throughput", "latency", "age", "queue"].map((name) => words("#chart-" + name + " .key b").join(" ")),
    Connections: words("#connections dd"), Sentinels: words("#sentinels dd"), Incidents: words("#incidents li .what"),
  };
})()`

// While processes are killed, what the page says is what /api/status says: all of it is that of its
// newest event, and what /api/status answered alike before and after that event, the page says,
// too.
func TestThePageIsTheState(t *testing.T) {
	chromium(t)
	url := show(t, "--records", "120000", "--rate", "600", "--kills", "60")
	p := reached(t, url, 1280, 900, witness)
	api := ask(t, url+"api/status")
	m := &model{done: map[string][]totals{}, chart: "– –"}
	var pod podstate.Pod
	var compared, gaps, rows, rowsAfter, processes int
	so := func() string {
		return fmt.Sprintf("%d states compared, with %d strips of gaps; %d wills executed; as in /api/status %d partitions (%d after a will) and %d processes", compared, gaps, pod.Wills.Executed, rows, rowsAfter, processes)
	}
	for deadline := time.Now().Add(patience); compared < 10 || gaps < 10 || pod.Wills.Executed < 2 || rowsAfter < 20 || processes < 10; {
		if time.Now().After(deadline) {
			t.Fatal(so())
		}
		p.do(chromedp.Sleep(100 * time.Millisecond))
		got := eval[shown](p, look)
		if len(got.States) == 0 {
			continue
		}
		var want said
		for _, text := range got.States {
			pod = podstate.Pod{}
			if err := json.Unmarshal([]byte(text), &pod); err != nil {
				t.Fatal(err)
			}
			want = m.next(&pod)
		}
		if !got.Time.Equal(pod.Time) {
			t.Fatalf("the page shows the state of %s, the newest that it heard is of %s", got.Time, pod.Time)
		}
		says := got.said()
		compared++
		compare(t, "the state", says, want)
		for _, row := range want["partition"] {
			if strings.Contains(row, " gap") {
				gaps++
			}
		}
		same := api.alike(t, &pod)
		for _, kind := range []string{"partition", "process"} {
			says[kind] = pick(says[kind], same[kind])
		}
		for pid, row := range says["process"] {
			says["process"][pid] = lasting(row)
		}
		compare(t, "/api/status", says, same)
		rows, processes = rows+len(same["partition"]), processes+len(same["process"])
		if pod.Wills.Executed > 0 {
			rowsAfter += len(same["partition"])
		}
	}
	t.Log(so())
}

// said is what is said of each kind, by name.
type said map[string]map[string]string

func (s shown) said() said {
	out := said{"partition": {}, "process": {}, "flow": {}}
	for _, row := range s.Partitions {
		if len(row) > 1 {
			out["partition"][row[0]+"/"+row[1]+" "+row[len(row)-1]] = strings.Join(row, " | ")
		}
	}
	for _, row := range s.Processes {
		if len(row) > 1 {
			out["process"][row[1]] = strings.Join(row, " | ")
		}
	}
	for name, values := range map[string][]string{"station": s.Stations, "chart": s.Charts, "connections": s.Connections, "sentinels": s.Sentinels, "incident": s.Incidents} {
		for i, value := range values {
			out["flow"][fmt.Sprint(name, " ", i)] = value
		}
	}
	return out
}

// pick is those that the others have, too.
func pick(from, of map[string]string) map[string]string {
	out := map[string]string{}
	for name := range of {
		if text, ok := from[name]; ok {
			out[name] = text
		}
	}
	return out
}

func compare(t *testing.T, whose string, got, want said) {
	t.Helper()
	for kind := range want {
		if len(got[kind]) != len(want[kind]) {
			t.Errorf("%s: the page has %d, %s %d: %q, want %q", kind, len(got[kind]), whose, len(want[kind]), got[kind], want[kind])
		}
		for name, text := range want[kind] {
			if is, ok := got[kind][name]; ok && is != text {
				t.Errorf("%s %s: the page says\n%s, but %s\n%s", kind, name, is, whose, text)
			}
		}
	}
}

// The pictures of README: the demo with kills in it, in both themes.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("only with -pictures DIR: it writes them")
	}
	p := reached(t, show(t, "--records", "168000", "--rate", "1400", "--kills", "6", "--seed", "7"), 1200, 800)
	p.live()
	p.do(chromedp.Sleep(50 * time.Second))
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		p.do(chromedp.Sleep(time.Second)) // the charts are drawn anew
		png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*pictures, "page-"+theme+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
