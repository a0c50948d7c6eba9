package cli

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// NewManCommand returns `ackmark man`, for packagers: it is not among the commands of the help.
func NewManCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write the man pages of all commands to a directory", Hidden: true, Args: cobra.ExactArgs(1),
		Long: `Writes the man pages of all commands to a directory, which it makes. SOURCE_DATE_EPOCH is the date on them; without
it they have that of today.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			header := &doc.GenManHeader{Section: "1", Source: "ackmark", Manual: "Ackmark"}
			if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
				header.Date = new(time.Unix(seconds, 0).UTC())
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			asPages(root)
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return doc.GenManTree(root, header, args[0])
		},
	}
}

// asPages prepares the texts of a command, and of those below it, for pages: what is aligned in the
// help stays so, and the exit codes are there, too.
func asPages(cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	if codes := exitText(cmd); codes != "" {
		text += "\n" + codes
	}
	cmd.Long = fenced(text)
	for _, c := range cmd.Commands() {
		asPages(c)
	}
}

// fenced puts paragraphs with an indented line between fences: a page would fill their lines.
func fenced(text string) string {
	paragraphs := strings.Split(strings.Trim(text, "\n"), "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, "  ") || strings.Contains(p, "\n  ") {
			paragraphs[i] = "```\n" + p + "\n```"
		}
	}
	return strings.Join(paragraphs, "\n\n")
}
