package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unit = "../../../../deploy/systemd/ackmark-sidecar.service"

// The unit says what the sidecar does: it notifies, is reloaded by SIGHUP, is watched, and is not
// restarted for a wrong setting.
func TestTheUnit(t *testing.T) {
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "WatchdogSec=30", "RestartPreventExitStatus=2", "CapabilityBoundingSet=", "NoNewPrivileges=yes",
		"ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "RuntimeDirectory=ackmark", "RuntimeDirectoryMode=0750",
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, never := range []string{"\nPrivateUsers=", "\nProtectProc="} {
		if strings.Contains(string(text), never) {
			t.Errorf("%s hides from the sidecar who its peers are", strings.TrimSpace(never))
		}
	}
}

// systemd takes the unit as it is.
func TestSystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here: apt-get install systemd")
	}
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // the command has to be there
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ackmark-sidecar.service")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "ExecStart=/usr/bin/ackmark", "ExecStart="+self, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "ackmark-sidecar.service:") {
		t.Errorf("%v: %s", err, out)
	}
}
