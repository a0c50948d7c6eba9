package browser_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ackmark/ackmark/internal/podstate"
)

const rows = `document.querySelectorAll("#partitions-table tbody tr").length`

// Ten thousand partitions: what is drawn stays a page of them, the worst first; each can be found.
func TestTenThousandPartitions(t *testing.T) {
	url, _ := port(t, &pods{pod: large(500, 10_000), live: true}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	if n := eval[int](p, rows); n != 50 {
		t.Errorf("%d rows are drawn", n)
	}
	if n := eval[int](p, `document.querySelectorAll("#processes-table tbody tr").length`); n != 50 {
		t.Errorf("%d processes are drawn", n)
	}
	first := func() string {
		return eval[string](p, `document.querySelector("#partitions-table tbody tr").innerText.replace(/\s+/g, " ")`)
	}
	if got := first(); !strings.HasPrefix(got, "orders-21 121 halted") {
		t.Errorf("the first row is %q", got)
	}
	if got := eval[string](p, `document.getElementById("alarm").textContent`); !strings.Contains(got, "orders-21/121 stands still") {
		t.Errorf("the alarm is %q", got)
	}
	p.do(chromedp.SendKeys(chromedp.CSS("#filter-text"), "orders-44/17"))
	p.until(rows + ` === 11`) // 17, and 170 to 179
	if got := eval[string](p, `document.getElementById("partitions-count").textContent`); got != "11 of 10,000" {
		t.Errorf("the count is %q", got)
	}
	before := eval[string](p, `document.getElementById("main").dataset.time`)
	p.until(fmt.Sprintf(`document.getElementById("main").dataset.time !== %q`, before))
	if n := eval[int](p, rows); n != 11 {
		t.Errorf("the next state shows %d rows", n)
	}
}

// Everything can be reached and done by keyboard.
func TestKeyboard(t *testing.T) {
	url, _ := port(t, &pods{pod: large(6, 120)}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	if got := p.press(kb.Tab); got != "Skip to the partitions" {
		t.Errorf("the first stop is %q", got)
	}
	if p.press(kb.Enter); !eval[bool](p, `document.activeElement.id === "partitions"`) {
		t.Error("the skip link does not lead to the partitions")
	}
	if p.press(kb.Tab); !eval[bool](p, `document.activeElement.id === "filter-text"`) {
		t.Error("the filter does not come next")
	}
	p.press(kb.Tab) // the region that scrolls
	if got := p.press(kb.Tab); got != "Sort by Topic" {
		t.Errorf("the first column is %q", got)
	}
	p.press(kb.Tab)
	for _, want := range []string{"descending", "ascending", ""} {
		p.press(kb.Enter)
		if got := eval[string](p, `document.activeElement.closest("th").getAttribute("aria-sort") || ""`); got != want {
			t.Errorf("sorted %q, want %q", got, want)
		}
	}
	for range 30 {
		if p.press(kb.Tab) == "Next" {
			break
		}
	}
	p.press(kb.Enter)
	if got := eval[string](p, `document.querySelector("#pager span").textContent`); got != "51 to 100 of 120" {
		t.Errorf("the pager says %q", got)
	}
	// The page is drawn anew with each state: what has the focus keeps it.
	before := eval[string](p, `document.getElementById("main").dataset.time`)
	p.until(fmt.Sprintf(`document.getElementById("main").dataset.time !== %q`, before))
	if got := eval[string](p, `document.activeElement.textContent`); got != "Next" {
		t.Errorf("the focus went to %q", got)
	}
}

// A screen reader finds its way: landmarks, headings, captions, names, and what is told politely.
func TestStructure(t *testing.T) {
	url, _ := port(t, &pods{pod: large(6, 120)}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	for _, want := range []string{
		`document.documentElement.lang === "en"`,
		`document.querySelectorAll("header, main, footer, nav").length === 4`,
		`document.querySelectorAll("h1").length === 1`,
		`[...document.querySelectorAll("section")].every((s) => s.getAttribute("aria-labelledby") && document.getElementById(s.getAttribute("aria-labelledby")))`,
		`[...document.querySelectorAll("table")].every((t) => t.caption && t.tHead && t.querySelector("tbody th[scope=row]"))`,
		`[...document.querySelectorAll("thead th")].every((th) => th.scope === "col")`,
		`[...document.querySelectorAll("svg")].every((s) => s.getAttribute("aria-hidden") || s.getAttribute("aria-label") || s.closest("[aria-hidden]"))`,
		`[...document.querySelectorAll(".plot")].every((s) => s.getAttribute("role") === "img" && s.getAttribute("aria-label"))`,
		`[...document.querySelectorAll("input")].every((i) => i.labels.length === 1)`,
		`[...document.querySelectorAll(".scroll")].every((s) => s.tabIndex === 0 && s.getAttribute("role") === "region")`,
		`document.getElementById("incidents").getAttribute("aria-live") === "polite"`,
		`document.getElementById("alarm").getAttribute("aria-live") === "polite"`,
		`!document.querySelector("[aria-live=assertive]")`,
		`!document.querySelector("[style*=color]")`,
	} {
		if !eval[bool](p, want) {
			t.Errorf("not so: %s", want)
		}
	}
}

// contrast is what has less than 4.5 to 1 to what is behind it: WCAG's AA for small text.
const contrast = `(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || ["NOSCRIPT", "SCRIPT"].includes(e.tagName) || e.closest("[hidden]") || e.disabled) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.add(e.tagName + "." + e.className + " " + ratio.toFixed(2) + ": " + n.textContent.slice(0, 30));
  }
  return [...poor];
})()`

func TestContrast(t *testing.T) {
	pod := large(6, 5000)
	pod.Sessions[2].Process.Direct = true
	pod.Sentinels.InputSkipped, pod.Sessions[1].Process.Sentinels.InputSkipped = 1, 1
	url, _ := port(t, &pods{pod: pod}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	if got := eval[string](p, `document.getElementById("alarm").textContent`); !strings.Contains(got, "1 inputs skipped, told by billing 1001.") {
		t.Errorf("the alarm is %q", got)
	}
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		if poor := eval[[]string](p, contrast); len(poor) > 0 {
			t.Errorf("%s: too little contrast: %q", theme, poor)
		}
		background := eval[string](p, `getComputedStyle(document.body).backgroundColor`)
		if dark := strings.HasPrefix(background, "rgb(1"); dark != (theme == "dark") {
			t.Errorf("in the %s theme the paper is %s", theme, background)
		}
	}
}

// Names with every character that Kafka or an app may have stay text, and nothing goes sideways on
// a phone.
func TestNamesOnAPhone(t *testing.T) {
	topic := strings.Repeat("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", 4)[:249]
	app := `<img src=x onerror="document.title='owned'">&amp;"'` + "`${1}`" + `</td><script>document.title="owned"</script>‮gnp` + "\u0000\u0007"
	pod := large(2, 4)
	pod.Sidecar.KafkaError = app
	for i := range pod.Sessions {
		pod.Sessions[i].App, pod.Sessions[i].Groups, pod.Sessions[i].NoWill = app, []string{app}, app
		pod.Sessions[i].Process.Problem = app
	}
	for i := range pod.Partitions {
		pod.Partitions[i].Topic, pod.Partitions[i].App, pod.Partitions[i].State, pod.Partitions[i].Reason = topic, app, podstate.Halted, app
		pod.Partitions[i].Oldest.Error = app
	}
	for i := range pod.Incidents {
		pod.Incidents[i].App, pod.Incidents[i].Session, pod.Incidents[i].Topic, pod.Incidents[i].Reason = app, "gone", topic, app
	}
	url, _ := port(t, &pods{pod: pod}, "127.0.0.1:0")
	p := open(t, url, 360, 740)
	p.live()
	p.do(chromedp.Sleep(200 * time.Millisecond)) // what a script in a name would have done is done
	if got := eval[string](p, `document.title`); strings.Contains(got, "owned") {
		t.Errorf("a name runs: the title is %q", got)
	}
	if n := eval[int](p, `document.querySelectorAll("img, body script, iframe").length`); n != 0 {
		t.Errorf("names have made %d elements", n)
	}
	if !eval[bool](p, `document.querySelector("#processes-table tbody th").textContent.startsWith("<img src=x")`) {
		t.Error("an app's name is not shown as it is")
	}
	if got := eval[string](p, `document.querySelector("#partitions-table tbody th").title`); got != topic {
		t.Errorf("a long topic is %q", got)
	}
	for _, width := range []int64{360, 320, 768} {
		p.do(chromedp.EmulateViewport(width, 740))
		p.until(fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, width)) // charts follow a moment later
	}
}

// The page says when what it shows is old, and goes on when the sidecar is back.
func TestStaleAndBack(t *testing.T) {
	source := &pods{pod: large(2, 4)}
	url, stop := port(t, source, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	stop()
	p.until(`document.getElementById("live").dataset.live === "no"`)
	if got := eval[string](p, `document.getElementById("live-text").textContent`); !strings.HasPrefix(got, "stale for ") {
		t.Errorf("it says %q", got)
	}
	if n := eval[int](p, rows); n != 4 {
		t.Errorf("what was known is gone: %d rows", n)
	}
	p.forgetConsole() // the browser tells of each connection that was refused
	port(t, source, address(url))
	p.live()
	p.forgetConsole()
}

// A sidecar without Kafka and without apps has a page, which says so.
func TestWithoutKafka(t *testing.T) {
	pod := large(0, 0)
	pod.Sidecar.KafkaError, pod.Sentinels, pod.Incidents = "dial tcp 10.0.0.1:9092: connect: no route to host", nil, []podstate.Incident{}
	url, _ := port(t, &pods{pod: pod}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	for id, want := range map[string]string{
		"alarm": "Kafka is not reachable: dial tcp", "partitions-table": "No partition is held now.", "processes-table": "No process is connected.", "incidents": "Nothing happened.", "sentinels": "not counted here",
	} {
		if got := eval[string](p, `document.getElementById("`+id+`").innerText`); !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q", id, got, want)
		}
	}
}

// Transactions have a place where there are some, and are an alarm where nothing can be committed.
func TestTransactions(t *testing.T) {
	pod := large(1, 2)
	source := &pods{pod: pod}
	url, stop := port(t, source, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	if !eval[bool](p, `document.getElementById("transactions-section").hidden`) {
		t.Error("there is a place for transactions that are not")
	}
	stop()
	p.forgetConsole()
	pod.Sidecar.Transactions = &podstate.Transactions{ID: "orders-0", State: "fenced", Committed: 1200, Aborted: 3, Unknown: 1, UncommittedSince: pod.Time.Add(-45 * time.Second)}
	pod.Sessions[0].ExactlyOnce = true
	port(t, &pods{pod: pod}, address(url))
	p.until(`!document.getElementById("transactions-section").hidden`)
	for id, want := range map[string]string{
		"transactions": "committed 1,200 aborted, and tried again 3 whose end was unknown at first 1", "transactions-id": "orders-0, fenced", "processes-table": "its transaction ends, then its group is left", "alarm": "orders-0 was taken by another process. No transaction was committed for",
	} {
		if got := strings.Join(strings.Fields(eval[string](p, `document.getElementById("`+id+`").innerText`)), " "); !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q", id, got, want)
		}
	}
	p.forgetConsole()
}

// A process without a sidecar shows the transactions of its own producer alike, and which were
// aborted; a storm of them is one line.
func TestTransactionsOfAProcess(t *testing.T) {
	report := podstate.Report{Process: podstate.Process{Transactions: &podstate.Transactions{ID: "invoices-0", State: "open", Committed: 77, Aborted: 40}}}
	now := time.Now()
	pod := podstate.Own(report, "bills", []podstate.Incident{{Time: now, Kind: podstate.Abort, Count: 40, Reason: "invoices-0: a transaction of 9 units was aborted"}}, now)
	url, _ := port(t, &pods{pod: *pod}, "127.0.0.1:0")
	p := open(t, url, 1280, 900)
	p.live()
	p.until(`!document.getElementById("transactions-section").hidden`)
	for id, want := range map[string]string{
		"transactions": "committed 77 aborted, and tried again 40", "transactions-id": "invoices-0, open", "processes-table": "aborted by its next owner", "incidents": "Abort × 40",
	} {
		if got := strings.Join(strings.Fields(eval[string](p, `document.getElementById("`+id+`").innerText`)), " "); !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q", id, got, want)
		}
	}
}
