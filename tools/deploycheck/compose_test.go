package deploycheck

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

func TestCompose(t *testing.T) {
	p, err := Compose(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s opens port %s to the network", name, port.Published)
			}
		}
	}
	if d := p.Services["app"].DependsOn["sidecar"]; d.Condition != types.ServiceConditionHealthy {
		t.Errorf("the app waits for the sidecar to be %q", d.Condition)
	}
}

func TestWhatComposeDoesNotKnowIsFound(t *testing.T) {
	good, err := os.ReadFile(Deploy("compose", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"read_only:", "readonly:"}, {"condition: service_healthy", "condition: healthy"}, {"stop_grace_period: 30s", "stop_grace_period: soon"}} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if _, err := Compose([]byte(bad)); err == nil || bad == string(good) {
			t.Errorf("%q in the place of %q was taken", change[1], change[0])
		}
	}
}

// A file that git tracks and the build context lacks makes Go's toolchain stamp the image's binary
// as modified.
func TestTheBuildContextIsTheCommit(t *testing.T) {
	ignored, err := os.ReadFile(Deploy("..", ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	git := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files")
	git.Dir = Deploy("..")
	tracked, err := git.Output()
	if err != nil {
		t.Skipf("this is no checkout of git: %v", err)
	}
	for pattern := range strings.Lines(string(ignored)) {
		pattern = strings.TrimSuffix(strings.TrimSpace(pattern), "/")
		if pattern == "" || strings.HasPrefix(pattern, "#") {
			continue
		}
		for file := range strings.Lines(string(tracked)) {
			file = strings.TrimSpace(file)
			name, _ := path.Match(pattern, path.Base(file))
			if name || file == pattern || strings.HasPrefix(file, pattern+"/") {
				t.Errorf(".dockerignore keeps %s out, by %s", file, pattern)
			}
		}
	}
}

// The admin port answers to the names that it was told alone: those by which Prometheus calls it.
func TestPrometheusIsAnswered(t *testing.T) {
	p, err := Compose(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(Deploy("compose", "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Scrapes []struct {
			Static []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	scraped := map[string]bool{}
	for _, scrape := range config.Scrapes {
		for _, static := range scrape.Static {
			for _, target := range static.Targets {
				host, port, _ := strings.Cut(target, ":")
				scraped[host] = true
				set := func(name string) string { // the command's settings, or those of the example
					for _, name := range []string{"ACKMARK_" + name, name} {
						if v := p.Services[host].Environment[name]; v != nil {
							return *v
						}
					}
					return ""
				}
				if set("ADMIN") != "0.0.0.0:"+port || !slices.Contains(strings.Split(set("ADMIN_HOSTS"), ","), host) {
					t.Errorf("Prometheus scrapes %s, whose admin port is at %q and answers to %q", target, set("ADMIN"), set("ADMIN_HOSTS"))
				}
			}
		}
	}
	for _, name := range []string{"sidecar", "app"} { // without the app, half of the dashboard is empty
		if !scraped[name] {
			t.Errorf("%s is not scraped", name)
		}
	}
}
