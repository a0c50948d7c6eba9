// Package deploycheck checks what is in deploy/ by the code that will read it: Helm's own linter
// and engine, Kustomize's, the API types of Kubernetes, of the Prometheus operator and of KEDA, and
// Compose's loader. Nothing is applied to a cluster.
//
// The chart is the source. `go run ./render` writes the Kustomize base from it, and a test fails
// when that was forgotten.
package deploycheck

import (
	"errors"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// Values are a chart's, as in its values.yaml.
type Values = map[string]any

// Deploy is the directory deploy of this checkout.
func Deploy(elements ...string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(file), "..", "..", "deploy"}, elements...)...)
}

func chartDir() string { return Deploy("helm", "ackmark") }

// Template does what `helm template` does: the files by the names of their templates, those that
// are empty left out.
func Template(release string, values Values) (map[string]string, error) {
	chart, err := loader.LoadDir(chartDir())
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: release, Namespace: "default", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{Strict: true}.Render(chart, all)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, text := range rendered {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(text) != "" {
			files[path.Base(name)] = text
		}
	}
	return files, nil
}

// Lint does what `helm lint --strict` does.
func Lint(values Values) error {
	var errs []error
	for _, m := range lint.RunAll(chartDir(), values, "default").Messages {
		if m.Severity >= support.WarningSev {
			errs = append(errs, m)
		}
	}
	return errors.Join(errs...)
}
