package deploycheck

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

func TestTheChartHasTheRules(t *testing.T) {
	have, want, path, err := Rules()
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not deploy/prometheus/ackmark.rules.yaml (%v): run `make deploy`", path, err)
	}
}

func TestTheBaseIsWhatTheChartSays(t *testing.T) {
	files, err := Base()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		have, err := os.ReadFile(Deploy("kubernetes", name))
		if err != nil || string(have) != want {
			t.Errorf("deploy/kubernetes/%s is not what the chart says (%v): run `make deploy`\n%s", name, err, cmp.Diff(string(have), want))
		}
	}
	for _, dir := range []string{"base", "keda", "monitoring", "rules"} {
		entries, err := os.ReadDir(Deploy("kubernetes", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if files[dir+"/"+e.Name()] == "" && e.Name() != "kustomization.yaml" {
				t.Errorf("deploy/kubernetes/%s/%s does not come from the chart any more: remove it", dir, e.Name())
			}
		}
	}
}

func kustomized(t *testing.T, dir string) string {
	t.Helper()
	built, err := Kustomize(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(built); err != nil {
		t.Fatal(err)
	}
	return built
}

// Two ways to one pod: they differ in what each tool does for itself, and in nothing else.
func TestBaseAndChartMakeTheSamePod(t *testing.T) {
	rendered, err := Template(baseName, BaseValues())
	if err != nil {
		t.Fatal(err)
	}
	chart := decoded[*apps.Deployment](t, text(rendered))
	built := kustomized(t, "base")
	base := decoded[*apps.Deployment](t, built)
	config := decoded[*core.ConfigMap](t, built)
	for i, v := range base.Spec.Template.Spec.Volumes {
		if v.Name == "ackmark-config" {
			if v.ConfigMap.Name != config.Name || config.Name == baseName {
				t.Errorf("the pod mounts %q, the ConfigMap is %q, whose name has to end in a hash", v.ConfigMap.Name, config.Name)
			}
			base.Spec.Template.Spec.Volumes[i].ConfigMap.Name = baseName
		}
	}
	delete(chart.Spec.Template.Annotations, "checksum/config")
	if diff := cmp.Diff(chart.Spec, base.Spec); diff != "" {
		t.Errorf("chart (-) and base (+):\n%s", diff)
	}
	if diff := cmp.Diff(decoded[*core.ConfigMap](t, text(rendered)).Data["sidecar.yaml"], strings.TrimPrefix(config.Data["sidecar.yaml"], header)); diff != "" {
		t.Errorf("the configuration of chart (-) and base (+):\n%s", diff)
	}
}

// The rules are built alone, as docs/kubernetes.md has it: once for a cluster, with every alert.
func TestTheRulesAreBuilt(t *testing.T) {
	built := kustomized(t, "rules")
	objects, err := Decode(built)
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	alerts := map[string]bool{}
	for _, g := range decoded[*monitoring.PrometheusRule](t, built).Spec.Groups {
		for _, r := range g.Rules {
			alerts[r.Alert] = true
		}
	}
	want, _, _, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(want)) {
		if _, name, ok := strings.Cut(line, "- alert: "); ok {
			found++
			if !alerts[strings.TrimSpace(name)] {
				t.Errorf("%s is not in deploy/kubernetes/rules", strings.TrimSpace(name))
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d alerts are looked for", found)
	}
}

func TestTheExampleOverlay(t *testing.T) {
	built := kustomized(t, "example")
	d := decoded[*apps.Deployment](t, built)
	pod := d.Spec.Template.Spec
	app := pod.Containers[0]
	if d.Name != "billing-ackmark" || d.Spec.Replicas != nil || app.Image != "registry.example.com/billing:1.4.2" || *app.SecurityContext.RunAsUser != 1000 {
		t.Errorf("the overlay makes %s with %s", d.Name, app.Image)
	}
	for _, c := range append(pod.InitContainers, app) {
		confined(t, c)
		if len(c.VolumeMounts) < 2 || !slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "ackmark" }) {
			t.Errorf("%s lost a mount: %+v", c.Name, c.VolumeMounts)
		}
	}
	if admin := variable(pod.InitContainers[0], "ACKMARK_ADMIN"); admin != "0.0.0.0:9404" {
		t.Errorf("Prometheus should scrape %q", admin)
	}
	if m := decoded[*monitoring.PodMonitor](t, built); m.Spec.Selector.MatchLabels["app.kubernetes.io/instance"] != d.Spec.Template.Labels["app.kubernetes.io/instance"] {
		t.Errorf("the PodMonitor selects %v", m.Spec.Selector)
	}
	if variable(app, "SIDECAR") == "" || variable(app, "OUTPUT") != "invoices" {
		t.Errorf("the app's variables are %+v", app.Env)
	}
}
