package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// stateDir makes a directory for the session files of a run. It looks old until there is one in it.
func (b *bench) stateDir(name string, round int) (string, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%02d", name, round))
	return dir, errors.Join(os.Mkdir(dir, 0o700), os.Chtimes(dir, time.Time{}, longAgo))
}

var longAgo = time.Unix(1e9, 0)

// keptFiles returns an error unless a session file was in the directory: then nothing was measured.
func keptFiles(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err == nil && info.ModTime().Equal(longAgo) {
		err = fmt.Errorf("bench: no session file was in %s: the run measured nothing of them", dir)
	}
	return err
}
