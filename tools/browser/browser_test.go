package browser_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/ackmark/ackmark/admin"
)

// patience is how long a test waits for what must come: a slow machine is no fault.
const patience = 2 * time.Minute

// chromium is where the browser is.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no Chromium on PATH to show the page in: apt-get install chromium")
	return ""
}

// tab is a page in a browser of its own.
type tab struct {
	*testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// open opens a page in a window of this size, where these scripts run first. When the test ends,
// the console must be silent.
func open(t *testing.T, url string, width, height int64, first ...string) *tab {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{T: t, ctx: ctx}
	p.do(chromedp.EmulateViewport(width, height))
	messages := chromedp.Console(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning {
				p.mu.Lock()
				p.errors = append(p.errors, string(m.Type)+": "+m.Text)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		for _, text := range p.console() {
			t.Errorf("the console says: %s", text)
		}
	})
	for _, script := range first {
		if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
			t.Fatal(err)
		}
	}
	p.do(chromedp.Navigate(url))
	return p
}

func (p *tab) console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errors
}

func (p *tab) forgetConsole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = nil
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

// eval is the value of a JavaScript expression.
func eval[T any](p *tab, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for a JavaScript expression to be true.
func (p *tab) until(expression string) {
	p.Helper()
	deadline := time.Now().Add(patience)
	for !eval[bool](p, expression) {
		if time.Now().After(deadline) {
			p.Fatalf("%s is never true; the page says:\n%.3000s", expression, eval[string](p, "document.body.innerText"))
		}
		p.do(chromedp.Sleep(50 * time.Millisecond))
	}
}

// live waits until the page shows a state.
func (p *tab) live() {
	p.Helper()
	p.until(`document.getElementById("live").dataset.live === "yes"`)
}

// press presses a key; text is what is focused then.
func (p *tab) press(keys string) (focused string) {
	p.Helper()
	p.do(chromedp.KeyEvent(keys))
	return eval[string](p, `(document.activeElement.getAttribute("aria-label") || document.activeElement.textContent || document.activeElement.id).trim()`)
}

func (p *tab) theme(name string) {
	p.Helper()
	features := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, features); err != nil {
		p.Fatal(err)
	}
}

// port serves pods on loopback until the test ends, or stop is called.
func port(t *testing.T, source admin.Source, address string) (url string, stop func()) {
	t.Helper()
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(ctx, lis, admin.Handler(admin.Config{Source: source}), nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "http://" + lis.Addr().String() + "/", stop
}

func address(url string) string { return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/") }
