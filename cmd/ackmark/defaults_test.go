package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The help of every command says what a flag is when nobody sets it: where the library would show
// nothing for a 0, or a bare 0, the text says what it stands for.
func TestHelpSaysRealDefaults(t *testing.T) {
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			numeric := f.Value.Type() != "bool" && f.DefValue != "" && strings.Trim(f.DefValue, "0smh.") == ""
			if !f.Hidden && numeric && !strings.Contains(f.Usage, "(default") && !strings.Contains(f.Usage, "0: ") {
				t.Errorf("%s --%s: what is its default, %s? %s", c.CommandPath(), f.Name, f.DefValue, f.Usage)
			}
			if strings.Contains(f.Usage, "(default 0") {
				t.Errorf("%s --%s: %s", c.CommandPath(), f.Name, f.Usage)
			}
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	for _, c := range commands() {
		look(c)
	}
}
