// Package layouttest holds the repository to its own rules: imports go one way, every package says
// what it is, files stay short, generated code is current, nothing skips silently. It has no code
// of its own, only tests; CONTRIBUTING.md says how to run them.
package layouttest
