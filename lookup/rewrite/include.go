package rewrite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Includes opens the files that :include: in aliases(5) names. It may be called from
// any number of goroutines.
type Includes interface {
	// Open opens a file by its absolute name. An error is temporary for the alias, also
	// when there is no such file: whoever keeps the list may be writing it.
	Open(name string) (io.ReadCloser, error)
}

// ErrInclude is wrapped when a file may not be included.
var ErrInclude = errors.New("file may not be included")

// IncludeDirs are the directories in or below which files may be included: regular
// ones, to which not everybody may write. Where a symbolic link leads counts.
type IncludeDirs []string

// Open opens a file in one of the directories. The error wraps ErrInclude when it is
// in none, or is not to be trusted.
func (dirs IncludeDirs) Open(name string) (io.ReadCloser, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(name) || !dirs.have(real) {
		return nil, fmt.Errorf("%w: %s is outside of the directories", ErrInclude, name)
	}
	info, err := os.Stat(real)
	if err == nil {
		err = trusted(name, info) // before it is opened: a FIFO would wait for its writer
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = trusted(name, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func trusted(name string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no regular file", ErrInclude, name)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%w: everybody may write to %s", ErrInclude, name)
	}
	return nil
}

func (dirs IncludeDirs) have(name string) bool {
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(real, name); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

const (
	// maxInclude bounds an included file, in bytes.
	maxInclude = 4 << 20
	// maxIncludeDepth bounds files that include files.
	maxIncludeDepth = 10
)

// inclusion reads one value of a table with the files that it includes. Each is read
// once, as in local(8): a list that includes itself is no loop, and files that include
// each other many times cost no more than their number.
type inclusion struct {
	aliases *Aliases
	files   map[string]bool // that were read
	all     []Item          // the addresses
}

func (a *Aliases) inclusion() *inclusion { return &inclusion{aliases: a, files: map[string]bool{}} }

// destinations reads a value of a table, with the files that it includes. All that is
// left are addresses.
func (a *Aliases) destinations(value string) ([]Item, error) {
	items, err := ParseList(value)
	if err != nil {
		return nil, err
	}
	x := a.inclusion()
	err = x.add(items, 0)
	return x.all, err
}

// add appends items, and for an :include: what is in the file.
func (x *inclusion) add(items []Item, depth int) error {
	for _, item := range items {
		switch {
		case len(x.all) >= stepsPerResult*orDefault(x.aliases.Limit, defaultLimit):
			return fmt.Errorf("%w: more than %d addresses for one", ErrExpansion, len(x.all))
		case item.Kind == ToAddress:
			x.all = append(x.all, item)
			continue
		case x.aliases.disabled(item):
			return fmt.Errorf("%s %w: %.100q", item.Kind, ErrDisabled, item.Text)
		}
		if err := x.include(item.Text, depth+1); err != nil {
			return fmt.Errorf(":include:%s: %w", item.Text, err)
		}
	}
	return nil
}

// include appends what is in a file that was not read yet.
func (x *inclusion) include(name string, depth int) error {
	switch {
	case x.files[name]:
		return nil
	case depth > maxIncludeDepth:
		return fmt.Errorf("%w: included more than %d files deep", ErrExpansion, maxIncludeDepth)
	case len(x.files) == orDefault(x.aliases.Limit, defaultLimit):
		return fmt.Errorf("%w: more than %d files", ErrExpansion, len(x.files))
	}
	x.files[name] = true
	f, err := x.aliases.Includes.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxInclude}
	var bad error
	err = logicalLines(limited, func(line int, text string, err error) {
		if bad != nil {
			return
		}
		var items []Item
		if err == nil {
			items, err = ParseList(text)
		}
		if err == nil {
			err = x.add(items, depth)
		}
		if err != nil {
			bad = fmt.Errorf("line %d: %w", line, err)
		}
	})
	switch {
	case bad != nil:
		return bad
	case err == nil && limited.N <= 0:
		return fmt.Errorf("%w: longer than %d bytes", ErrExpansion, maxInclude)
	}
	return err
}

// disabled reports whether an item is none that mail may go to.
func (a *Aliases) disabled(item Item) bool {
	return item.Kind != ToAddress && (item.Kind != ToInclude || a.Includes == nil)
}

// enabled reports the first item that is disabled, or includes what is not there.
func (a *Aliases) enabled(items []Item) error {
	for _, item := range items {
		if item.Kind == ToInclude && a.Includes != nil {
			if err := a.inclusion().add([]Item{item}, 0); err != nil {
				return err
			}
		}
		if a.disabled(item) && (item.Kind == ToInclude || !a.Commands) {
			return fmt.Errorf("%s %w: %.100q", item.Kind, ErrDisabled, item.Text)
		}
	}
	return nil
}
