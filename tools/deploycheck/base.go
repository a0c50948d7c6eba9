package deploycheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// baseName is the release that the base is rendered as, and so the name of its objects.
const baseName = "ackmark"

// BaseValues are those of the Kustomize base: what an overlay replaces has a name that says so.
func BaseValues() Values {
	return Values{"brokers": []any{"kafka:9092"}, "app": Values{"image": "app"}}
}

// componentValues are those of the components beside the base.
func componentValues() Values {
	values := BaseValues()
	values["keda"] = Values{"enabled": true, "consumerGroup": "GROUP", "topic": "TOPIC"}
	values["monitoring"] = Values{"podMonitor": true, "rules": true}
	return values
}

// header is the first line of what is generated.
const header = "# Written from deploy/helm/ackmark by `make deploy`. Change it there, or by an overlay.\n"

// components say in which directory a template's output stands, if it is not the base.
var components = map[string]string{"scaledobject.yaml": "keda/", "podmonitor.yaml": "monitoring/", "prometheusrule.yaml": "rules/"}

// Rules copies the rules of deploy/prometheus to where Helm lets a chart read: the chart's own
// directory.
func Rules() (have, want []byte, path string, err error) {
	path = filepath.Join(chartDir(), "files", "ackmark.rules.yaml")
	if want, err = os.ReadFile(Deploy("prometheus", "ackmark.rules.yaml")); err != nil {
		return nil, nil, "", err
	}
	have, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return have, want, path, err
}

// Base renders the files of deploy/kubernetes that follow from the chart, by their names there.
func Base() (map[string]string, error) {
	base, err := Template(baseName, BaseValues())
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, text := range base {
		if name != "configmap.yaml" {
			files["base/"+name] = header + withoutHelm(text)
		} else if files["base/sidecar.yaml"], err = sidecarFile(text); err != nil {
			return nil, err
		}
	}
	more, err := Template(baseName, componentValues())
	for name, dir := range components {
		files[dir+name] = header + withoutHelm(more[name])
	}
	return files, err
}

// sidecarFile is the sidecar's configuration as a file of its own: Kustomize names the ConfigMap by
// its content, so that a change of it is a rollout.
func sidecarFile(text string) (string, error) {
	objects, err := Decode(text)
	if err != nil {
		return "", err
	}
	config, ok := objects[0].(*core.ConfigMap)
	if !ok {
		return "", fmt.Errorf("configmap.yaml is a %T", objects[0])
	}
	return header + config.Data["sidecar.yaml"], nil
}

// withoutHelm leaves out the lines that tell Helm what is its own, and what Kustomize does itself.
func withoutHelm(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc([]string{"helm.sh/chart:", "app.kubernetes.io/managed-by:", "checksum/config:", "# A change of the configuration is a rollout."},
			func(mark string) bool { return strings.Contains(line, mark) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
