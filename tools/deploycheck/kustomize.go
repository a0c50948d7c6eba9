package deploycheck

import (
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomize does what `kubectl kustomize` does with a directory of deploy/kubernetes.
func Kustomize(dir string) (string, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), Deploy("kubernetes", dir))
	if err != nil {
		return "", err
	}
	text, err := built.AsYaml()
	return string(text), err
}
