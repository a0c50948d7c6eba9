package socketowner

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// The owner of the socket's directory is trusted where nobody else could have made that directory,
// or put it there.
func TestWhoOwnsTheSocketsDirectory(t *testing.T) {
	const own, other, third = 1000, 2000, 3000
	for name, x := range map[string]struct {
		path   string
		places map[string]place
		want   string // of the reason; "": trusted
	}{
		"root made its parent":         {"/run/ackmark/s", map[string]place{"/run/ackmark": {owner: other}}, ""},
		"this user made its parent":    {"/run/a/b/s", map[string]place{"/run/a": {owner: own}, "/run/a/b": {owner: other}}, ""},
		"root's directory":             {"/run/ackmark/s", map[string]place{"/run/ackmark": {}}, "/run/ackmark belongs to uid 0"},
		"this user's directory":        {"/run/ackmark/s", map[string]place{"/run/ackmark": {owner: own}}, "/run/ackmark belongs to uid 1000"},
		"a third one's directory":      {"/run/ackmark/s", map[string]place{"/run/ackmark": {owner: third}}, "/run/ackmark belongs to uid 3000"},
		"a third one's parent":         {"/run/a/b/s", map[string]place{"/run/a": {owner: third}, "/run/a/b": {owner: other}}, "/run/a belongs to uid 3000"},
		"others write to it":           {"/run/ackmark/s", map[string]place{"/run/ackmark": {owner: other, shared: true}}, "others may write to /run/ackmark"},
		"an emptyDir":                  {"/run/vol/pod/s", map[string]place{"/run/vol": {shared: true}, "/run/vol/pod": {owner: other}}, "others may write to /run/vol"},
		"a link by root":               {"/var/run/a/s", map[string]place{"/var/run": {link: "../run"}, "/run/a": {owner: other}}, ""},
		"a link to an emptyDir":        {"/var/run/a/s", map[string]place{"/var/run": {link: "/vol"}, "/vol": {shared: true}, "/vol/a": {owner: other}}, "others may write to /vol"},
		"a link in an emptyDir":        {"/l/s", map[string]place{"/l": {link: "/vol/m"}, "/vol": {shared: true}, "/vol/m": {link: "/run/a"}, "/run/a": {owner: other}}, "others may write to /vol"},
		"a link to the root directory": {"/l/s", map[string]place{"/l": {link: "/"}}, "/ belongs to uid 0"},
		"links without end":            {"/l/s", map[string]place{"/l": {link: "l"}}, "too many symbolic links"},
		"up again from behind a link":  {"/l/../s", map[string]place{"/l": {link: "/vol/x"}, "/vol": {shared: true}, "/vol/x": {owner: other}}, "others may write to /vol"},
		"slashes and dots":             {"//run/.//ackmark//s", map[string]place{"/run/ackmark": {owner: other}}, ""},
		"it is gone":                   {"/gone/s", nil, "no /gone"},
		"an abstract socket":           {"@ackmark", nil, "abstract"},
	} {
		look := func(path string) (place, error) {
			p, ok := x.places[path]
			if !ok && path == "/gone" {
				return place{}, fmt.Errorf("no %s: %w", path, fs.ErrNotExist)
			}
			return p, nil // root's
		}
		why := notInOwnDirectory(x.path, other, own, look)
		if (why == "") != (x.want == "") || !strings.Contains(why, x.want) {
			t.Errorf("%s: %q, want %q", name, why, x.want)
		}
	}
}
