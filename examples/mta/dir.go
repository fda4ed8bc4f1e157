package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// samples are the tables of a new directory. They are commented, and make a
// server that works.
//
//go:embed samples
var samples embed.FS

// prepare makes what is missing in dir, one by one, touches nothing that is
// there, and returns the absolute path. All of it is on disk before the first
// message is taken: a table that comes back empty from a crash would bounce
// mail, and a directory that does not come back takes its mail along.
func prepare(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, sub := range []string{"etc", "mail", "tls"} {
		if err := makeDir(filepath.Join(dir, sub)); err != nil {
			return "", err
		}
	}
	tables, err := fs.ReadDir(samples, "samples")
	if err != nil {
		return "", err
	}
	for _, table := range tables {
		if err := writeSample(filepath.Join(dir, "etc", table.Name())); err != nil {
			return "", err
		}
	}
	return dir, syncPath(filepath.Join(dir, "etc"))
}

// makeDir is os.MkdirAll with each new directory synced into its parent.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

func writeSample(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := fs.ReadFile(samples, "samples/"+filepath.Base(path))
	if err != nil {
		return err
	}
	// By way of another name, so that a crash does not leave half a table that
	// would then be taken for the administrator's.
	half := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(half, text, 0o600); err != nil {
		return err
	}
	return errors.Join(syncPath(half), os.Link(half, path), os.Remove(half))
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
