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
	"github.com/ackmark/ackmark/internal/proof/figures"
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
func reached(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address(url))
		if err == nil {
			_ = conn.Close()
			return open(t, url, width, height)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// witness keeps every state that comes, by its time, beside the page: the page hears the same.
const witness = `(() => {
  window.states = new Map();
  const source = new EventSource("/api/events");
  source.addEventListener("status", (event) => { const pod = JSON.parse(event.data); window.states.set(pod.time, event.data); });
})()`

// shown is what the page says, and of which state.
type shown struct {
	State       string
	Partitions  [][]string
	Processes   [][]string
	Connections []string
	Sentinels   []string
	Incidents   []string
	Queue       string
	Latency     []string
}

const look = `(() => {
  const words = (selector, root) => [...(root || document).querySelectorAll(selector)].map((e) => e.textContent);
  const table = (id) => [...document.querySelectorAll(id + " tbody tr")].map((row) => words("th, td", row));
  return {
    State: window.states.get(document.getElementById("main").dataset.time) || "",
    Partitions: table("#partitions-table"), Processes: table("#processes-table"), Connections: words("#connections dd"),
    Sentinels: words("#sentinels dd"), Incidents: words("#incidents li .what"), Queue: document.querySelectorAll("#flow .main")[3].textContent,
    Latency: words("#chart-latency .key b"),
  };
})()`

// While processes are killed, what the page says is what /api/status says.
func TestThePageIsTheState(t *testing.T) {
	chromium(t)
	p := reached(t, show(t, "--records", "120000", "--rate", "600", "--kills", "60"), 1280, 900)
	p.do(chromedp.Evaluate[chromedp.Void](witness))
	p.live()
	compared, last := 0, ""
	var pod podstate.Pod
	for deadline := time.Now().Add(patience); compared < 10 || pod.Wills.Executed < 2; p.do(chromedp.Sleep(100 * time.Millisecond)) {
		if time.Now().After(deadline) {
			t.Fatalf("%d states compared, %d wills executed", compared, pod.Wills.Executed)
		}
		got := eval[shown](p, look)
		if got.State == "" || got.State == last {
			continue
		}
		last = got.State
		pod = podstate.Pod{}
		if err := json.Unmarshal([]byte(got.State), &pod); err != nil {
			t.Fatal(err)
		}
		compared++
		compare(t, &pod, got)
	}
	t.Logf("%d states compared, %d wills executed, %d incidents", compared, pod.Wills.Executed, len(pod.Incidents))
}

func compare(t *testing.T, pod *podstate.Pod, got shown) {
	t.Helper()
	num := func(n int64) string {
		if n < 0 {
			return "–"
		}
		return figures.Thousands(int(n))
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: the page says %q, the state %q", what, got, want)
		}
	}
	rows := map[string][]string{}
	for _, row := range got.Partitions {
		if len(row) > 2 {
			rows[row[0]+"/"+row[1]+" "+row[len(row)-1]] = row
		}
	}
	if len(rows) != len(pod.Partitions) {
		t.Errorf("the page has %d partitions, the state %d", len(rows), len(pod.Partitions))
	}
	pids := map[string]string{}
	for _, s := range pod.Sessions {
		pids[s.ID] = fmt.Sprint(s.App, " ", s.PID)
	}
	for i := range pod.Partitions {
		x := &pod.Partitions[i]
		name := fmt.Sprintf("%s/%d %s", x.Topic, x.Partition, pids[x.Session])
		row := rows[name]
		if row == nil {
			t.Errorf("the page lacks %s: %q", name, got.Partitions)
			continue
		}
		same(name+" state", row[2], string(x.State))
		same(name+" mark", row[3], num(x.Offsets.AckMark))
		same(name+" lag", row[5], num(x.Lag()))
		same(name+" in hand", row[7], num(x.Counts.Pending))
	}
	processes := map[string][]string{}
	for _, row := range got.Processes {
		processes[row[min(1, len(row)-1)]] = row
	}
	for _, s := range pod.Sessions {
		row := processes[fmt.Sprint(s.PID)]
		if row == nil {
			t.Errorf("the page lacks process %d: %q", s.PID, got.Processes)
			continue
		}
		same(fmt.Sprint(s.PID, " state"), row[2], s.State)
		same(fmt.Sprint(s.PID, " partitions"), row[4], num(int64(s.Partitions)))
		same(fmt.Sprint(s.PID, " unreported"), row[7], num(s.Outstanding.Records))
	}
	same("connections", strings.Join(got.Connections, " "), num(int64(pod.Sidecar.Connections))+" "+num(int64(pod.Sidecar.ConnectionsWithout)))
	same("queue", got.Queue, num(pod.Sidecar.Queue.Records)+"waiting")
	latency := "– –"
	if l := pod.Latency; l != nil && l.Count > 0 {
		latency = span(l.P50) + " " + span(l.P99)
	}
	same("latency", strings.Join(got.Latency, " "), latency)
	var sentinels []string
	if s := pod.Sentinels; s != nil {
		sentinels = []string{num(s.CommitBeyond), num(s.OrderInverted), num(s.InputSkipped), num(s.ClosedAdmitted)}
	} else {
		sentinels = []string{"–", "–", "–", "–"}
	}
	same("sentinels", strings.Join(got.Sentinels, " "), strings.Join(sentinels, " "))
	if len(got.Incidents) != len(pod.Incidents) {
		t.Errorf("the page has %d incidents, the state %d", len(got.Incidents), len(pod.Incidents))
		return
	}
	for i, in := range pod.Incidents {
		if !strings.HasSuffix(got.Incidents[i], in.Reason) {
			t.Errorf("incident %d: the page says %q, the state %q", i, got.Incidents[i], in.Reason)
		}
	}
}

// span is a number of microseconds as the page writes it, up to ten seconds.
func span(us int64) string {
	switch s := float64(us) / 1e6; {
	case us == 0:
		return "0 ms"
	case s < 0.01:
		return fmt.Sprintf("%.1f ms", s*1000)
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	default:
		return fmt.Sprintf("%.1f s", s)
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
