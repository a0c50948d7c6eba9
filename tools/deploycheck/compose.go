package deploycheck

import (
	"context"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// Compose loads deploy/compose/compose.yaml, or text in its place, as `docker compose config` does:
// by the specification's schema, which has no unknown fields.
func Compose(text []byte) (*types.Project, error) {
	file := Deploy("compose", "compose.yaml")
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: Deploy("compose"), Environment: types.Mapping{},
		ConfigFiles: []types.ConfigFile{{Filename: file, Content: text}},
	})
}
