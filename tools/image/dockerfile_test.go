package main

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func source(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// step is one instruction of a Dockerfile.
type step struct{ name, rest string }

// steps are those of the stages, each of which begins with a FROM; the first ones stand before.
func steps(text string) (stages [][]step) {
	stages = [][]step{{}}
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		name, rest, _ := strings.Cut(line, " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], step{name, rest})
	}
	return stages
}

// What a container engine makes of Dockerfile is what this program makes: the same command builds
// the binary, and the image runs it alike. Only what it stands on is another's.
func TestTheDockerfileAgrees(t *testing.T) {
	stages := steps(source(t, "Dockerfile"))
	if len(stages) != 3 {
		t.Fatalf("%d stages, want one that builds and one that runs", len(stages)-1)
	}
	img, err := (&build{version: "0.0.0-dev"}).image([]byte("binary"), "linux", "amd64", strings.Repeat("0", 40), time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	image := file.Config

	arguments := map[string]string{}
	for _, s := range slices.Concat(stages...) {
		if name, value, ok := strings.Cut(s.rest, "="); s.name == "ARG" && ok {
			arguments[name] = value
		}
	}
	if arguments["BASE"] != base || stages[2][0].rest != "${BASE}" {
		t.Errorf("it runs on %s (%s), want %s", arguments["BASE"], stages[2][0].rest, base)
	}
	if !strings.Contains(source(t, "deploy/compose/compose.yaml"), "FROM "+base+"\n") {
		t.Errorf("deploy/compose runs on another base than %s", base)
	}
	wants := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(source(t, "go.mod"))
	if !strings.HasPrefix(arguments["GO"], "golang:"+wants[1]+".") || !strings.HasSuffix(stages[1][0].rest, "${GO} AS build") {
		t.Errorf("it builds with %s (%s), go.mod asks for Go %s", arguments["GO"], stages[1][0].rest, wants[1])
	}

	var command string
	for _, s := range stages[1] {
		if s.name == "RUN" && strings.Contains(s.rest, "go build") {
			command = strings.ReplaceAll(s.rest, `"`, "")
		}
	}
	if want := "CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build " + strings.Join(flags, " ") + " -o /ackmark ./cmd/ackmark"; command != want {
		t.Errorf("it builds by\n%s\nwant\n%s", command, want)
	}
	releases := strings.ReplaceAll(source(t, ".goreleaser.yaml"), `"`, "")
	if !strings.Contains(releases, "flags: ["+strings.Join(flags[:2], ", ")+"]") || !strings.Contains(releases, "ldflags: ["+strings.TrimPrefix(flags[2], "-ldflags=")+"]") {
		t.Errorf(".goreleaser.yaml does not build with %q", flags)
	}

	labels := map[string]string{}
	for _, s := range stages[2][1:] {
		switch s.name {
		case "ARG":
		case "COPY":
			if s.rest != "--from=build /ackmark "+image.Entrypoint[0] {
				t.Errorf("it copies %s, and runs %s", s.rest, image.Entrypoint)
			}
		case "USER":
			if s.rest != image.User {
				t.Errorf("it runs as %s, the image as %s", s.rest, image.User)
			}
		case "ENTRYPOINT":
			if want, _ := json.Marshal(image.Entrypoint); s.rest != string(want) {
				t.Errorf("it runs %s, the image %s", s.rest, want)
			}
		case "LABEL":
			for _, m := range regexp.MustCompile(`(\S+?)="([^"]*)"`).FindAllStringSubmatch(s.rest, -1) {
				labels[m[1]] = strings.ReplaceAll(m[2], "$VERSION", arguments["VERSION"])
			}
		default:
			t.Errorf("%s %s: the image has nothing like it", s.name, s.rest)
		}
	}
	for _, name := range []string{"COPY", "USER", "ENTRYPOINT", "LABEL"} {
		if !slices.ContainsFunc(stages[2], func(s step) bool { return s.name == name }) {
			t.Errorf("the stage that runs has no %s", name)
		}
	}
	for _, ofTheCommit := range []string{"org.opencontainers.image.revision", "org.opencontainers.image.created"} {
		delete(image.Labels, ofTheCommit) // a Dockerfile does not know it
	}
	if !maps.Equal(labels, image.Labels) {
		t.Errorf("its labels are %q, the image's %q", labels, image.Labels)
	}
}
