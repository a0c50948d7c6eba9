package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
)

// The types are the part of https://spdx.github.io/spdx-spec/v2.3/ that is used here.
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []module       `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
	Comment  string   `json:"comment,omitempty"`
}

type module struct {
	ID            string      `json:"SPDXID"`
	Name          string      `json:"name"`
	Version       string      `json:"versionInfo,omitempty"`
	Purpose       string      `json:"primaryPackagePurpose"`
	Download      string      `json:"downloadLocation"`
	FilesAnalyzed bool        `json:"filesAnalyzed"`
	Concluded     string      `json:"licenseConcluded"`
	Declared      string      `json:"licenseDeclared"`
	Copyright     string      `json:"copyrightText"`
	Source        string      `json:"sourceInfo,omitempty"`
	Checksums     []checksum  `json:"checksums,omitempty"`
	References    []reference `json:"externalRefs"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const (
	documentID = "SPDXRef-DOCUMENT"
	unsaid     = "NOASSERTION"
)

// describe returns the document about a program.
func describe(program string) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; give a program that go build made", program, err)
	}
	if info.Main.Path == "" {
		return nil, fmt.Errorf("%s names no main module; give a program that go build made from a module", program)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	out, err := json.MarshalIndent(newDocument(info, hex.EncodeToString(sum[:])), "", "  ")
	return append(out, '\n'), err
}

func newDocument(info *debug.BuildInfo, sum string) document {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	target := settings["GOOS"] + "/" + settings["GOARCH"]
	main := newModule(&info.Main, "APPLICATION")
	main.Checksums = []checksum{{"SHA256", sum}}
	main.Source = fmt.Sprintf("built for %s by %s", target, info.GoVersion)
	if commit := settings["vcs.revision"]; commit != "" {
		main.Source += " from commit " + commit
		if settings["vcs.modified"] == "true" {
			main.Source += ", modified"
		}
	}
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: documentID, Name: path.Base(info.Path) + " " + main.Version + " " + target,
		Namespace: "https://" + info.Path + "/sbom/" + sum,
		Creation:  creation{Created: settings["vcs.time"], Creators: []string{"Tool: github.com/ackmark/ackmark/tools/sbom"}},
		Packages:  []module{main},
		Relationships: []relationship{
			{documentID, "DESCRIBES", main.ID},
		},
	}
	if d.Creation.Created == "" {
		d.Creation.Created, d.Creation.Comment = "1970-01-01T00:00:00Z", "The program does not say which commit it was built from, nor when that was made."
	}
	for _, dep := range info.Deps {
		d.add(main.ID, newModule(dep, "LIBRARY"))
	}
	d.add(main.ID, newModule(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}, "LIBRARY"))
	return d
}

func (d *document) add(main string, m module) {
	d.Packages = append(d.Packages, m)
	d.Relationships = append(d.Relationships, relationship{main, "DEPENDS_ON", m.ID})
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// newModule describes what was linked: a module's replacement, where go.mod has one.
func newModule(m *debug.Module, purpose string) module {
	replaced := ""
	switch {
	case m.Replace == nil:
	case m.Replace.Version == "": // a directory
		replaced, m = ", from the directory "+m.Replace.Path, &debug.Module{Path: m.Path, Version: m.Version}
	default:
		replaced, m = ", in the place of "+m.Path+"@"+m.Version, m.Replace
	}
	id := sha256.Sum256([]byte(m.Path + "@" + m.Version)) // of two names that differ in what an id cannot have
	out := module{
		ID:   "SPDXRef-" + notInID.ReplaceAllString(m.Path, "-") + "-" + hex.EncodeToString(id[:4]),
		Name: m.Path, Version: m.Version, Purpose: purpose,
		Download: unsaid, Concluded: unsaid, Declared: unsaid, Copyright: unsaid,
		References: []reference{{"PACKAGE-MANAGER", "purl", packageURL(m.Path, m.Version)}},
	}
	if m.Sum != "" {
		out.Source = "go.sum: " + m.Sum + replaced
	} else if replaced != "" {
		out.Source = "no sum" + replaced
	}
	return out
}

// packageURL is the name by which scanners look for vulnerabilities
// (https://github.com/package-url/purl-spec). Those of Go's modules are in small letters.
func packageURL(name, version string) string {
	url := "pkg:golang/" + strings.ToLower(name)
	if version != "" && version != "(devel)" {
		url += "@" + strings.ReplaceAll(version, "+", "%2B")
	}
	return url
}
