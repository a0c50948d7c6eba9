package demo

import (
	"net"
	"os"
	"os/exec"
	"runtime"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/term"
)

// choosePage finds a free port for the sidecar's page: it is known before the sidecar runs, and
// stays the same when that is started again.
func (s *show) choosePage() error {
	if !s.Page {
		return nil
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.ackmark.sidecar.spec.Page = lis.Addr().String()
	return lis.Close()
}

// pageURL is where the page is; empty: nowhere.
func (s *show) pageURL() string {
	if s.ackmark == nil || s.ackmark.sidecar.spec.Page == "" {
		return ""
	}
	return "http://" + s.ackmark.sidecar.spec.Page + "/"
}

// openPage opens the page where somebody sits in front of it. Its address was printed: nothing
// depends on whether a browser comes.
func (s *show) openPage() {
	if s.Page && s.onDisplay() {
		if cmd := browser(runtime.GOOS, s.pageURL()); cmd.Start() == nil {
			go cmd.Wait() // it has said all that it has to say
		}
	}
}

func (s *show) onDisplay() bool {
	f, ok := s.Stdout.(*os.File)
	if !ok {
		return false
	}
	if _, terminal := term.Width(int(f.Fd())); !terminal {
		return false
	}
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
}

// browser is the command by which a system opens an address.
func browser(system, url string) *exec.Cmd {
	switch system {
	case "darwin":
		return exec.Command("open", url)
	case "windows":
		return exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	}
	return exec.Command("xdg-open", url)
}
