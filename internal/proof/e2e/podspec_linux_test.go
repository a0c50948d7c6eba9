package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// podSpec is what kubelet reads of a pod. A field that this imitation does not know is an error: it
// would be played without. Some are known and left to a real kubelet: `any`.
type podSpec struct {
	Grace           int              `yaml:"terminationGracePeriodSeconds"`
	SecurityContext *securityContext `yaml:"securityContext"`
	Volumes         []podVolume      `yaml:"volumes"`
	InitContainers  []*container     `yaml:"initContainers"`
	Containers      []*container     `yaml:"containers"`

	ServiceAccount any `yaml:"serviceAccountName"`
	Token          any `yaml:"automountServiceAccountToken"`
	Links          any `yaml:"enableServiceLinks"`
	Spread         any `yaml:"topologySpreadConstraints"`
}

type securityContext struct {
	RunAsNonRoot bool `yaml:"runAsNonRoot"`
	RunAsUser    *int `yaml:"runAsUser"`
	RunAsGroup   int  `yaml:"runAsGroup"`
	FSGroup      int  `yaml:"fsGroup"`
	Seccomp      any  `yaml:"seccompProfile"`

	Escalation   *bool               `yaml:"allowPrivilegeEscalation"`
	Capabilities map[string][]string `yaml:"capabilities"`
	ReadOnlyRoot any                 `yaml:"readOnlyRootFilesystem"`
}

type podVolume struct {
	Name      string `yaml:"name"`
	EmptyDir  any    `yaml:"emptyDir"`
	ConfigMap *struct {
		Name string `yaml:"name"`
	} `yaml:"configMap"`
}

type container struct {
	Name            string           `yaml:"name"`
	RestartPolicy   string           `yaml:"restartPolicy"`
	Command         []string         `yaml:"command"`
	Args            []string         `yaml:"args"`
	Env             []variable       `yaml:"env"`
	Startup         *probe           `yaml:"startupProbe"`
	Liveness        *probe           `yaml:"livenessProbe"`
	Readiness       *probe           `yaml:"readinessProbe"`
	SecurityContext *securityContext `yaml:"securityContext"`
	Mounts          []struct {
		Name     string `yaml:"name"`
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`

	Image     any `yaml:"image"`
	Pull      any `yaml:"imagePullPolicy"`
	Resources any `yaml:"resources"`
	Ports     any `yaml:"ports"` // processes of one machine share its network, as containers of a pod do
}

type variable struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
	From  *struct {
		Field struct {
			Path string `yaml:"fieldPath"`
		} `yaml:"fieldRef"`
	} `yaml:"valueFrom"`
}

type probe struct {
	Exec struct {
		Command []string `yaml:"command"`
	} `yaml:"exec"`
	Period   int `yaml:"periodSeconds"`
	Timeout  int `yaml:"timeoutSeconds"`
	Failures int `yaml:"failureThreshold"`
}

// deployed is a file of deploy/kubernetes.
func deployed(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readPod is the pod of the Kustomize base, which is that of the Helm chart.
func readPod(t *testing.T) (pod podSpec) {
	t.Helper()
	var deployment struct {
		Spec struct {
			Template struct {
				Spec yaml.Node `yaml:"spec"`
			} `yaml:"template"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(deployed(t, "base/deployment.yaml"), &deployment); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(&deployment.Spec.Template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	strict := yaml.NewDecoder(bytes.NewReader(text))
	strict.KnownFields(true)
	if err := strict.Decode(&pod); err != nil {
		t.Fatalf("deploy/kubernetes/base/deployment.yaml has what the imitation of kubelet does not know: %v", err)
	}
	return pod
}
