package layouttest

import (
	"os"
	"testing"
)

// tools/protogen needs its modules; a machine that is cut off from the module proxy and never had
// them cannot tell.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generators in tools/: not with -short")
	}
	if out, err := tool(t, "tools", "go", "mod", "download"); err != nil && os.Getenv("CI") == "" {
		t.Skipf("the modules of tools/go.mod cannot be had here (with CI set this fails): %v\n%s", err, out)
	} else if err != nil {
		t.Fatalf("go -C tools mod download: %v\n%s", err, out)
	}
	if out, err := tool(t, "tools", "go", "run", "./protogen", "-check", "../sidecar/sidecarpb"); err != nil {
		t.Errorf("protogen: %v\n%s", err, out)
	}
}
