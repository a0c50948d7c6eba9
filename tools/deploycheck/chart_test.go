package deploycheck

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

func text(files map[string]string) string {
	return strings.Join(slices.Collect(maps.Values(files)), "\n---\n")
}

// everything sets every value that makes the chart write something more.
func everything() Values {
	return Values{
		"brokers": []any{"kafka-1:9092", "[::1]:9092"}, "replicas": 4, "fsGroup": 3000, "priorityClassName": "high",
		"app": Values{
			"image": "registry.example.com/billing:1.4.2", "command": []any{"/billing"}, "args": []any{"--x"},
			"env": []any{Values{"name": "GROUP", "value": "billing"}}, "envFrom": []any{Values{"secretRef": Values{"name": "more"}}},
			"ports": []any{Values{"name": "http", "containerPort": 8080}}, "securityContext": Values{"runAsUser": 1000},
			"startupProbe": Values{"httpGet": Values{"path": "/", "port": "http"}}, "livenessProbe": Values{"httpGet": Values{"path": "/", "port": "http"}},
			"readinessProbe": Values{"httpGet": Values{"path": "/", "port": "http"}}, "volumeMounts": []any{Values{"name": "tmp", "mountPath": "/tmp"}},
		},
		"sidecar": Values{
			"uid": 2000, "env": []any{Values{"name": "ACKMARK_LOG_LEVEL", "value": "debug"}}, "secrets": []any{"kafka-login", "a.name.with.dots"},
			"config": Values{"kafka": Values{"sasl.password": "file:/run/secrets/ackmark/kafka-login/password"}},
		},
		"volumes":        []any{Values{"name": "tmp", "emptyDir": Values{}}},
		"podAnnotations": Values{"a": "b"}, "podLabels": Values{"team": "billing"}, "nodeSelector": Values{"disk": "ssd"},
		"tolerations": []any{Values{"key": "x", "operator": "Exists"}}, "imagePullSecrets": []any{Values{"name": "pull"}},
		"affinity":       Values{"nodeAffinity": Values{}},
		"monitoring":     Values{"podMonitor": true, "rules": true, "appPort": "http", "labels": Values{"release": "prometheus"}},
		"serviceAccount": Values{"annotations": Values{"eks.amazonaws.com/role-arn": "arn"}},
		"keda":           Values{"enabled": true, "consumerGroup": "billing", "topic": "orders", "authenticationRef": "kafka"},
	}
}

func decoded[T runtime.Object](t *testing.T, text string) T {
	t.Helper()
	objects, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if wanted, ok := o.(T); ok {
			return wanted
		}
	}
	t.Fatalf("no %T in\n%s", *new(T), text)
	return *new(T)
}

func template(t *testing.T, values Values) string {
	t.Helper()
	return released(t, "billing", values)
}

func released(t *testing.T, release string, values Values) string {
	t.Helper()
	files, err := Template(release, values)
	if err != nil {
		t.Fatal(err)
	}
	return text(files)
}

func TestTheChartIsLintedAndItsObjectsAreKubernetes(t *testing.T) {
	for name, values := range map[string]Values{"the least": {"brokers": []any{"kafka:9092"}, "app": Values{"image": "app"}}, "everything": everything()} {
		t.Run(name, func(t *testing.T) {
			if err := Lint(values); err != nil {
				t.Error("helm lint: ", err)
			}
			if _, err := Decode(template(t, values)); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the checks above are worth: a field that nobody knows, a type that does not fit, a field
// that is there twice.
func TestWhatKubernetesDoesNotKnowIsFound(t *testing.T) {
	good := template(t, everything())
	for name, change := range map[string][2]string{
		"a field of the container": {"startupProbe:", "startUpProbe:"},
		"a field of the pod":       {"terminationGracePeriodSeconds:", "terminationGracePeriod:"},
		"of the budget":            {"unhealthyPodEvictionPolicy:", "unhealthyPodEviction:"},
		"of KEDA":                  {"minReplicaCount:", "minReplicas:"},
		"of the monitor":           {"podMetricsEndpoints:", "podMetricEndpoints:"},
		"of a rule":                {"expr:", "expression:"},
		"a type":                   {"periodSeconds: 10", "periodSeconds: often"},
		"twice":                    {"      enableServiceLinks: false", "      enableServiceLinks: false\n      enableServiceLinks: false"},
		"a kind":                   {"kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, change[0], change[1], 1)
			if bad == good {
				t.Fatalf("%q is not in what was rendered", change[0])
			}
			if _, err := Decode(bad); err == nil {
				t.Error("it was decoded")
			}
		})
	}
}

func TestValuesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(Values)
		want   string
	}{
		"no brokers":            {func(v Values) { delete(v, "brokers") }, "brokers"},
		"a broker without port": {func(v Values) { v["brokers"] = []any{"kafka"} }, "/brokers/0"},
		"no image":              {func(v Values) { delete(v["app"].(Values), "image") }, "/app/image"},
		"an unknown name":       {func(v Values) { v["replica"] = 3 }, "replica"},
		"of the sidecar":        {func(v Values) { v["sidecar"].(Values)["configuration"] = Values{} }, "configuration"},
		"root":                  {func(v Values) { v["sidecar"].(Values)["uid"] = 0 }, "/sidecar/uid"},
		"a short grace":         {func(v Values) { v["terminationGracePeriodSeconds"] = 30 }, "/terminationGracePeriodSeconds"},
		"what the chart sets":   {func(v Values) { v["sidecar"].(Values)["config"].(Values)["listen"] = "unix:///x" }, "/sidecar/config/listen"},
		"a number as a text":    {func(v Values) { v["replicas"] = "3" }, "/replicas"},
		"KEDA without a topic":  {func(v Values) { delete(v["keda"].(Values), "topic") }, "keda.topic is missing"},
		"no pods for KEDA":      {func(v Values) { v["keda"].(Values)["minReplicas"] = 0 }, "/keda/minReplicas"},
		"fewer than the least":  {func(v Values) { v["keda"].(Values)["maxReplicas"] = 1; v["keda"].(Values)["minReplicas"] = 2 }, "above keda.maxReplicas"},
		"a port by number":      {func(v Values) { v["monitoring"].(Values)["appPort"] = 8080 }, "/monitoring/appPort"},
		"no disruption ever":    {func(v Values) { v["podDisruptionBudget"] = Values{"maxUnavailable": 0} }, "/podDisruptionBudget/maxUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			values := everything()
			c.change(values)
			_, err := Template("billing", values)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got the error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestThePod(t *testing.T) {
	d := decoded[*apps.Deployment](t, template(t, everything()))
	pod := d.Spec.Template.Spec
	if d.Spec.Replicas != nil {
		t.Error("the replicas are set, though KEDA scales")
	}
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%d init containers, %d containers", len(pod.InitContainers), len(pod.Containers))
	}
	side, app := pod.InitContainers[0], pod.Containers[0]
	if side.RestartPolicy == nil || *side.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("the sidecar is no native sidecar: the app would wait for its end")
	}
	if side.StartupProbe == nil || side.LivenessProbe == nil || side.ReadinessProbe == nil {
		t.Error("a probe is missing")
	}
	for name, probe := range map[string]*core.Probe{"startup": side.StartupProbe, "liveness": side.LivenessProbe} {
		if !slices.Contains(probe.Exec.Command, "liveness") {
			t.Errorf("the %s probe is %v: with Kafka away, it would restart the sidecar", name, probe.Exec.Command)
		}
	}
	for _, c := range []core.Container{side, app} {
		confined(t, c)
		if !slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool {
			return m.Name == "ackmark" && m.MountPath == "/run/ackmark" && !m.ReadOnly
		}) {
			t.Errorf("%s does not have the volume of the socket", c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s has no memory limit, or asks for no CPU", c.Name)
		}
	}
	if p := pod.SecurityContext; p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || *p.FSGroup != 3000 || p.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security context is %+v", p)
	}
	if token := pod.AutomountServiceAccountToken; token == nil || *token {
		t.Error("the pod has a token of its service account, which nothing in it needs")
	}
	if *side.SecurityContext.RunAsUser != 2000 || *app.SecurityContext.RunAsUser != 1000 {
		t.Errorf("the sidecar runs as %d, the app as %d, want 2000 and 1000", *side.SecurityContext.RunAsUser, *app.SecurityContext.RunAsUser)
	}
	if uid := variable(app, "SIDECAR_UID"); uid != "2000" {
		t.Errorf("the app is told that the sidecar runs as %q", uid)
	}
	at := func(name string) int {
		return slices.IndexFunc(side.Env, func(e core.EnvVar) bool { return e.Name == name })
	}
	for name, path := range map[string]string{"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "NODE_NAME": "spec.nodeName"} {
		if got := field(side, name); got != path {
			t.Errorf("the sidecar's %s comes from %q, want %s", name, got, path)
		}
		if !strings.Contains(variable(side, "OTEL_RESOURCE_ATTRIBUTES"), "=$("+name+")") || at(name) > at("OTEL_RESOURCE_ATTRIBUTES") {
			t.Errorf("OTEL_RESOURCE_ATTRIBUTES does not have %s, or stands before it: kubelet fills in what stands before", name)
		}
	}
	if variable(app, "SIDECAR") != variable(side, "ACKMARK_LISTEN") {
		t.Error("the app is told of another socket than that of the sidecar")
	}
	config := decoded[*core.ConfigMap](t, template(t, everything())).Data["sidecar.yaml"]
	for _, want := range []string{"socket_mode: \"0770\"", "listen: " + variable(side, "ACKMARK_LISTEN"), "sasl.password: file:/run/secrets/ackmark/kafka-login/password", "drain_timeout: 20s"} {
		if !strings.Contains(config, want) {
			t.Errorf("the configuration lacks %q:\n%s", want, config)
		}
	}
	monitor := decoded[*monitoring.PodMonitor](t, template(t, everything()))
	if e := monitor.Spec.PodMetricsEndpoints[0]; e.Port == nil || *e.Port != side.Ports[0].Name || monitor.Labels["release"] != "prometheus" || variable(side, "ACKMARK_ADMIN") != "0.0.0.0:9404" {
		t.Errorf("Prometheus scrapes %+v of %v, the sidecar listens on %s", e, side.Ports, variable(side, "ACKMARK_ADMIN"))
	}
	if e := monitor.Spec.PodMetricsEndpoints; len(e) != 2 || *e[1].Port != app.Ports[0].Name {
		t.Errorf("Prometheus should scrape the app, too: %+v", e)
	}
	alerts := 0
	for _, g := range decoded[*monitoring.PrometheusRule](t, template(t, everything())).Spec.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts++
			}
		}
	}
	if alerts < 10 {
		t.Errorf("the PrometheusRule has %d alerts", alerts)
	}
	values := everything()
	delete(values, "monitoring")
	alone := decoded[*apps.Deployment](t, template(t, values)).Spec.Template.Spec.InitContainers[0]
	if at := variable(alone, "ACKMARK_ADMIN"); at != "127.0.0.1:9404" {
		t.Errorf("the admin port is at %s, though nobody scrapes it", at)
	}
	if so := decoded[*keda.ScaledObject](t, template(t, everything())); so.Spec.ScaleTargetRef.Name != d.Name || so.Spec.Triggers[0].Metadata["bootstrapServers"] != "kafka-1:9092,[::1]:9092" {
		t.Errorf("KEDA scales %+v", so.Spec)
	}
}

// Names that YAML takes for numbers and truths stay names, and selectors find what they select. A
// volume's name is not that of its Secret, which may have dots and 253 letters.
func TestNamesThatLookLikeOtherThings(t *testing.T) {
	for _, release := range []string{"12345", "1e3", "true", "null", "0x1f"} {
		values := everything()
		values["nameOverride"], values["priorityClassName"] = "on", "7"
		values["app"].(Values)["image"] = "123"
		values["sidecar"].(Values)["secrets"] = []any{strings.Repeat("a.", 120) + "z", "123"}
		rendered := released(t, release, values)
		d := decoded[*apps.Deployment](t, rendered)
		pod := d.Spec.Template
		if pod.Labels["app.kubernetes.io/instance"] != release || pod.Labels["app.kubernetes.io/name"] != "on" || !maps.Equal(d.Spec.Selector.MatchLabels, map[string]string{
			"app.kubernetes.io/instance": release, "app.kubernetes.io/name": "on",
		}) {
			t.Errorf("%s: the labels are %v, selected are %v", release, pod.Labels, d.Spec.Selector.MatchLabels)
		}
		mounted := map[string]string{}
		for _, m := range pod.Spec.InitContainers[0].VolumeMounts {
			mounted[m.Name] = m.MountPath
		}
		for _, v := range pod.Spec.Volumes {
			if wrong := validation.IsDNS1123Label(v.Name); len(wrong) > 0 {
				t.Errorf("volume %q: %v", v.Name, wrong)
			}
			if v.Secret != nil && mounted[v.Name] != "/run/secrets/ackmark/"+v.Secret.SecretName {
				t.Errorf("secret %s is mounted at %q", v.Secret.SecretName, mounted[v.Name])
			}
		}
	}
}

func confined(t *testing.T, c core.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("the security context of %s is %+v", c.Name, s)
	}
}

// field is what a variable says of the pod, by the downward API.
func field(c core.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name && e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			return e.ValueFrom.FieldRef.FieldPath
		}
	}
	return ""
}

func variable(c core.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// The sidecar's memory is bounded below what makes the kernel kill it, whatever apps send: the sum
// is that of sidecar.Config, the share that of --memory-ratio.
func TestTheBoundOfTheMemoryFitsIntoTheLimit(t *testing.T) {
	rendered := template(t, everything())
	var config struct {
		Limits struct {
			Bytes        resource.Quantity `json:"bytes"`
			Records      int64             `json:"records"`
			Sessions     int64             `json:"sessions"`
			Connections  int64             `json:"connections"`
			MessageBytes int64             `json:"message_bytes"`
		} `json:"limits"`
	}
	text := strings.Replace(decoded[*core.ConfigMap](t, rendered).Data["sidecar.yaml"], "MiB", "Mi", 1)
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	const callers = 20 // whom nobody knows yet
	l := config.Limits
	bound := 4*l.Bytes.Value() + 1024*l.Records + 2*l.MessageBytes*(l.Sessions+callers) + 128<<10*l.Connections + 12<<20
	side := decoded[*apps.Deployment](t, rendered).Spec.Template.Spec.InitContainers[0]
	limit := side.Resources.Limits.Memory().Value() * 9 / 10
	if l.Bytes.IsZero() || l.Records == 0 || l.Sessions == 0 || l.Connections == 0 || l.MessageBytes == 0 || bound > limit {
		t.Errorf("the sidecar may need %d MiB, nine tenths of its limit are %d MiB (%+v)", bound>>20, limit>>20, l)
	}
	t.Logf("at most %d MiB of %d MiB", bound>>20, limit>>20)
}

// A change of the sidecar's configuration must be a rollout, and nothing else.
func TestTheConfigurationRollsThePodsOut(t *testing.T) {
	template := func(level string) core.PodTemplateSpec {
		values := everything()
		values["sidecar"].(Values)["config"].(Values)["log"] = Values{"level": level}
		return decoded[*apps.Deployment](t, template(t, values)).Spec.Template
	}
	if a, b := template("info"), template("debug"); a.String() == b.String() {
		t.Error("another configuration leaves the pods as they are")
	}
	if a, b := template("info"), template("info"); a.String() != b.String() {
		t.Error("the same configuration changes the pods")
	}
}

// Exactly-once needs a name for each pod that its successor takes over: a StatefulSet's. The pod is
// the same, but for the transactional id; a release without it has neither of the two.
func TestExactlyOnceIsAStatefulSet(t *testing.T) {
	values := everything()
	usual := template(t, values)
	if strings.Contains(usual, "StatefulSet") || strings.Contains(usual, "TRANSACTIONAL_ID") || strings.Contains(usual, "kind: Service\n") {
		t.Error("without exactlyOnce.enabled there is something of it")
	}
	deployed := decoded[*apps.Deployment](t, usual)
	values["exactlyOnce"] = Values{"enabled": true}
	rendered := template(t, values)
	set, service := decoded[*apps.StatefulSet](t, rendered), decoded[*core.Service](t, rendered)
	if strings.Contains(rendered, "kind: Deployment") || set.Name != deployed.Name || set.Spec.ServiceName != service.Name {
		t.Errorf("a Deployment beside it, or names that do not fit: %s, %s, %s", set.Name, set.Spec.ServiceName, service.Name)
	}
	if service.Spec.ClusterIP != core.ClusterIPNone || !maps.Equal(service.Spec.Selector, set.Spec.Selector.MatchLabels) {
		t.Errorf("the service: %+v", service.Spec)
	}
	env := set.Spec.Template.Spec.InitContainers[0].Env
	at := slices.IndexFunc(env, func(v core.EnvVar) bool { return v.Name == "ACKMARK_TRANSACTIONAL_ID" })
	if at < 0 || env[at].Value != "$(POD_NAMESPACE).$(POD_NAME)" {
		t.Fatalf("the sidecar's environment: %+v", env)
	}
	for _, name := range []string{"POD_NAMESPACE", "POD_NAME"} { // Kubernetes puts in what stands before it
		if i := slices.IndexFunc(env, func(v core.EnvVar) bool { return v.Name == name }); i < 0 || i > at {
			t.Errorf("%s does not stand before the transactional id", name)
		}
	}
	set.Spec.Template.Spec.InitContainers[0].Env = slices.Delete(env, at, at+1)
	if diff := cmp.Diff(deployed.Spec.Template, set.Spec.Template); diff != "" {
		t.Errorf("Deployment (-) and StatefulSet (+):\n%s", diff)
	}
	if scaled := decoded[*keda.ScaledObject](t, rendered).Spec.ScaleTargetRef; scaled.Kind != "StatefulSet" || scaled.Name != set.Name {
		t.Errorf("KEDA scales %+v", scaled)
	}
}
